import { randomUUID } from 'node:crypto'
import { plans, scriptedServiceId } from './catalog.ts'
import { asynchronous, type Known, type Life, mustSucceed } from './life.ts'
import type { Random } from './random.ts'
import type { Rollout } from './rollout.ts'
import type { Script, Step, Verb } from './script.ts'

/** Work that takes longer could not end within a synchronous request, however often it is repeated. */
const SYNCHRONOUS_MS = 5_000

export interface ScriptedLivesOptions {
  readonly rollout: Rollout
  /** Whether calls of the provider may hang, fail and ignore their signals. */
  readonly faulty: boolean
}

/** Random lives of instances of the scripted provider; the client decides what each of its calls does. */
export class ScriptedLives {
  readonly #life: Life
  readonly #options: ScriptedLivesOptions

  constructor(life: Life, options: ScriptedLivesOptions) {
    this.#life = life
    this.#options = options
  }

  async live(instanceId: string, goOn: () => boolean): Promise<void> {
    const { random } = this.#life
    const path = `/v2/service_instances/${instanceId}`
    if (!this.#options.faulty) return this.#plainLife(instanceId, path, goOn)
    const kind = random.next()
    if (kind < 0.4) return this.#plainLife(instanceId, path, goOn)
    if (kind < 0.55) return this.#hangingCreate(instanceId, path)
    if (kind < 0.75) return this.#cancelledCreate(instanceId, path)
    return this.#hangingChange(instanceId, path)
  }

  async #plainLife(instanceId: string, path: string, goOn: () => boolean): Promise<void> {
    const { random } = this.#life
    const added = this.#options.rollout.added.at(-1)
    const planId = added !== undefined && random.chance(0.6) ? added : plans.steady
    if (!(await this.#provision(instanceId, path, planId))) return
    const known = this.#life.known.get(instanceId)
    const steps = random.between(1, 4)
    for (let step = 0; step < steps && goOn() && known !== undefined; step += 1) {
      if (random.chance(0.3)) await this.#update(path, known)
      else await this.#bind(path, known)
    }
    if (!random.chance(0.15)) await this.#deprovision(instanceId, path, planId)
  }

  /** The create fails at its deadline, or its request is answered with an error; then the platform deletes. */
  async #hangingCreate(instanceId: string, path: string): Promise<void> {
    const { platform, random } = this.#life
    const script = { provision: [hanging(random)] }
    const query = random.chance(0.7) ? `?${asynchronous}` : ''
    const answer = await platform.ask('PUT', path + query, this.#body(plans.hasty, script))
    if (answer.status === 202) await platform.poll(path, String(answer.body.operation))
    await this.#deprovision(instanceId, path, plans.hasty)
  }

  /** A delete in the middle of a create, and sometimes the create again under the same id. */
  async #cancelledCreate(instanceId: string, path: string): Promise<void> {
    const { platform, random } = this.#life
    const ms = random.between(1_000, 12_000)
    const script = { provision: [{ act: random.pick(['work', 'late', 'deaf', 'deaf'] as const), ms }] }
    const { status, body } = await platform.send('PUT', `${path}?${asynchronous}`, this.#body(plans.steady, script))
    await pause(random)
    await this.#deprovision(instanceId, path, plans.steady)
    if (status === 202) await platform.poll(path, String(body.operation))
    if (random.chance(0.3)) await this.#provision(instanceId, path, plans.steady)
  }

  /** An update or a bind that hangs, and sometimes a delete in the middle of it. */
  async #hangingChange(instanceId: string, path: string): Promise<void> {
    const { platform, random } = this.#life
    if (!(await this.#provision(instanceId, path, plans.hasty, {}))) return
    const known = this.#life.known.get(instanceId)
    if (known === undefined) return
    const [verb, url, method] = random.chance(0.5)
      ? (['update', path, 'PATCH'] as const)
      : (['bind', `${path}/service_bindings/${randomUUID()}`, 'PUT'] as const)
    const query = random.chance(0.7) ? `?${asynchronous}` : ''
    const body = { service_id: scriptedServiceId, plan_id: plans.hasty, parameters: { [verb]: [hanging(random)] } }
    const { status, body: told } = await platform.ask(method, url + query, body)
    known.planUncertain = true
    const cancels = random.chance(0.4)
    if (cancels) await pause(random)
    else if (status === 202) await platform.poll(url, String(told.operation))
    if (verb === 'bind' && !cancels) await this.#remove(url, plans.hasty)
    await this.#deprovision(instanceId, path, plans.hasty)
    if (cancels && status === 202 && verb === 'update') await platform.poll(url, String(told.operation))
  }

  async #provision(instanceId: string, path: string, planId: string, script?: Script): Promise<boolean> {
    const { platform, random, known } = this.#life
    const parameters = script ?? this.#script(['provision', 'deprovision'])
    const query = queryFor(parameters.provision, random)
    const body = this.#body(planId, parameters)
    const { answer, state } = await platform.settle('PUT', path + query, body, this.#options.rollout.offering(planId))
    if (state === 'succeeded') {
      known.set(instanceId, { serviceId: scriptedServiceId, planId, bindings: new Map() })
      return true
    }
    // An operation of the plan `hasty` may end at its deadline before any replica gets to it.
    if (planId !== plans.hasty && mustSucceed(query, state))
      platform.violate(`PUT ${path} (${planId}) came to ${state}: ${JSON.stringify(answer)}`)
    await this.#deprovision(instanceId, path, planId)
    return false
  }

  async #update(path: string, known: Known): Promise<void> {
    const { platform, random } = this.#life
    const others = [plans.steady, ...this.#options.rollout.added].filter((planId) => planId !== known.planId)
    const planId = others.length > 0 ? random.pick(others) : known.planId
    const parameters = this.#script(['update'])
    const query = queryFor(parameters.update, random)
    const body = { service_id: scriptedServiceId, plan_id: planId, parameters }
    const { answer, state } = await platform.settle('PATCH', path + query, body, this.#options.rollout.offering(planId))
    if (mustSucceed(query, state)) platform.violate(`PATCH ${path} came to ${state}: ${JSON.stringify(answer)}`)
    if (state === 'succeeded') known.planId = planId
    known.planUncertain = state !== 'succeeded'
  }

  async #bind(path: string, known: Known): Promise<void> {
    const { platform, random } = this.#life
    const bindingId = randomUUID()
    const binding = `${path}/service_bindings/${bindingId}`
    const parameters = this.#script(['bind', 'unbind'])
    const query = queryFor(parameters.bind, random)
    const body = { service_id: scriptedServiceId, plan_id: known.planId, parameters }
    const replicas = this.#options.rollout.offering(known.planId)
    const { answer, state } = await platform.settle('PUT', binding + query, body, replicas)
    if (mustSucceed(query, state)) platform.violate(`PUT ${binding} came to ${state}: ${JSON.stringify(answer)}`)
    if (state !== 'succeeded' || random.chance(0.4)) return this.#remove(binding, known.planId)
    const { status, body: fetched } = await platform.send('GET', binding)
    if (status !== 200) platform.violate(`GET ${binding} after success answered ${status}`)
    known.bindings.set(bindingId, Object(fetched.credentials))
  }

  async #deprovision(instanceId: string, path: string, planId: string): Promise<void> {
    await this.#remove(path, planId)
    this.#life.known.delete(instanceId)
  }

  async #remove(path: string, planId: string): Promise<void> {
    const { random, platform } = this.#life
    const query = random.chance(0.8) ? `&${asynchronous}` : ''
    await platform.remove(path, `service_id=${scriptedServiceId}&plan_id=${planId}${query}`)
  }

  #body(planId: string, parameters: Script): object {
    return {
      service_id: scriptedServiceId,
      plan_id: planId,
      organization_guid: 'org',
      space_guid: 'space',
      parameters
    }
  }

