import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { plans, scriptedServiceId } from './catalog.ts'
import type { Replica } from './replicas.ts'
import type { Scene } from './scene.ts'

/** Operations of one platform, of long kinds and of short ones each, that a replica with 8 workers executes at once. */
const AT_ONCE = 5
const WITHIN_MS = 30_000

const ids = { service_id: scriptedServiceId, plan_id: plans.steady }

/**
 * Checks that no worker slot is lost: as many creates, and then binds, as a platform may have at once have to meet in the
 * provider of one replica, while the other replicas are stopped.
 */
export async function compareSlots({ replicas, headers }: Scene): Promise<string[]> {
  const differences: string[] = []
  for (const replica of replicas) {
    const others = replicas.filter((other) => other !== replica)
    for (const other of others) other.signal('SIGSTOP')
    try {
      const instances = Array.from({ length: AT_ONCE }, () => `/v2/service_instances/${randomUUID()}`)
      const client = { replica, headers }
      const lost = [
        ...(await meet(client, instances, 'provision')),
        ...(await meet(
          client,
          instances.map((path) => `${path}/service_bindings/${randomUUID()}`),
          'bind'
        ))
      ]
      for (const path of instances) await request(client, 'DELETE', `${path}?${new URLSearchParams(ids)}`)
      if (lost.length > 0) differences.push(`${replica.name} has lost worker slots: ${lost.join('; ')}`)
    } finally {
      for (const other of others) other.signal('SIGCONT')
    }
  }
  return differences
}

interface Client {
  readonly replica: Replica
  readonly headers: Record<string, string>
}

/** Starts an operation on each path; says why those failed that did not meet the others. */
async function meet(client: Client, paths: readonly string[], verb: 'provision' | 'bind'): Promise<string[]> {
  const parameters = { [verb]: [{ act: 'meet', count: paths.length }] }
  const body = { ...ids, ...(verb === 'bind' ? {} : { organization_guid: 'org', space_guid: 'space' }), parameters }
  const ends = await Promise.all(paths.map((path) => settle(client, path, body)))
  return ends.filter((end) => end !== 'succeeded').map((end) => `${verb} ${end}`)
}

async function settle(client: Client, path: string, body: object): Promise<string> {
  const end = Date.now() + WITHIN_MS
  const { status, answer } = await request(client, 'PUT', `${path}?accepts_incomplete=true`, body)
  if (status !== 202) return `was answered ${status} ${JSON.stringify(answer)}`
  while (true) {
    const { state, description } = (await request(client, 'GET', `${path}/last_operation`)).answer
    if (state === 'succeeded') return state
    if (state !== 'in progress' || Date.now() > end) return `${state}: ${description}`
    await sleep(100)
  }
}

async function request({ replica, headers }: Client, method: string, path: string, body?: object) {
  const options = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }
  for (const end = Date.now() + WITHIN_MS; ; await sleep(500)) {
    const response = await fetch(replica.url + path, options)
    const answer: Record<string, unknown> = Object(await response.json())
    // A process that was just stopped takes itself for overloaded for a moment.
    if (response.status !== 503 || Date.now() > end) return { status: response.status, answer }
  }
}
