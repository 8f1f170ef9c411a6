import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, Pool } from 'pg'
import type { OsbClient } from '../../src/client/index.ts'
import { codeOf } from '../providers/postgresql/hostile-session.ts'
import type { Journal } from './journal.ts'
import { passing } from './passing.ts'
import { BOUND_MS, Requests } from './requests.ts'

const PAUSE_MS = 100

/** Goes through lives of instances until it is told to stop: with an update, and a rotation of the bindings. */
export async function liveHonestly(client: OsbClient, journal: Journal, goOn: () => boolean): Promise<void> {
  const requests = new Requests(client)
  const honestly: Honestly = (kind, work) => journal.honestly(kind, BOUND_MS, work)
  for (let plan: 'small' | 'large' = 'small'; goOn(); plan = plan === 'small' ? 'large' : 'small') {
    const instanceId = randomUUID()
    const tenant = { requests, journal, honestly, instanceId }
    await honestly('provision', () => requests.provision(instanceId, plan))
    const old = await Binding.of(tenant)
    await old.use()
    await honestly('update', () => requests.update(instanceId, plan === 'small' ? 'large' : 'small'))
    const successor = await Binding.of(tenant)
    await Promise.all([old.use(), successor.use()])
    await old.end()
    await successor.use()
    await successor.end()
    await honestly('deprovision', () => requests.deprovision(instanceId))
  }
}

/** Keeps one instance for the whole run, with a pool that queries it all the time. */
export async function standHonestly(client: OsbClient, journal: Journal, goOn: () => boolean): Promise<void> {
  const requests = new Requests(client)
  const instanceId = randomUUID()
  const honestly: Honestly = (kind, work) => journal.honestly(kind, BOUND_MS, work)
  await honestly('provision', () => requests.provision(instanceId))
  const binding = await Binding.of({ requests, journal, honestly, instanceId })
  while (goOn()) {
    await binding.use()
    await sleep(PAUSE_MS)
  }
  await binding.end()
  await honestly('deprovision', () => requests.deprovision(instanceId))
}

type Honestly = <T>(kind: string, work: () => Promise<T>) => Promise<T | undefined>

interface Tenant {
  readonly requests: Requests
  readonly journal: Journal
  readonly honestly: Honestly
  readonly instanceId: string
}

/** A binding and the pool of its application, which stays open until the unbind. */
class Binding {
  readonly #tenant: Tenant
  readonly #bindingId: string
  /** Undefined when the bind failed. */
  readonly #uri: string | undefined
  readonly #pool: Pool

  private constructor(tenant: Tenant, bindingId: string, uri: string | undefined) {
    this.#tenant = tenant
    this.#bindingId = bindingId
    this.#uri = uri
    this.#pool = new Pool({ connectionString: uri, max: 2, connectionTimeoutMillis: BOUND_MS })
    this.#pool.on('error', (error) => tenant.journal.retry(`an idle connection ended: ${codeOf(error)}`))
  }

  static async of(tenant: Tenant): Promise<Binding> {
    const bindingId = randomUUID()
    return new Binding(
      tenant,
      bindingId,
      await tenant.honestly('bind', () => tenant.requests.bind(tenant.instanceId, bindingId))
    )
  }

  /** Queries of the pool, and a connection of its own. */
  async use(): Promise<void> {
    const uri = this.#uri
    if (uri === undefined) return
    const query = (sql: string) => this.#passing('query of a pool', () => this.#pool.query(sql))
    await query(`DO $$ BEGIN CREATE TABLE IF NOT EXISTS orders (id serial, at timestamptz DEFAULT now());
      EXCEPTION WHEN unique_violation OR duplicate_table THEN NULL; END $$`)
    for (let count = 0; count < 5; count += 1) await query('INSERT INTO orders DEFAULT VALUES')
    await this.#passing('login and query', () => logIn(uri, 'SELECT count(*) FROM orders'))
  }

  /** Unbinds. The login works no more. */
  async end(): Promise<void> {
    const { requests, honestly, journal, instanceId } = this.#tenant
    await this.#pool.end()
    await honestly('unbind', () => requests.unbind(instanceId, this.#bindingId))
    if (this.#uri === undefined) return
    const works = await logIn(this.#uri, 'SELECT 1').then(
      () => true,
      () => false
    )
    if (works) journal.fail('a login works after its unbind')
  }

  async #passing(kind: string, work: () => Promise<unknown>): Promise<void> {
    const { honestly, journal } = this.#tenant
    await honestly(kind, () => passing(journal, work))
  }
}

async function logIn(connectionString: string, statement: string): Promise<void> {
  const client = new Client({ connectionString, connectionTimeoutMillis: BOUND_MS })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query(statement)
  } finally {
    await client.end().catch(() => undefined)
  }
}
