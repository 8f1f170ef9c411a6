import { ConfigError, type Environment, readEnvironment } from '../config.ts'
import { loadCatalog } from '../core/catalog/index.ts'
import type { Stage } from '../core/perform.ts'
import type { ServiceProvider, TaskLog } from '../core/provider.ts'
import { findOrphans } from '../core/reconcile.ts'
import { repairInstances } from '../core/upkeep.ts'
import { shippedCatalog } from '../package-files.ts'
import { postgresqlOptions } from '../postgresql-servers.ts'
import { exampleProvider } from '../providers/example.ts'
import { postgresqlProvider } from '../providers/postgresql/index.ts'
import { inWordsOfVariables } from '../server/refused-connection.ts'
import { openStatePool, PostgresStore, parseEncryptionKeys, Sealer } from '../stores/postgres/index.ts'
import { type Arguments, type Command, UsageError } from './command.ts'
import { DATABASE_URL, explained } from './state-database.ts'

/** `osb postgresql audit`: compares the tenants' servers with what the broker believes. Reads the environment of `osb serve`. */
export const postgresqlCommand: Command = {
  summary: 'audit: compare the databases and logins of tenants with what the broker believes',
  synopsis: 'audit [--repair] [--json]',
  help: [
    'Prints, one on a line: the id of the instance or "-", the thing, what is wrong with it, and whether it was healed.',
    'Changes nothing unless asked to. Ends with 1 when something is left as it should not be.',
    '',
    '  --repair  heal what can be healed, as the broker itself does every hour',
    '  --json    one JSON object on a line'
  ].join('\n'),
  options: { repair: { type: 'boolean' }, json: { type: 'boolean' } },
  words: { min: 1, max: 1 },
  run: runAudit
}

/** One line of the audit. */
interface Line {
  readonly instance_id?: string
  readonly resource: string
  readonly finding: string
  readonly healed: boolean
}

async function runAudit({ words: [word], values }: Arguments): Promise<void> {
  if (word !== 'audit') throw new UsageError(`There is no "osb postgresql ${word}". There is: osb postgresql audit.`)
  const config = readEnvironment(process.env)
  const { BROKER_STORAGE, DATABASE_URL: text, BROKER_ENCRYPTION_KEYS } = config
  if (BROKER_STORAGE !== 'postgres' || text === undefined || BROKER_ENCRYPTION_KEYS === undefined) {
    throw new ConfigError(
      'osb postgresql audit needs BROKER_STORAGE=postgres with the environment that the broker has.'
    )
  }
  const options = postgresqlOptions(config, undefined)
  if (options === undefined) {
    throw new ConfigError(
      "Set POSTGRESQL_ADMIN_URL (or POSTGRESQL_SERVERS_FILE) to the server of the tenants' databases."
    )
  }
  const pool = openStatePool({ text, name: DATABASE_URL }, { max: 2, application_name: 'osb-audit' })
  const store = new PostgresStore(pool, { sealer: new Sealer(parseEncryptionKeys(BROKER_ENCRYPTION_KEYS)) })
  const provider = postgresqlProvider(options)
  const counts = { found: 0, left: 0 }
  try {
    await provider.start?.()
    const stage = { store, ...(await catalogOf(config, provider)), providers: new Map([[provider.name, provider]]) }
    await explained(async () => {
      for await (const line of audit(stage, provider, values.repair === true)) {
        counts.found += 1
        if (!line.healed) counts.left += 1
        process.stdout.write(`${values.json === true ? JSON.stringify(line) : textOf(line)}\n`)
      }
    })
  } catch (error) {
    throw inWordsOfVariables(error)
  } finally {
    await provider.stop?.()
    await store.close()
    await pool.end()
  }
  const healed = values.repair === true ? `, ${counts.found - counts.left} healed` : ''
  process.stderr.write(counts.found === 0 ? 'nothing found\n' : `${counts.found} found${healed}\n`)
  if (counts.left > 0) process.exitCode = 1
}

async function* audit(stage: Stage, provider: ServiceProvider, heal: boolean): AsyncGenerator<Line> {
  const told = new Set<string>()
  for await (const { instanceId, resource, finding, healed } of repairInstances(stage, {
    heal,
    log: quiet,
    signal: new AbortController().signal
  })) {
    told.add(resource)
    yield { instance_id: instanceId, resource, finding, healed }
  }
  for (const { side, resource, instanceId } of await findOrphans(stage.store, [provider])) {
    if (told.has(resource)) continue
    const finding = side === 'outside' ? 'is unknown to the broker' : 'is not there'
    yield { ...(instanceId === undefined ? {} : { instance_id: instanceId }), resource, finding, healed: false }
  }
}

function textOf({ instance_id: instanceId = '-', resource, finding, healed }: Line): string {
  return [instanceId, resource, finding, healed ? 'healed' : '-'].join('\t')
}

/** The catalog says what each plan has promised. */
async function catalogOf(config: Environment, provider: ServiceProvider): Promise<Pick<Stage, 'catalog'>> {
  const loaded = await loadCatalog(config.BROKER_CATALOG_PATH ?? shippedCatalog(), {
    providers: [exampleProvider(), provider],
    ...(config.BROKER_DEFAULT_PROVIDER === undefined ? {} : { defaultProvider: config.BROKER_DEFAULT_PROVIDER })
  })
  return { catalog: () => loaded }
}

/** What could not be done is a finding, and printed. */
const quiet: TaskLog = { debug() {}, info() {}, warn() {}, error() {} }
