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
import { CHANGED, HELD, objectsDrift } from './objects.ts'
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

/** How often to compare and heal, because a comparison reports a limited number of objects and settings. */
const ROUNDS = 3
/** How long to go on healing. Operations on the instance wait for the repair, which repeats every hour. */
const HEALING_MS = 20_000

async function repair(place: Place, instance: StandingInstance, { heal, log }: RepairTask): Promise<Finding[]> {
  const found = new Map<string, Drift>()
  const reasons = new Map<string, string>()
  let drift = await driftOf(place, instance)
  if (!heal) return drift.map(({ resource, finding }) => ({ resource, finding, healed: false }))
  const end = performance.now() + HEALING_MS
  for (let round = 0; round < ROUNDS; round++) {
    const added = drift.filter((one) => !found.has(keyOf(one)))
    if (added.length === 0) break
    for (const one of added) {
      found.set(keyOf(one), one)
      const reason = performance.now() > end ? 'the repair ran out of time' : await healing(one, log)
      if (reason !== undefined) reasons.set(keyOf(one), reason)
    }
    // PostgreSQL only warns about some rights that the broker may not revoke, so compare again
    drift = await driftOf(place, instance)
  }
  const left = new Set(drift.map(keyOf))
  return [...found].map(([key, { resource, finding }]) => {
    const reason = reasons.get(key)
    const healed = !left.has(key)
    return { resource, finding: healed || reason === undefined ? finding : `${finding} (${reason})`, healed }
  })
}

function keyOf({ resource, finding }: Drift): string {
  return `${resource} ${finding}`
}

async function driftOf(place: Place, instance: StandingInstance): Promise<Drift[]> {
  const plan = planOptions(instance.options)
  const { drift, usable } = await databaseDrift(place, plan)
  const found = [...drift, ...(await rolesDrift(place, plan))]
  if (!usable) return found
  for (const { state, settled } of instance.bindings) {
    const binding = readBindingState(state)
    if (settled && binding !== undefined) found.push(...(await loginDrift(place, binding, plan)))
  }
  return [...found, ...(await objectsDrift(place))]
}

/** Errors that say why a finding stays, by SQLSTATE. */
const REASONS = new Map([
  ['42501', 'the broker lacks the right to heal it'],
  ['55P03', 'it is locked'],
  ['57014', 'the repair ran out of time'],
  [CHANGED, 'it changed at the same time'],
  [HELD, 'an object of another role depends on it']
])

const SQLSTATE = /^(?=.*\d)[0-9A-Z]{5}$/
/** A lost connection, a server that shuts down or takes no writes: the repair of the instance ends. */
const ENDS_REPAIR = /^(?:08|57P|25006|28)/
/** The message of PostgreSQL can contain text of the tenant. */
const REASON_CHARACTERS = 500

/** Returns why a finding could not be healed. Other findings are healed all the same, because a tenant can cause errors. */
async function healing({ resource, finding, heal }: Drift, log: RepairTask['log']): Promise<string | undefined> {
  try {
    await heal?.()
    return undefined
  } catch (error) {
    const code = codeOf(error) ?? ''
    if (!SQLSTATE.test(code) || ENDS_REPAIR.test(code)) throw error
    log.warn({ resource, finding, reason: String(error).slice(0, REASON_CHARACTERS) }, 'a finding could not be healed')
    return REASONS.get(code) ?? 'the server reported an error'
  }
}
