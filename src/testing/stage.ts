import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import type { JsonObject } from '../../schemas/common.ts'
import type { Bound, Provisioned, Task, TaskLog } from '../core/provider.ts'
import type { ProviderContractOptions } from './contract.ts'
import { type Interruption, runWith, Steps } from './steps.ts'
import { ContractViolation, must } from './violation.ts'

/** How a function of the provider is called. */
export interface CallOptions {
  readonly interruption?: Interruption
  /** Offering and plan have left the catalog. */
  readonly withoutPlan?: boolean
}

/** How a call ended that may have been interrupted. */
export interface Ended<Result> {
  readonly interrupted: boolean
  readonly result?: Result
  readonly error?: unknown
}

/** What the framework keeps of a resource. */
interface Kept {
  state: JsonObject | undefined
  attempts: number
}

/** Where the provider plays: the framework's part, in memory, and eyes on what is outside. */
export class Stage {
  readonly options: ProviderContractOptions
  /** Everything that the provider has told: progress, log lines, errors. */
  readonly told: string[] = []
  readonly #instances: StagedInstance[] = []

  constructor(options: ProviderContractOptions) {
    this.options = options
  }

  /** An instance that nothing has been done with yet. */
  instance(id: string = randomUUID()): StagedInstance {
    const instance = new StagedInstance(this, id)
    this.#instances.push(instance)
    return instance
  }

  /** Names of what is outside; nothing where nobody can tell. */
  async outside(): Promise<readonly string[]> {
    const { leftovers, provider } = this.options
    const names = await (leftovers?.() ?? provider.inventory?.list() ?? [])
    return [...names].sort()
  }

  /** @throws {ContractViolation} when more, or less, is outside than before */
  async expectOutside(before: readonly string[], when: string): Promise<void> {
    const now = await this.outside()
    const more = now.filter((name) => !before.includes(name))
    const less = before.filter((name) => !now.includes(name))
    must(more.length === 0, `${when}, this is left outside: ${more.join(', ')}`)
    must(less.length === 0, `${when}, this is gone: ${less.join(', ')}`)
  }

  /** @throws {ContractViolation} unless the credentials do, or do not, let one in; passes where nobody can tell */
  async expectWorking({ credentials }: Bound, expected: boolean, when: string): Promise<void> {
    const { works } = this.options
    if (works === undefined || credentials === undefined) return
    const working = await works(credentials)
    must(working === expected, `${when}, the credentials ${working ? 'still work' : 'do not work'}`)
  }

  /** Removes what a check has left, so that the next one begins with nothing. */
  async clear(): Promise<void> {
    for (const instance of this.#instances) await instance.clear()
  }
}

/** An instance as the framework drives it: every call gets the state saved last. */
export class StagedInstance {
  readonly id: string
  readonly #stage: Stage
  readonly #kept: Kept = { state: undefined, attempts: 0 }
  readonly #bindings = new Map<string, Kept>()
  #options: JsonObject
  #parameters: JsonObject

  constructor(stage: Stage, id: string) {
    this.id = id
    this.#stage = stage
    this.#options = stage.options.options ?? {}
    this.#parameters = stage.options.parameters ?? {}
  }

  /** Whether the provider has saved anything of the instance, or of the binding. */
  hasState = (bindingId?: string) => this.stateOf(bindingId) !== undefined

  /** What the provider has saved of the instance, or of the binding. */
  stateOf(bindingId?: string): JsonObject | undefined {
    return this.#keptOf(bindingId).state
  }

  provision(call: CallOptions = {}): Promise<Ended<Provisioned>> {
    const { provider } = this.#stage.options
    return this.#call(undefined, call, (task) => provider.provision({ ...task, ...this.#catalog() }))
  }

  /** @param back to what the instance was before, as the framework does after an update that failed */
  async update(call: CallOptions = {}, back = false): Promise<Ended<Provisioned>> {
    const { provider, update, options = {}, parameters = {} } = this.#stage.options
    const to = { options: update?.options ?? options, parameters: { ...parameters, ...update?.parameters } }
    const [wanted, previous] = back ? [{ options, parameters }, to] : [to, { options, parameters }]
    const ended = await this.#call(undefined, call, async (task) => {
      if (provider.update === undefined) return {}
      const bindings = async () => this.#standingBindings()
      return provider.update({
        ...task,
        ...this.#catalog(),
        ...wanted,
        previous: { plan: PLAN, ...previous },
        bindings
      })
    })
    if (ended.result !== undefined) [this.#options, this.#parameters] = [wanted.options, wanted.parameters]
    return ended
  }

  async deprovision(call: CallOptions = {}): Promise<Ended<void>> {
    const { provider } = this.#stage.options
    const ended = await this.#call(undefined, call, (task) =>
      provider.deprovision({ ...task, ...this.#catalog(), ...gone(call) })
    )
    if (!ended.interrupted && ended.error === undefined) this.#kept.state = undefined
    return ended
  }

  bind(bindingId: string, call: CallOptions = {}, predecessorId?: string): Promise<Ended<Bound>> {
    const { provider, bindParameters = {} } = this.#stage.options
    const predecessor = predecessorId === undefined ? undefined : this.#keptOf(predecessorId)
    return this.#call(bindingId, call, async (task) => {
      if (provider.bind === undefined) return {}
      return provider.bind({
        ...task,
        ...this.#catalog(),
        parameters: bindParameters,
        bindingId,
        instance: { state: this.#kept.state, parameters: this.#parameters },
        appGuid: 'app',
        route: undefined,
        predecessor: predecessorId === undefined ? undefined : { bindingId: predecessorId, state: predecessor?.state },
        endpoints: true,
        keepCredentials: this.#stage.options.keepCredentials ?? true
      })
    })
  }

