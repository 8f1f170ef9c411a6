import { type Finding, type RepairTask, type StandingInstance, Unavailable } from '../../../core/provider.ts'
import { alone } from '../alone.ts'
import { codeOf, faultOf } from '../faults.ts'
import type { Place } from '../instances.ts'
import { instanceNames, readBindingState, readInstanceState } from '../names.ts'
import { planOptions } from '../plan-options.ts'
import type { Servers } from '../servers.ts'
import { databaseDrift } from './database.ts'
import type { Drift } from './drift.ts'
import { loginDrift } from './login.ts'
import { objectsDrift } from './objects.ts'
import { rolesDrift } from './roles.ts'

/**
 * Compares an instance with what was agreed; heals what differs, and says so. Finds nothing while a task works on it.
 * @throws {Unavailable} when the server cannot be asked
 */
export async function repairInstance(servers: Servers, task: RepairTask): Promise<readonly Finding[]> {
  const state = readInstanceState(task.instance.state)
  if (state === undefined) return []
  const server = servers.of(state, task.log)
  try {
    const findings = await alone(server, task, {
      token: state.token,
      run: async (maintenance) => {
        const instance = await task.refresh(task.instance.instanceId)
        if (instance === undefined) return []
        return repair({ server, maintenance, names: instanceNames(state) }, instance, task)
      }
    })
    return findings ?? []
  } catch (error) {
    task.signal.throwIfAborted()
    const fault = faultOf(error)
    throw fault === undefined ? error : new Unavailable(fault.description, { cause: error })
  }
}

async function repair(place: Place, instance: StandingInstance, { heal, log }: RepairTask): Promise<Finding[]> {
  const found = await driftOf(place, instance)
  if (!heal || found.length === 0) return found.map(({ resource, finding }) => ({ resource, finding, healed: false }))
  const reasons = new Map<Drift, string>()
  for (const drift of found) {
    const reason = await healing(drift, log)
    if (reason !== undefined) reasons.set(drift, reason)
  }
  // PostgreSQL only warns of some rights that the broker may not take away
  const left = await driftOf(place, instance)
  return found.map((drift) => {
    const { resource, finding } = drift
    const reason = reasons.get(drift)
    const healed = !left.some((other) => other.resource === resource && other.finding === finding)
    return { resource, finding: healed || reason === undefined ? finding : `${finding} (${reason})`, healed }
  })
}

async function driftOf(place: Place, instance: StandingInstance): Promise<Drift[]> {
  const plan = planOptions(instance.options)
  const { drift, usable } = await databaseDrift(place, plan)
  const found = [...drift, ...(await rolesDrift(place))]
  if (!usable) return found
  for (const { state, settled } of instance.bindings) {
    const binding = readBindingState(state)
    if (settled && binding !== undefined) found.push(...(await loginDrift(place, binding, plan)))
  }
  return [...found, ...(await objectsDrift(place))]
}

/** What the broker may not do, or a lock is in the way of, is left to the next time or to an operator. */
const REASONS = new Map([
  ['42501', 'the broker lacks the right to heal it'],
  ['55P03', 'it is locked']
])

/** Why it could not be healed. */
async function healing({ resource, finding, heal }: Drift, log: RepairTask['log']): Promise<string | undefined> {
  try {
    await heal?.()
    return undefined
  } catch (error) {
    const reason = REASONS.get(codeOf(error) ?? '')
    if (reason === undefined) throw error
    log.warn({ resource, finding, reason: String(error) }, 'a finding could not be healed')
    return reason
  }
}
