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
  const plan = planOptions(instance.options)
  const findings: Finding[] = []
  const settle = async (drifts: readonly Drift[]) => {
    for (const drift of drifts) findings.push(heal ? await healed(drift, log) : { ...plain(drift), healed: false })
  }
  const { drift, usable } = await databaseDrift(place, plan)
  await settle(drift)
  await settle(await rolesDrift(place))
  if (!usable) return findings
  for (const { state, settled } of instance.bindings) {
    const binding = readBindingState(state)
    if (settled && binding !== undefined) await settle(await loginDrift(place, binding, plan))
  }
  await settle(await objectsDrift(place))
  return findings
}

function plain({ resource, finding }: Drift) {
  return { resource, finding }
}

/** What the broker may not do, or a lock is in the way of, is left to the next time or to an operator. */
const LEFT = new Map([
  ['42501', 'the broker lacks the right to heal it'],
  ['55P03', 'it is locked']
])

async function healed(drift: Drift, log: RepairTask['log']): Promise<Finding> {
  if (drift.heal === undefined) return { ...plain(drift), healed: false }
  try {
    await drift.heal()
    return { ...plain(drift), healed: true }
  } catch (error) {
    const reason = LEFT.get(codeOf(error) ?? '')
    if (reason === undefined) throw error
    log.warn({ resource: drift.resource, reason: String(error) }, 'a finding could not be healed')
    return { resource: drift.resource, finding: `${drift.finding} (${reason})`, healed: false }
  }
}
