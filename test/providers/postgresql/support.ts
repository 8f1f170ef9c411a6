import { randomUUID } from 'node:crypto'
import type { TestContext } from 'node:test'
import { Client } from 'pg'
import type { ServicePlan } from '../../../schemas/catalog.ts'
import type { JsonObject } from '../../../schemas/common.ts'
import type {
  Bound,
  Description,
  Finding,
  InstanceTask,
  Provisioned,
  RemovalTask,
  ServiceProvider,
  StandingInstance,
  Task,
  TaskInstance,
  TaskLog,
  Upkeep
} from '../../../src/core/provider.ts'
import { type PostgresqlProviderOptions, postgresqlProvider } from '../../../src/providers/postgresql/index.ts'
import { testPostgres } from '../../helper/postgres.ts'

/** The two kinds of admin that the provider has to work with. */
export const adminKinds = ['superuser', 'CREATEDB CREATEROLE'] as const
export type AdminKind = (typeof adminKinds)[number]

/** One for each test file: they share a server of a further major, and what an admin joins is compared. */
export const plainAdmin = `plain_admin_${process.pid}`

/** The superuser's URL; another server's than the embedded one to try a further version. */
export async function superuserUrl(): Promise<string> {
  return process.env.TEST_POSTGRESQL_ADMIN_URL ?? (await testPostgres()).adminUrl
}

export interface Scene {
  readonly provider: ServiceProvider
  readonly adminUrl: string
  /** As the superuser, whatever the admin is. */
  readonly sql: (statement: string, values?: unknown[]) => Promise<Record<string, unknown>[]>
}

/** A provider with the given kind of admin, and a superuser who looks on. */
export async function setUp(
  t: TestContext,
  {
    admin = 'superuser',
    url,
    ...options
  }: { admin?: AdminKind; url?: string } & Partial<PostgresqlProviderOptions> = {}
): Promise<Scene> {
  const rootUrl = url ?? (await superuserUrl())
  const root = await connect(t, rootUrl)
  const sql = async (statement: string, values?: unknown[]) => (await root.query(statement, values)).rows
  const adminUrl = admin === 'superuser' ? rootUrl : await makePlainAdmin(sql, rootUrl)
  const provider = postgresqlProvider({ adminUrl, ...options })
  cleanUp(t, () => provider.stop?.())
  return { provider, adminUrl, sql }
}

const cleanUps = new WeakMap<TestContext, (() => unknown)[]>()

/** Runs at the end of the test, last come first served: hooks of `t.after` would close the connections first. */
export function cleanUp(t: TestContext, work: () => unknown): void {
  const works = cleanUps.get(t) ?? []
  works.push(work)
  if (cleanUps.has(t)) return
  cleanUps.set(t, works)
  t.after(async () => {
    for (const next of works.reverse()) await next()
  })
}

/** A client that is closed with the test. */
export async function connect(t: TestContext, connectionString: string): Promise<Client> {
  const client = new Client({ connectionString })
  client.on('error', () => undefined)
  await client.connect()
  cleanUp(t, () => client.end())
  return client
}

/** URL of an admin that is no superuser; made at the first call. */
export async function makePlainAdmin(sql: Scene['sql'], rootUrl: string): Promise<string> {
  const name = plainAdmin
  const [known] = await sql('SELECT 1 FROM pg_roles WHERE rolname = $1', [name])
  if (known === undefined) {
    await sql(`CREATE ROLE ${name} LOGIN CREATEDB CREATEROLE PASSWORD 'plain'`)
    await sql(`GRANT pg_signal_backend TO ${name}`)
    await sql('REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC')
    await sql(`GRANT CONNECT ON DATABASE postgres TO ${name}`)
  }
  // Made by the superuser when its tests ran first; on a fresh server the admin makes it itself
  const [tenants] = await sql(`SELECT 1 FROM pg_roles WHERE rolname = 'osb_tenant'`)
  if (tenants !== undefined) await sql(`GRANT osb_tenant TO ${name} WITH ADMIN OPTION`)
  const url = new URL(rootUrl)
  url.username = name
  url.password = 'plain'
  return url.href
}

const silent: TaskLog = { debug() {}, info() {}, warn() {}, error() {} }
const plan: ServicePlan = { id: 'p', name: 'p', description: 'p' }
const service = { id: 's', name: 's', description: 's', bindable: true, plans: [plan] }

/** What a test has to say about one call of the provider. */
export interface Call {
  signal?: AbortSignal
  log?: TaskLog
  /** Called before the state is kept; throws to refuse. */
  onSave?: () => void
}

/** The framework's part, in memory: one instance with its bindings and what was saved of them. */
export class Instance {
  readonly provider: ServiceProvider
  readonly id: string = randomUUID()
  readonly states = new Map<string, JsonObject>()
  /** Bindings with an unfinished operation. */
  readonly unsettled = new Set<string>()
  options: JsonObject = {}
  parameters: JsonObject = {}
  context: JsonObject = {}

  constructor(provider: ServiceProvider) {
    this.provider = provider
  }

  get token(): string {
    return String(this.states.get(this.id)?.token)
  }

  get database(): string {
    const label = this.states.get(this.id)?.label
    return label === undefined ? `osb_d_${this.token}` : `osb_d_${this.token}_${label}`
  }

