import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { serviceId } from './catalog.ts'
import type { ChaosScene } from './chaos-scene.ts'
import { type Comparison, compare, type Seen } from './comparison.ts'
import { cannotConnect } from './database-lives.ts'
import type { Known } from './life.ts'
import { compareLogs } from './log-truth.ts'
import { compareOperations, readOperations } from './operation-truth.ts'
import { compareOutside } from './outside-truth.ts'

const SETTLE_WITHIN_MS = 90_000

/** Compares the three truths. Every known database must have a binding, which names it. */
export async function compareTruths(scene: ChaosScene, seen: Seen): Promise<Comparison> {
  const differences: string[] = []
  const state = await connect(scene.stateUrl)
  const server = await connect(scene.adminUrl)
  try {
    await settle(state, differences)
    const store = await storeTruth(state, seen.lost)
    const told = toldTruth(seen.known)
    compare(differences, 'instances', { told: told.instances, stored: store.instances })
    compare(differences, 'bindings', { told: told.bindings, stored: store.bindings })
    const held = await serverTruth(server)
    if (seen.lost.size === 0) {
      compare(differences, 'databases', { told: told.databases, held: held.databases })
      compare(differences, 'roles', { told: told.roles, held: held.roles })
    }
    for (const credentials of told.credentials) {
      const fault = await cannotConnect(credentials)
      if (fault !== undefined) differences.push(`credentials of ${credentials.username}: ${fault}`)
    }
    const rows = await readOperations(state)
    const parts = [
      compareOperations(rows, scene.replicas, seen),
      await compareOutside(scene, { seen, rows }),
      await compareLogs(scene.replicas, seen)
    ]
    return {
      differences: [...differences, ...parts.flatMap((part) => part.differences)],
      counts: {
        'instances told': told.instances.size,
        'instances stored': store.instances.size,
        'databases held': held.databases.size,
        'bindings told': told.bindings.size,
        'bindings stored': store.bindings.size,
        'roles held': held.roles.size,
        ...Object.assign({}, ...parts.map((part) => part.counts))
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

/** Undone work may still be running; an operation that has not ended by then is stuck. */
async function settle(state: Client, differences: string[]): Promise<void> {
  for (const end = Date.now() + SETTLE_WITHIN_MS; ; await sleep(200)) {
    const { rows } = await state.query(
      `SELECT operation_id, kind, attempt, internal, instance_id, lease_until - clock_timestamp() AS lease,
        deadline - clock_timestamp() AS left, description
      FROM osb.operations WHERE state = 'in progress'`
    )
    if (rows.length === 0) return
    if (Date.now() < end) continue
    for (const row of rows) differences.push(`stuck: ${JSON.stringify(row)}`)
    return
  }
}

async function storeTruth(state: Client, lost: ReadonlySet<string>) {
  const instances = await state.query('SELECT instance_id, plan_id, status FROM osb.service_instances')
  const bindings = await state.query('SELECT instance_id, binding_id, status FROM osb.service_bindings')
  const marked = (id: string, status: string) => (status === 'ready' ? id : `${id} (${status})`)
  const isKept = ({ instance_id }: { instance_id: string }) => !lost.has(instance_id)
  return {
    instances: new Set(
      instances.rows.filter(isKept).map((row) => marked(`${row.instance_id} on ${row.plan_id}`, row.status))
    ),
    bindings: new Set(
      bindings.rows.filter(isKept).map((row) => marked(`${row.instance_id}/${row.binding_id}`, row.status))
    )
  }
}

async function serverTruth(server: Client) {
  const databases = await server.query(`SELECT datname AS name FROM pg_database WHERE datname LIKE 'osb\\_d\\_%'`)
  const roles = await server.query(`SELECT rolname AS name FROM pg_roles WHERE rolname ~ '^osb_[orb]_'`)
  const names = ({ rows }: { rows: { name: string }[] }) => new Set(rows.map(({ name }) => name))
  return { databases: names(databases), roles: names(roles) }
}

function toldTruth(known: ReadonlyMap<string, Known>) {
  const instances = new Set<string>()
  const databases = new Set<string>()
  const roles = new Set<string>()
  const bindings = new Set<string>()
  const credentials: Record<string, unknown>[] = []
  for (const [instanceId, { serviceId: service, planId, bindings: own }] of known) {
    instances.add(`${instanceId} on ${planId}`)
    for (const [bindingId, given] of own) {
      bindings.add(`${instanceId}/${bindingId}`)
      if (service !== serviceId) continue
      credentials.push(given)
      const database = String(given.database)
      databases.add(database)
      roles.add(String(given.username))
      for (const kind of ['o', 'r']) roles.add(database.replace('osb_d_', `osb_${kind}_`))
    }
  }
  return { instances, databases, roles, bindings, credentials }
}
