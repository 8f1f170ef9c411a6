import { CatalogUnavailable } from '../client/catalog.ts'
import { BrokerUnreachable, OperationFailed, OperationTimeout, OsbError, UnexpectedAnswer } from '../client/errors.ts'
import { ConfigError } from '../config.ts'
import { CatalogError } from '../core/catalog/index.ts'
import { Unavailable } from '../core/provider.ts'
import { EmbeddedPostgresError } from '../embedded-postgres/index.ts'
import { PlatformsError } from '../platforms/index.ts'
import { EncryptionKeysError } from '../stores/postgres/index.ts'
import { auditCommand } from './audit.ts'
import { bindCommand, getCommand, unbindCommand } from './client/bindings.ts'
import { catalogCommand } from './client/catalog.ts'
import { Interrupted } from './client/following.ts'
import { deprovisionCommand, provisionCommand, updateCommand } from './client/instances.ts'
import { pollCommand } from './client/poll.ts'
import { type Command, runCommand, UsageError } from './command.ts'
import { conformanceCommand } from './conformance.ts'
import { hashPasswordCommand } from './hash-password.ts'
import { lintCommand } from './lint.ts'
import { migrateCommand } from './migrate.ts'
import { postgresqlCommand } from './postgresql.ts'
import { rekeyCommand } from './rekey.ts'
import { serveCommand } from './serve.ts'

const commands: Record<string, Command> = {
  serve: serveCommand,
  migrate: migrateCommand,
  rekey: rekeyCommand,
  audit: auditCommand,
  postgresql: postgresqlCommand,
  'hash-password': hashPasswordCommand,
  lint: lintCommand,
  conformance: conformanceCommand,
  catalog: catalogCommand,
  provision: provisionCommand,
  update: updateCommand,
  get: getCommand,
  bind: bindCommand,
  unbind: unbindCommand,
  deprovision: deprovisionCommand,
  poll: pollCommand
}

const usage = [
  'usage: osb COMMAND',
  '',
  ...Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(14)} ${summary}`),
  '',
  'osb COMMAND --help says more.'
].join('\n')

/** Errors that say all there is to say; of any other the stack is printed. */
const PLAIN_ERRORS = [
  BrokerUnreachable,
  CatalogError,
  CatalogUnavailable,
  ConfigError,
  EmbeddedPostgresError,
  EncryptionKeysError,
  Interrupted,
  OperationFailed,
  OperationTimeout,
  OsbError,
  PlatformsError,
  Unavailable,
  UnexpectedAnswer,
  UsageError
]

try {
  const [name = '', ...args] = process.argv.slice(2)
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (name === '--help' || name === '-h') process.stdout.write(`${usage}\n`)
  else if (command === undefined) throw new UsageError(usage)
  else await runCommand(name, command, args)
} catch (error) {
  fail(textOf(error))
}

function isUsageError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
}

/** What is printed of an error: all that its message says, or the stack where it is a fault of ours. */
function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error instanceof OsbError && error.details.error !== undefined) return `${error.details.error}: ${error.message}`
  const plain = PLAIN_ERRORS.some((kind) => error instanceof kind) || isUsageError(error)
  return (plain ? error.message : error.stack) ?? error.message
}

function fail(text: string): void {
  process.stderr.write(`${text}\n`)
  process.exitCode = 1
}