  async provision(call: Call = {}): Promise<void> {
    await this.provider.provision(this.#instanceTask(this.id, this.parameters, call))
  }

  /** To other options of a plan; the instance keeps its own when that is refused. */
  async update(options: JsonObject, call: Call = {}): Promise<Provisioned | undefined> {
    const previous = { plan, options: this.options, parameters: this.parameters }
    const task = { ...this.#instanceTask(this.id, this.parameters, call), options, previous }
    const result = await this.provider.update?.({ ...task, bindings: async () => this.#standing().bindings })
    this.options = options
    return result
  }

  async bind(bindingId: string, parameters: JsonObject = {}, call: Call = {}): Promise<Bound> {
    const { bind } = this.provider
    if (bind === undefined) throw new Error('no bind')
    return bind({
      ...this.#instanceTask(bindingId, parameters, call),
      bindingId,
      instance: this.#instance(),
      appGuid: undefined,
      route: undefined,
      predecessor: undefined,
      endpoints: true,
      keepCredentials: true
    })
  }

  /** Binds, and answers the URI. */
  async uri(bindingId: string, parameters: JsonObject = {}): Promise<string> {
    return String((await this.bind(bindingId, parameters)).credentials?.uri)
  }

  async unbind(bindingId: string, call: Call = {}): Promise<void> {
    await this.provider.unbind?.({ ...this.#removalTask(bindingId, call), bindingId, instance: this.#instance() })
    this.states.delete(bindingId)
  }

  async deprovision(call: Call = {}): Promise<void> {
    await this.provider.deprovision(this.#removalTask(this.id, call))
  }

  /** What the framework's minutely round does. */
  async watch(): Promise<void> {
    const standing = this.#standing.bind(this)
    await this.provider.watch?.({
      ...this.#upkeep(),
      async *instances({ where = () => true, bindings = true } = {}) {
        const instance = standing()
        if (where(instance.options)) yield bindings ? instance : { ...instance, bindings: [] }
      }
    })
  }

  /** What the framework's hourly comparison does; without `heal` an operator's. */
  async repair(heal = true): Promise<readonly Finding[]> {
    return (await this.provider.repair?.({ ...this.#upkeep(), instance: this.#standing(), heal })) ?? []
  }

  async describe(): Promise<Description | undefined> {
    return this.provider.describe?.({ ...this.#standing(), ...this.#upkeep() })
  }

  /** What a fetch of the instance asks for. */
  async labels(): Promise<Readonly<Record<string, string>> | undefined> {
    return this.provider.labels?.({ ...this.#standing(), ...this.#upkeep() })
  }

  #upkeep(): Upkeep {
    return { refresh: async () => this.#standing(), signal: new AbortController().signal, log: silent }
  }

  #standing(): StandingInstance {
    const { [this.id]: state = {}, ...bindings } = Object.fromEntries(this.states)
    return {
      instanceId: this.id,
      options: this.options,
      parameters: this.parameters,
      state,
      bindings: Object.entries(bindings).map(([bindingId, saved]) => {
        return { bindingId, parameters: {}, state: saved, settled: !this.unsettled.has(bindingId) }
      })
    }
  }

  #instance(): TaskInstance {
    return { state: this.states.get(this.id), parameters: {} }
  }

  #instanceTask(id: string, parameters: JsonObject, call: Call): InstanceTask {
    return { ...this.#task(id, call), service, plan, options: this.options, parameters }
  }

  /** As after the plan has left the catalog. */
  #removalTask(id: string, call: Call): RemovalTask {
    return { ...this.#task(id, call), service: undefined, plan: undefined, options: {}, parameters: {} }
  }

  #task(id: string, { signal = new AbortController().signal, log = silent, onSave }: Call): Task {
    return {
      operationId: randomUUID(),
      instanceId: this.id,
      platform: 'test',
      context: this.context,
      originatingIdentity: undefined,
      state: this.states.get(id),
      attempt: 1,
      signal,
      log,
      saveState: async (state) => {
        onSave?.()
        this.states.set(id, structuredClone(state))
      },
      progress: async () => undefined,
      conceal: () => undefined
    }
  }
}

/** A provisioned instance, gone with the test. */
export async function instanceOf(
  t: TestContext,
  provider: ServiceProvider,
  options: JsonObject = {}
): Promise<Instance> {
  const instance = new Instance(provider)
  instance.options = options
  cleanUp(t, () => instance.deprovision())
  await instance.provision()
  return instance
}

/** Names of databases and roles that carry a token; what a deprovision must leave empty. */
export async function leftovers(sql: Scene['sql'], token: string): Promise<string[]> {
  const rows = await sql(
    `SELECT datname::text AS name FROM pg_database WHERE position($1 in datname) > 0
     UNION ALL SELECT rolname::text FROM pg_roles WHERE position($1 in rolname) > 0`,
    [token]
  )
  return rows.map((row) => String(row.name))
}

/** Waits for a state instead of for a time. */
export async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 10_000
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('The state that was waited for did not come.')
  }
}

/** Text of a result's only value. */
export async function scalar(client: Client, statement: string): Promise<unknown> {
  const { rows } = await client.query<Record<string, unknown>>(statement)
  return Object.values(rows[0] ?? {})[0]
}
