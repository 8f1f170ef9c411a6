import { CatalogUnavailable } from '../client/catalog.ts'
import { ConfigError } from '../config.ts'
import { CatalogError } from '../core/catalog/index.ts'
import { Unavailable } from '../core/provider.ts'
import { EmbeddedPostgresError } from '../embedded-postgres/index.ts'
import { type Command, runCommand, UsageError } from './command.ts'
import { conformanceCommand } from './conformance.ts'
import { lintCommand } from './lint.ts'
import { migrateCommand } from './migrate.ts'
import { orphansCommand } from './orphans.ts'
import { serveCommand } from './serve.ts'

const commands: Record<string, Command> = {
  serve: serveCommand,
  migrate: migrateCommand,
  orphans: orphansCommand,
  lint: lintCommand,
  conformance: conformanceCommand
}

const usage = [
  'usage: osb COMMAND',
  '',
  ...Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(11)} ${summary}`),
  '',
  'osb COMMAND --help says more.'
].join('\n')

/** Errors that say all there is to say; of any other the stack is printed. */
const PLAIN_ERRORS = [ConfigError, CatalogError, CatalogUnavailable, EmbeddedPostgresError, Unavailable, UsageError]

try {
  const [name = '', ...args] = process.argv.slice(2)
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (name === '--help' || name === '-h') process.stdout.write(`${usage}\n`)
  else if (command === undefined) throw new UsageError(usage)
  else await runCommand(name, command, args)
} catch (error) {
  const plain = PLAIN_ERRORS.some((kind) => error instanceof kind) || isUsageError(error)
  fail(error instanceof Error ? ((plain ? error.message : error.stack) ?? error.message) : String(error))
}

function isUsageError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
}

function fail(text: string): void {
  process.stderr.write(`${text}\n`)
  process.exitCode = 1
}
