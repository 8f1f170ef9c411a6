import { setTimeout as sleep } from 'node:timers/promises'
import type { Exchange } from './exchange.ts'
import type { Subject } from './subject.ts'

/** An instance, there or not. */
export interface InstanceRef {
  readonly id: string
  /** Of the plan it has by now; a check that changes it says so here, or the instance could not be deleted. */
  planId: string
}

/** A binding, there or not. */
export interface BindingRef {
  readonly id: string
  readonly instance: InstanceRef
}

/** An instance that the run has made. */
export interface Instance extends InstanceRef {
  /** The first answer to its `PUT`. */
  readonly created: Exchange
}

/** A binding that the run has made. */
export interface Binding extends BindingRef {
  readonly instance: Instance
  /** The first answer to its `PUT`: it carries the credentials unless it is a 202. */
  readonly created: Exchange
}

/** What the run may have made, so that it leaves nothing behind. */
export class Traces {
  readonly #instances = new Map<string, Set<string>>()
  readonly #known = new Map<string, InstanceRef>()
  readonly #kept = new Set<string>()
  readonly #keptBindings = new Set<string>()

  /** A request that may make the instance is about to be sent. */
  expectInstance(id: string): void {
    if (!this.#instances.has(id)) this.#instances.set(id, new Set())
  }

  /** A request that may make the binding is about to be sent. */
  expectBinding(instanceId: string, bindingId: string): void {
    this.expectInstance(instanceId)
    this.#instances.get(instanceId)?.add(bindingId)
  }

  /** The instance is there. */
  instance(id: string, planId: string, created: Exchange): Instance {
    const instance = { id, planId, created }
    this.#known.set(id, instance)
    return instance
  }

  /** The instance outlives its check. */
  keep(instance: Instance): Instance {
    this.#kept.add(instance.id)
    return instance
  }

  /** The binding outlives its check. */
  keepBinding(binding: Binding): Binding {
    this.#keptBindings.add(binding.id)
    return binding
  }

  /** Removes what was made, as a platform would, bindings first. Answers what could not be removed. */
  async remove(subject: Subject, { timeoutMs, all }: { timeoutMs: number; all: boolean }): Promise<string[]> {
    const end = Date.now() + timeoutMs
    const left = await Promise.all(
      [...this.#instances].map(async ([instanceId, bindingIds]) => {
        const instance = this.#known.get(instanceId) ?? { id: instanceId, planId: subject.target.plan.id }
        const bindings = [...bindingIds].filter((bindingId) => all || !this.#keptBindings.has(bindingId))
        const gone = await Promise.all(bindings.map((bindingId) => removed(subject, { instance, bindingId, end })))
        for (const bindingId of bindings) bindingIds.delete(bindingId)
        const stuck = bindings.filter((_, index) => gone[index] === false)
        const names = stuck.map((bindingId) => `binding ${bindingId} of instance ${instanceId}`)
        if (!all && this.#kept.has(instanceId)) return names
        this.#instances.delete(instanceId)
        return (await removed(subject, { instance, end })) ? names : [...names, `instance ${instanceId}`]
      })
    )
    return left.flat()
  }
}

interface Removal {
  readonly instance: InstanceRef
  readonly bindingId?: string
  readonly end: number
}

const RETRY_MS = 200

/** Deletes until the broker says that it is gone: another operation may still be under way. */
async function removed(subject: Subject, { instance, bindingId, end }: Removal): Promise<boolean> {
  const resource = { instanceId: instance.id, ...(bindingId === undefined ? {} : { bindingId }) }
  for (;;) {
    try {
      const answer = await (bindingId === undefined
        ? subject.deleteInstance(instance)
        : subject.deleteBinding({ id: bindingId, instance }))
      if (answer.status === 410 || answer.status === 404) return true
      if (answer.status === 200 || answer.status === 202) {
        const { state } = await subject.end(answer, resource)
        if (state !== 'failed') return true
      }
    } catch {
      // The broker cannot be reached or answers nonsense, which the check has told already; try while there is time.
    }
    if (Date.now() > end) return false
    await sleep(RETRY_MS)
  }
}
