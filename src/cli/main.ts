import { parseArgs } from 'node:util'
import { ConfigError } from '../config.ts'
import { CatalogError } from '../core/catalog/index.ts'
import { Unavailable } from '../core/provider.ts'
import { EmbeddedPostgresError } from '../embedded-postgres/index.ts'
import { migrateCommand } from './migrate.ts'
import { orphansCommand } from './orphans.ts'
import { serveCommand } from './serve.ts'

const commands: Record<string, { summary: string; run: () => Promise<void> }> = {
  serve: { summary: 'run the broker; the environment configures it (see the README)', run: serveCommand },
  migrate: { summary: "bring the schema of the broker's own state in DATABASE_URL up to date", run: migrateCommand },
  orphans: {
    summary: 'print what only the broker, or only the server of the tenants, believes in',
    run: orphansCommand
  }
}

const usage = [
  'usage: osb COMMAND',
  '',
  ...Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(9)} ${summary}`)
].join('\n')

/** Errors that say all there is to say; of any other the stack is printed. */
const PLAIN_ERRORS = [ConfigError, CatalogError, EmbeddedPostgresError, Unavailable]

try {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { help: { type: 'boolean', short: 'h' } }
  })
  const name = positionals[0] ?? ''
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (values.help === true) process.stdout.write(`${usage}\n`)
  else if (command === undefined || positionals.length > 1) fail(usage)
  else await command.run()
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
