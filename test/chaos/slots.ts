import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { plans, scriptedServiceId } from './catalog.ts'
import type { Replica } from './replicas.ts'
import type { Scene } from './scene.ts'

/** Operations that a replica executes side by side. */
const WORKERS = 8
const WITHIN_MS = 30_000

/**
 * Checks that every worker of every replica is free: as many creates as there are workers have to meet in the provider of one
 * replica, while the others are stopped.
 */
export async function compareSlots({ replicas, headers }: Scene): Promise<string[]> {
  const differences: string[] = []
  for (const replica of replicas) {
    const others = replicas.filter((other) => other !== replica)
    for (const other of others) other.signal('SIGSTOP')
    try {
      const ends = await Promise.all(Array.from({ length: WORKERS }, () => create(replica, headers)))
      const failed = ends.filter((end) => end !== 'succeeded')
      if (failed.length > 0)
        differences.push(`${replica.name}: ${failed.length} of ${WORKERS} creates found no worker: ${failed[0]}`)
    } finally {
      for (const other of others) other.signal('SIGCONT')
    }
  }
  return differences
}

async function create(replica: Replica, headers: Record<string, string>): Promise<string> {
  const path = `${replica.url}/v2/service_instances/${randomUUID()}`
  const parameters = { provision: [{ act: 'meet', count: WORKERS }] }
  const ids = { service_id: scriptedServiceId, plan_id: plans.steady }
  const body = JSON.stringify({ ...ids, organization_guid: 'org', space_guid: 'space', parameters })
  const end = Date.now() + WITHIN_MS
  const put = () => fetch(`${path}?accepts_incomplete=true`, { method: 'PUT', headers, body })
  let created = await put()
  // A process that was just stopped takes itself for overloaded for a moment.
  for (; created.status === 503 && Date.now() < end; created = await put()) await sleep(500)
  if (created.status !== 202) return `PUT answered ${created.status} ${await created.text()}`
  while (true) {
    const polled: unknown = await (await fetch(`${path}/last_operation`, { headers })).json()
    const { state, description } = Object(polled)
    if (state === 'in progress' && Date.now() < end) {
      await sleep(100)
      continue
    }
    await fetch(`${path}?${new URLSearchParams({ ...ids, accepts_incomplete: 'true' })}`, { method: 'DELETE', headers })
    return state === 'succeeded' ? state : `${state}: ${description}`
  }
}