  async unbind(bindingId: string, call: CallOptions = {}): Promise<Ended<void>> {
    const { provider, bindParameters = {} } = this.#stage.options
    const ended = await this.#call(bindingId, call, async (task) => {
      await provider.unbind?.({
        ...task,
        ...this.#catalog(),
        ...gone(call),
        parameters: bindParameters,
        bindingId,
        instance: { state: this.#kept.state, parameters: this.#parameters }
      })
    })
    if (!ended.interrupted && ended.error === undefined) this.#keptOf(bindingId).state = undefined
    return ended
  }

  /** Keeps the state as it is now; the answer puts it back, for a call that comes once more. */
  repeatable(bindingId?: string): () => void {
    const kept = this.#keptOf(bindingId)
    const { state } = kept
    return () => {
      kept.state = state
    }
  }

  /** Bindings first, as the framework does. Faults are not told: the check has told its own. */
  async clear(): Promise<void> {
    for (const bindingId of this.#bindings.keys()) await this.unbind(bindingId)
    await this.deprovision()
  }

  #catalog() {
    const { requires = [] } = this.#stage.options
    return {
      service: { ...SERVICE, requires: [...requires] },
      plan: PLAN,
      options: this.#options,
      parameters: this.#parameters
    }
  }

  #standingBindings() {
    const { bindParameters: parameters = {} } = this.#stage.options
    const saved = [...this.#bindings].filter(([, { state }]) => state !== undefined)
    return saved.map(([bindingId, { state = {} }]) => ({ bindingId, parameters, state, settled: true }))
  }

  #keptOf(bindingId: string | undefined): Kept {
    if (bindingId === undefined) return this.#kept
    const kept = this.#bindings.get(bindingId) ?? { state: undefined, attempts: 0 }
    this.#bindings.set(bindingId, kept)
    return kept
  }

  async #call<Result>(
    bindingId: string | undefined,
    { interruption }: CallOptions,
    act: (task: Task) => Promise<Result>
  ): Promise<Ended<Result>> {
    const kept = this.#keptOf(bindingId)
    const steps = runWith(new Steps(interruption))
    const { told } = this.#stage
    kept.attempts += 1
    const task: Task = {
      operationId: randomUUID(),
      instanceId: this.id,
      platform: 'contract',
      context: { platform: 'contract' },
      originatingIdentity: undefined,
      state: structuredClone(kept.state),
      attempt: kept.attempts,
      signal: steps.controller.signal,
      log: logTo(told),
      saveState: (state) =>
        steps.take(() => {
          kept.state = JSON.parse(JSON.stringify(state))
        }),
      progress: (text) =>
        steps.take(() => {
          told.push(text)
        }),
      // Here nothing is taken out of what is told: the framework's mercy is for accidents.
      conceal: () => undefined
    }
    try {
      const result = await this.#inTime(steps, act(task))
      const state = stateIn(result)
      if (state !== undefined) kept.state = state
      return { interrupted: steps.interrupted, result }
    } catch (error) {
      if (error instanceof ContractViolation) throw error
      told.push(inspect(error))
      return { interrupted: steps.interrupted, error }
    }
  }

  /** @throws {ContractViolation} when the work does not let go after its signal has aborted */
  async #inTime<Result>(steps: Steps, work: Promise<Result>): Promise<Result> {
    const { abortWithinMs = 2_000 } = this.#stage.options
    const { signal } = steps.controller
    const timer = new AbortController()
    const overdue = new Promise<never>((_resolve, reject) => {
      const late = async () => {
        await sleep(abortWithinMs, undefined, { signal: timer.signal }).catch(() => undefined)
        reject(
          new ContractViolation(
            `the function does not let go within ${abortWithinMs} ms of its signal's abort: hand task.signal on to whatever waits`
          )
        )
      }
      signal.addEventListener('abort', late, { once: true })
    })
    try {
      return await Promise.race([work, overdue])
    } finally {
      timer.abort()
      overdue.catch(() => undefined)
    }
  }
}

const PLAN = { id: 'contract-plan', name: 'contract', description: 'The plan of the contract suite' }
const SERVICE = {
  id: 'contract-service',
  name: 'contract',
  description: 'The offering of the contract suite',
  bindable: true,
  plans: [PLAN]
}

function gone({ withoutPlan = false }: CallOptions) {
  return withoutPlan ? { service: undefined, plan: undefined, options: {} } : {}
}

/** The state that a result replaces what was saved with, as JSON keeps it. */
function stateIn(result: unknown): JsonObject | undefined {
  if (typeof result !== 'object' || result === null || !('state' in result)) return undefined
  return result.state === undefined ? undefined : JSON.parse(JSON.stringify(result.state))
}

function logTo(told: string[]): TaskLog {
  const line = (fields: object, message = '') => void told.push(`${inspect(fields, { depth: 5 })} ${message}`)
  return { debug: line, info: line, warn: line, error: line }
}
