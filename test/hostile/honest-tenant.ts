import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, Pool } from 'pg'
import { type OsbClient, OsbError, waitForOperation } from '../../src/client/index.ts'
import { codeOf } from '../providers/postgresql/hostile-session.ts'
import { PLAN, SERVICE } from './hostile-scene.ts'
import type { Journal } from './journal.ts'

/** Every honest request, login and query ends within this time. */
export const BOUND_MS = 30_000

/** The lock table or the connections are full for a moment: a pool tries again. */
const PASSING = new Set(['53200', '53300'])
const RETRY_MS = 250
const PAUSE_MS = 100

const ids = { service_id: SERVICE, plan_id: PLAN }

/** Requests of a platform, each up to the end of its operation. */
export class Requests {
  readonly #client: OsbClient

  constructor(client: OsbClient) {
    this.#client = client
  }

  async provision(instanceId: string): Promise<void> {
    const body = { ...ids, organization_guid: 'organization', space_guid: 'space' }
    await this.#settled({ instanceId }, await this.#client.provision(instanceId, body))
  }

  /** Answers the URI. */
  async bind(instanceId: string, bindingId: string, parameters: { role?: 'reader' } = {}): Promise<string> {
    const resource = { instanceId, bindingId }
    const answer = await this.#client.bind(resource, { ...ids, parameters })
    await this.#settled(resource, answer)
    const { credentials } = answer.status === 202 ? await this.#client.fetchBinding(resource) : answer.body
    return String(credentials?.uri)
  }

  async unbind(instanceId: string, bindingId: string): Promise<void> {
    await this.#removed({ instanceId, bindingId }, () => this.#client.unbind({ instanceId, bindingId }, ids))
  }

  async deprovision(instanceId: string): Promise<void> {
    await this.#removed({ instanceId }, () => this.#client.deprovision(instanceId, ids))
  }

  async #removed(resource: Resource, send: () => Promise<Sent>): Promise<void> {
    try {
      await this.#settled(resource, await send(), true)
    } catch (error) {
      if (!(error instanceof OsbError && error.status === 410)) throw error
    }
  }

  async #settled(resource: Resource, { status, operation }: Sent, removes = false): Promise<void> {
    if (status === 202) await waitForOperation(this.#client, resource, { operation, removes, timeoutMs: BOUND_MS })
  }
}

interface Resource {
  readonly instanceId: string
  readonly bindingId?: string
}

interface Sent {
  readonly status: number
  readonly operation?: string
}

/** Goes through lives of instances until it is told to stop. */
export async function liveHonestly(client: OsbClient, journal: Journal, goOn: () => boolean): Promise<void> {
  const requests = new Requests(client)
  while (goOn()) {
    const instanceId = randomUUID()
    const honestly = <T>(kind: string, work: () => Promise<T>) => journal.honestly(kind, BOUND_MS, work)
    await honestly('provision', () => requests.provision(instanceId))
    for (let binding = 0; binding < 2 && goOn(); binding += 1) {
      const bindingId = randomUUID()
      const uri = await honestly('bind', () => requests.bind(instanceId, bindingId))
      if (uri !== undefined) await useDatabase(uri, journal, honestly)
      await honestly('unbind', () => requests.unbind(instanceId, bindingId))
      if (uri !== undefined) await refused(uri, journal)
    }
    await honestly('deprovision', () => requests.deprovision(instanceId))
  }
}

/** Keeps one instance for the whole run, with a pool, and queries it all the time. */
export async function standHonestly(client: OsbClient, journal: Journal, goOn: () => boolean): Promise<void> {
  const requests = new Requests(client)
  const [instanceId, bindingId] = [randomUUID(), randomUUID()]
  const honestly = <T>(kind: string, work: () => Promise<T>) => journal.honestly(kind, BOUND_MS, work)
  await honestly('provision', () => requests.provision(instanceId))
  const uri = await honestly('bind', () => requests.bind(instanceId, bindingId))
  while (uri !== undefined && goOn()) {
    await useDatabase(uri, journal, honestly)
    await sleep(PAUSE_MS)
  }
  await honestly('unbind', () => requests.unbind(instanceId, bindingId))
  await honestly('deprovision', () => requests.deprovision(instanceId))
}

type Honestly = <T>(kind: string, work: () => Promise<T>) => Promise<T | undefined>

/** As an application: a pool that stays for some queries, and a connection of its own. */
async function useDatabase(uri: string, journal: Journal, honestly: Honestly): Promise<void> {
  const pool = new Pool({ connectionString: uri, max: 2, connectionTimeoutMillis: BOUND_MS })
  pool.on('error', () => undefined)
  try {
    await honestly('query of a pool', () =>
      passing(journal, () => pool.query('CREATE TABLE IF NOT EXISTS orders (id serial, at timestamptz DEFAULT now())'))
    )
    for (let query = 0; query < 5; query += 1) {
      await honestly('query of a pool', () => passing(journal, () => pool.query('INSERT INTO orders DEFAULT VALUES')))
    }
    await honestly('login and query', () => passing(journal, () => logIn(uri, 'SELECT count(*) FROM orders')))
  } finally {
    await pool.end()
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

async function passing<T>(journal: Journal, work: () => Promise<T>): Promise<T> {
  for (const end = Date.now() + BOUND_MS; ; await sleep(RETRY_MS)) {
    try {
      return await work()
    } catch (error) {
      const code = codeOf(error)
      if (!PASSING.has(code) || Date.now() > end) throw error
      journal.retry(code)
    }
  }
}

/** A login that was unbound works no more. */
async function refused(uri: string, journal: Journal): Promise<void> {
  const works = await logIn(uri, 'SELECT 1').then(
    () => true,
    () => false
  )
  if (works) journal.fail('a login works after its unbind')
}
