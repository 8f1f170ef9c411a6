import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ConfigError } from '../config.ts'
import { Unavailable } from '../core/provider.ts'
import { urlOfKept } from '../embedded-postgres/index.ts'
import { STATE_DATABASE } from '../server.ts'
import { AuditReader, openStatePool } from '../stores/postgres/index.ts'
import { filterFrom, filterHelp, filterOptions } from './audit-filter.ts'
import { jsonLines, textLines } from './audit-lines.ts'
import { type Arguments, type Command, UsageError } from './command.ts'
import { DATABASE_URL, databaseUrl, explained } from './state-database.ts'

/** `osb audit`: who did what to instances and bindings, when, and how it ended. */
export const auditCommand: Command = {
  summary: 'show who did what to instances and bindings, when, and how it ended',
  synopsis: '[options]',
  help: [
    '  Reads DATABASE_URL; without it the embedded server in BROKER_DATA_DIR, while its broker runs. Changes nothing.',
    '  The newest comes last, times are in UTC.',
    '',
    filterHelp,
    '  --follow          go on with what comes, until Ctrl-C',
    '  --json            a JSON object for each event, on a line of its own'
  ].join('\n'),
  options: { ...filterOptions, follow: { type: 'boolean' }, json: { type: 'boolean' } },
  run: showAudit
}

async function showAudit({ values }: Arguments): Promise<void> {
  const { filter, limit } = filterFrom(values, new Date())
  if (values.follow === true && filter.until !== undefined) {
    throw new UsageError('Give --follow or --until, not both: what comes is after any --until.')
  }
  const text = databaseUrl() ?? (await embeddedUrl())
  const pool = openStatePool({ text, name: DATABASE_URL }, { max: 1, application_name: 'osb-audit' })
  try {
    const reader = new AuditReader(pool, filter)
    const pages = values.follow === true ? reader.follow(limit) : reader.pages(limit)
    await explained(() => print(pages, values.json === true ? jsonLines : textLines(process.stdout.isTTY === true)))
  } catch (error) {
    if (databaseUrl() !== undefined || !(error instanceof Unavailable)) throw error
    const text = `The embedded server in ${JSON.stringify(dataDir())} cannot be reached: it runs while its broker does.`
    throw new ConfigError(text, { cause: error })
  } finally {
    await pool.end()
  }
}

async function print<Page>(pages: AsyncIterable<Page>, linesOf: (page: Page) => string): Promise<void> {
  async function* lines() {
    for await (const page of pages) yield linesOf(page)
  }
  try {
    await pipeline(Readable.from(lines()), process.stdout, { end: false })
  } catch (error) {
    // Whoever read has had enough, as in `osb audit | head`.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPIPE')) throw error
  }
}

/** @throws {ConfigError} when there is no database that the audit could be in */
async function embeddedUrl(): Promise<string> {
  const storage = process.env.BROKER_STORAGE || 'embedded'
  const toBeSet = "Set DATABASE_URL to the PostgreSQL database of the broker's own state"
  if (storage === 'memory') throw new ConfigError(`${toBeSet}: with BROKER_STORAGE=memory no audit is kept.`)
  if (storage !== 'embedded') throw new ConfigError(`${toBeSet}.`)
  const url = await urlOfKept(join(dataDir(), 'postgresql'), STATE_DATABASE)
  if (url !== undefined) return url
  throw new ConfigError(
    `${toBeSet}, or BROKER_DATA_DIR to the data directory of a broker: ${JSON.stringify(dataDir())} is none.`
  )
}

function dataDir(): string {
  return process.env.BROKER_DATA_DIR || '.data'
}