  /** Steps that lead to success in the end. */
  #script(verbs: readonly Verb[]): Script {
    const { random } = this.#life
    return Object.fromEntries(verbs.map((verb) => [verb, this.#options.faulty ? toSuccess(verb, random) : []]))
  }
}

function queryFor(steps: readonly Step[] = [], random: Random): string {
  const isSlow = steps.some(({ ms = 0 }) => ms > SYNCHRONOUS_MS)
  return isSlow || random.chance(0.8) ? `?${asynchronous}` : ''
}

function toSuccess(verb: Verb, random: Random): Step[] {
  const work: Step = { act: 'work', ms: random.between(0, 500) }
  const removes = verb === 'deprovision' || verb === 'unbind'
  // Longer than a lease. Each fault on the replica makes an attempt start again.
  const longestMs = removes ? SYNCHRONOUS_MS : 12_000
  switch (random.pick(['work', 'work', 'fail', 'long', 'late'] as const)) {
    case 'work':
      return [work]
    case 'fail':
      return random.chance(0.5) ? [{ act: 'fail' }, work] : [{ act: 'fail' }, { act: 'fail' }, work]
    case 'long':
      return [{ act: 'work', ms: random.between(3_000, longestMs) }]
    case 'late':
      return [{ act: 'late', ms: random.between(500, removes ? longestMs : 8_000) }]
  }
}

/** A step after which an operation of the plan `hasty` ends at its deadline. */
function hanging(random: Random): Step {
  const act = random.pick(['hang', 'hang', 'obey', 'late', 'deaf'] as const)
  return { act, ms: random.between(8_000, 20_000) }
}

function pause(random: Random): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, random.between(0, 3_000)))
}
