import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { cannotConnect, type Known } from './lifecycles.ts'
import type { Scene } from './scene.ts'

const SETTLE_WITHIN_MS = 90_000

/** What clients were told, what the store holds, and what the server holds: counts, and every difference. */
export interface Comparison {
  readonly counts: Record<string, number>
  readonly differences: string[]
}

/** Compares the three truths. Every known instance must have a binding, so that its database can be told. */
export async function compareTruths(scene: Scene, known: ReadonlyMap<string, Known>): Promise<Comparison> {
  const differences: string[] = []
  const state = await connect(scene.stateUrl)
  const server = await connect(scene.postgres.adminUrl)
  try {
    await settle(state, differences)
    const store = await storeTruth(state)
    const told = toldTruth(known)
    compare(differences, 'instances', { told: told.instances, stored: store.instances })
    compare(differences, 'bindings', { told: told.bindings, stored: store.bindings })
    const held = await serverTruth(server)
    compare(differences, 'databases', { told: told.databases, held: held.databases })
    compare(differences, 'roles', { told: told.roles, held: held.roles })
    for (const credentials of told.credentials) {
      const fault = await cannotConnect(credentials)
      if (fault !== undefined) differences.push(`credentials of ${credentials.username}: ${fault}`)
    }
    return {
      differences,
      counts: {
        'instances told': told.instances.size,
        'instances stored': store.instances.size,
        'databases held': held.databases.size,
        'bindings told': told.bindings.size,
        'bindings stored': store.bindings.size,
        'roles held': held.roles.size,
        'operations succeeded': store.operations.succeeded ?? 0,
        'operations failed': store.operations.failed ?? 0,
        'operations unfinished': store.operations['in progress'] ?? 0,
        'operations with several attempts': store.operations.repeated ?? 0
      }
    }
  } finally {
    await Promise.all([state.end(), server.end()])
  }
}

async function connect(connectionString: string): Promise<Client> {
  const client = new Client({ connectionString })
  await client.connect()
  return client
}

/** Undone work may still be running; what has not ended by then is stuck. */
async function settle(state: Client, differences: string[]): Promise<void> {
  for (const end = Date.now() + SETTLE_WITHIN_MS; ; await sleep(200)) {
    const { rows } = await state.query(
      `SELECT operation_id, kind, attempt, description FROM osb.operations WHERE state = 'in progress'`
    )
    if (rows.length === 0) return
    if (Date.now() < end) continue
    for (const row of rows) differences.push(`stuck: ${JSON.stringify(row)}`)
    return
  }
}

async function storeTruth(state: Client) {
  const instances = await state.query('SELECT instance_id, status FROM osb.service_instances')
  const bindings = await state.query('SELECT instance_id, binding_id, status FROM osb.service_bindings')
  const operations = await state.query(
    `SELECT state, count(*)::int AS count FROM osb.operations GROUP BY state
    UNION ALL SELECT 'repeated', count(*)::int FROM osb.operations WHERE attempt > 1`
  )
  const marked = (id: string, status: string) => (status === 'ready' ? id : `${id} (${status})`)
  return {
    instances: new Set(instances.rows.map(({ instance_id, status }) => marked(instance_id, status))),
    bindings: new Set(bindings.rows.map((row) => marked(`${row.instance_id}/${row.binding_id}`, row.status))),
    operations: Object.fromEntries(operations.rows.map(({ state, count }) => [state, count])) as Record<string, number>
  }
}

async function serverTruth(server: Client) {
  const databases = await server.query(`SELECT datname AS name FROM pg_database WHERE datname LIKE 'osb\\_d\\_%'`)
  const roles = await server.query(`SELECT rolname AS name FROM pg_roles WHERE rolname ~ '^osb_[orb]_'`)
  const names = ({ rows }: { rows: { name: string }[] }) => new Set(rows.map(({ name }) => name))
  return { databases: names(databases), roles: names(roles) }
}

function toldTruth(known: ReadonlyMap<string, Known>) {
  const databases = new Set<string>()
  const roles = new Set<string>()
  const bindings = new Set<string>()
  const credentials: Record<string, unknown>[] = []
  for (const [instanceId, { bindings: own }] of known) {
    for (const [bindingId, given] of own) {
      bindings.add(`${instanceId}/${bindingId}`)
      credentials.push(given)
      const database = String(given.database)
      databases.add(database)
      roles.add(String(given.username))
      for (const kind of ['o', 'r']) roles.add(database.replace('osb_d_', `osb_${kind}_`))
    }
  }
  return { instances: new Set(known.keys()), databases, roles, bindings, credentials }
}

function compare(differences: string[], what: string, sides: Record<string, ReadonlySet<string>>): void {
  const [[nameA, a], [nameB, b]] = Object.entries(sides) as [
    [string, ReadonlySet<string>],
    [string, ReadonlySet<string>]
  ]
  for (const item of a) if (!b.has(item)) differences.push(`${what}: ${item} is ${nameA}, not ${nameB}`)
  for (const item of b) if (!a.has(item)) differences.push(`${what}: ${item} is ${nameB}, not ${nameA}`)
}
