import { join } from 'node:path'
import { Pool } from 'pg'
import { findOrphans } from '../../src/core/reconcile.ts'
import { GRACE_MS } from '../../src/core/watchdog.ts'
import { PostgresStore, parseEncryptionKeys, Sealer } from '../../src/stores/postgres/index.ts'
import { CallRecorder } from './calls.ts'
import { scriptedServiceId } from './catalog.ts'
import type { ChaosScene } from './chaos-scene.ts'
import { type Comparison, compare, type Evidence } from './comparison.ts'
import type { Known } from './life.ts'
import { type Made, Outside, readOutside } from './outside.ts'
import { scriptedProvider } from './provider.ts'
import { replicaOf } from './timeline.ts'

/**
 * Compares what the scripted provider has made with what clients were told. A call that acted without a look at its fence
 * may have left something behind; then the orphan search must find it.
 */
export async function compareOutside(scene: ChaosScene, evidence: Evidence): Promise<Comparison> {
  const { seen } = evidence
  const differences: string[] = []
  const all = await readOutside(scene.adminUrl)
  const made = all.filter(({ instanceId }) => !seen.lost.has(instanceId))
  const uncertain = new Set([...seen.known].filter(([, { planUncertain }]) => planUncertain === true).map(([id]) => id))
  const nameOf = ({ instanceId, bindingId, planId }: Made) => {
    if (bindingId !== null) return `${instanceId}/${bindingId}`
    return uncertain.has(instanceId) ? instanceId : `${instanceId} on ${planId}`
  }
  const told = toldOutside(seen.known)
  const orphans = await orphansOf(scene)
  const leftBehind = made.filter((one) => !one.fenced && (orphans.has(one.name) || !told.has(nameOf(one))))
  for (const one of leftBehind) {
    if (!orphans.has(one.name)) differences.push(`outside: ${one.name} was left behind, and is not found as an orphan`)
    else if (!isExcused(one, scene, evidence))
      differences.push(`outside: ${one.name} was left behind by a call that ignored its signal, without any fault`)
  }
  const held = made.filter((one) => !leftBehind.includes(one))
  compare(differences, 'outside', { told, held: new Set(held.map(nameOf)) })
  for (const { name } of held) if (orphans.has(name)) differences.push(`outside: ${name} is an orphan`)
  return {
    differences,
    counts: { 'scripted resources held': held.length, 'orphans of calls that ignored their signals': leftBehind.length }
  }
}

/** A delete waits for a create of a live process, until the create's deadline and grace. */
function isExcused({ instanceId, bindingId }: Made, scene: ChaosScene, { seen, rows }: Evidence): boolean {
  return seen.calls
    .filter((call) => call.act === 'deaf' && call.instance === instanceId && (call.binding ?? null) === bindingId)
    .some((call) => {
      const replica = replicaOf(call, scene.replicas)
      const ended = call.ended ?? Number.POSITIVE_INFINITY
      const deadline = rows.find(({ id }) => id === call.operation)?.deadline
      return (
        replica === undefined ||
        seen.timeline.isDisturbed(replica, call.began, ended) ||
        (deadline !== undefined && ended > deadline + GRACE_MS)
      )
    })
}

/** The names that the hourly search for orphans would log. */
async function orphansOf(scene: ChaosScene): Promise<Set<string>> {
  const pool = new Pool({ connectionString: scene.stateUrl, max: 2 })
  const outside = new Outside(scene.adminUrl)
  const store = new PostgresStore(pool, { sealer: new Sealer(parseEncryptionKeys(scene.encryptionKeys)) })
  try {
    const provider = scriptedProvider(outside, new CallRecorder(join(scene.folder, 'orphan-search.calls')))
    const orphans = await findOrphans(store, [provider])
    return new Set(orphans.filter(({ side }) => side === 'outside').map(({ resource }) => resource))
  } finally {
    await store.close()
    await Promise.all([outside.close(), pool.end()])
  }
}

/** The ids of the scripted provider's instances and bindings that clients have, as `outside` names them. */
function toldOutside(known: ReadonlyMap<string, Known>): Set<string> {
  const told = new Set<string>()
  for (const [instanceId, { serviceId: service, planId, planUncertain, bindings }] of known) {
    if (service !== scriptedServiceId) continue
    told.add(planUncertain === true ? instanceId : `${instanceId} on ${planId}`)
    for (const bindingId of bindings.keys()) told.add(`${instanceId}/${bindingId}`)
  }
  return told
}
