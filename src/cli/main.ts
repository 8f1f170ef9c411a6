import { CatalogUnavailable } from '../client/catalog.ts'
import { BrokerUnreachable, OperationFailed, OperationTimeout, OsbError, UnexpectedAnswer } from '../client/errors.ts'
import { ConfigError } from '../config.ts'
import { CatalogError } from '../core/catalog/faults.ts'
import { Unavailable } from '../core/provider.ts'
import { EmbeddedPostgresError } from '../embedded-postgres/errors.ts'
import { PlatformsError } from '../platforms/mistake.ts'
import { ConnectionUrlError } from '../postgres/connection-url.ts'
import { ServerUnfit } from '../providers/postgresql/faults.ts'
import { EncryptionKeysError } from '../stores/postgres/encryption-keys.ts'
import { type Command, Interrupted, runCommand, UsageError } from './command.ts'

/** Each is loaded when it is run: no command has to wait for what another one needs. */
const commands: Record<string, () => Promise<Command>> = {
  serve: async () => (await import('./serve.ts')).serveCommand,
  migrate: async () => (await import('./migrate.ts')).migrateCommand,
  rekey: async () => (await import('./rekey.ts')).rekeyCommand,
  audit: async () => (await import('./audit.ts')).auditCommand,
  postgresql: async () => (await import('./postgresql.ts')).postgresqlCommand,
  'hash-password': async () => (await import('./hash-password.ts')).hashPasswordCommand,
  lint: async () => (await import('./lint.ts')).lintCommand,
  conformance: async () => (await import('./conformance.ts')).conformanceCommand,
  catalog: async () => (await import('./client/catalog.ts')).catalogCommand,
  provision: async () => (await import('./client/instances.ts')).provisionCommand,
  update: async () => (await import('./client/instances.ts')).updateCommand,
  get: async () => (await import('./client/bindings.ts')).getCommand,
  bind: async () => (await import('./client/bindings.ts')).bindCommand,
  unbind: async () => (await import('./client/bindings.ts')).unbindCommand,
  deprovision: async () => (await import('./client/instances.ts')).deprovisionCommand,
  poll: async () => (await import('./client/poll.ts')).pollCommand
}

/** Errors that say all there is to say; of any other the stack is printed. */
const PLAIN_ERRORS = [
  BrokerUnreachable,
  CatalogError,
  CatalogUnavailable,
  ConfigError,
  ConnectionUrlError,
  EmbeddedPostgresError,
  EncryptionKeysError,
  Interrupted,
  OperationFailed,
  OperationTimeout,
  OsbError,
  PlatformsError,
  ServerUnfit,
  Unavailable,
  UnexpectedAnswer,
  UsageError
]

try {
  const [name = '', ...args] = process.argv.slice(2)
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (name === '--help' || name === '-h') process.stdout.write(`${await usage()}\n`)
  else if (command === undefined) throw new UsageError(await usage())
  else await runCommand(name, await command(), args)
} catch (error) {
  fail(textOf(error))
}

async function usage(): Promise<string> {
  const lines = Object.entries(commands).map(
    async ([name, command]) => `  ${name.padEnd(14)} ${(await command()).summary}`
  )
  return ['usage: osb COMMAND', '', ...(await Promise.all(lines)), '', 'osb COMMAND --help says more.'].join('\n')
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
