import type { TestContext } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { Pool } from 'pg'
import type { CatalogSource } from '../../../schemas/catalog.ts'
import { type OpenServiceBrokerOptions, openServiceBroker } from '../../../src/app.ts'
import { serverOptions } from '../../../src/server.ts'
import { PostgresStore, parseEncryptionKeys, Sealer } from '../../../src/stores/postgres/index.ts'
import { credentials, NOT_READY, newEncryptionKeys, type TestStore, testCatalog, whenBegun } from '../../helper/app.ts'
import { testPostgres } from '../../helper/postgres.ts'
import { openTcpProxy, type TcpProxy } from '../../helper/tcp-proxy.ts'

/** A line of the log. */
export interface Line {
  readonly level: number
  readonly msg: string
  readonly [field: string]: unknown
}

/** A broker under test, with what it logs. */
export interface Replica {
  readonly app: FastifyInstance
  readonly lines: Line[]
}

/**
 * Starts a broker that is closed after the test, and keeps the lines of its log from level `warn` on.
 * @param begun whether to wait for a broker that takes longer to start than the app waits; default: true
 */
export async function replica(
  t: TestContext,
  options: Partial<OpenServiceBrokerOptions>,
  { begun = true }: { begun?: boolean } = {}
): Promise<Replica> {
  const lines: Line[] = []
  const stream = { write: (text: string) => void lines.push(JSON.parse(text)) }
  const app = Fastify({ ...serverOptions, logger: { level: 'warn', stream } })
  t.after(() => app.close())
  await app.register(openServiceBroker, { catalog: testCatalog(), auth: credentials, ...options })
  await app.ready()
  if (begun && lines.some(({ msg }) => msg.startsWith(NOT_READY))) await whenBegun(app)
  return { app, lines }
}

/** The options of replicas on one empty database. */
export async function oneDatabase(): Promise<{ url: string; encryptionKeys: string }> {
  return { url: await (await testPostgres()).createDatabase(), encryptionKeys: newEncryptionKeys() }
}

/** The store of a replica in memory, or in a database of its own. */
export async function storeOf(testStore: TestStore): Promise<Partial<OpenServiceBrokerOptions>> {
  if (testStore === 'memory') return {}
  const { url, encryptionKeys } = await oneDatabase()
  return { store: { connectionString: url }, encryptionKeys }
}

/** A store on a database that replicas use, closed after the test. */
export function storeAt(
  t: TestContext,
  { url, encryptionKeys, ...options }: { url: string; encryptionKeys: string; leaseMs?: number }
): PostgresStore {
  const pool = new Pool({ connectionString: url })
  const store = new PostgresStore(pool, { sealer: new Sealer(parseEncryptionKeys(encryptionKeys)), ...options })
  t.after(async () => {
    await store.close()
    await pool.end()
  })
  return store
}

/** A proxy to the server of a database, and the URL of the database through it. */
export async function throughProxy(t: TestContext, url: string): Promise<{ proxy: TcpProxy; proxiedUrl: string }> {
  const proxied = new URL(url)
  const proxy = await openTcpProxy(Number(proxied.port))
  t.after(() => proxy.close())
  proxied.hostname = '127.0.0.1'
  proxied.port = String(proxy.port)
  return { proxy, proxiedUrl: proxied.href }
}

type Plan = CatalogSource['services'][number]['plans'][number]

/** The catalog of the tests, with its plans changed. */
function changedCatalog(change: (plans: Plan[]) => Plan[]): CatalogSource {
  const { services } = testCatalog()
  return { services: services.map((service) => ({ ...service, plans: change(service.plans) })) }
}

/** The catalog of the tests, with fields of some plans changed. */
export function catalogWith(planIds: readonly string[], fields: object): CatalogSource {
  return changedCatalog((plans) => plans.map((plan) => (planIds.includes(plan.id) ? { ...plan, ...fields } : plan)))
}

/** The catalog of the tests, without some plans. */
export function withoutPlans(planIds: readonly string[]): CatalogSource {
  return changedCatalog((plans) => plans.filter(({ id }) => !planIds.includes(id)))
}

/** The catalog of the tests, with plans that keep no credentials. */
export function withoutKeptCredentials(): CatalogSource {
  return changedCatalog((plans) =>
    plans.map((plan) => ({ ...plan, 'x-broker': { ...plan['x-broker'], keep_credentials: false } }))
  )
}
