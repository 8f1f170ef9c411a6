import type { Held } from './attempt.ts'
import type { BrokerError } from './errors.ts'
import type { Operations } from './operations.ts'
import { Rejected } from './provider.ts'
import type { Finish, OperationRecord } from './store.ts'

/** What the failure of an operation writes. A failed update or delete leaves the resource as it was. */
export function failedFinish({ kind }: OperationRecord, error: BrokerError): Finish {
  const { error: code, instanceUsable, updateRepeatable } = error.details
  return {
    state: 'failed',
    description: error.message,
    failure: { status: error.status, ...(code === undefined ? {} : { error: code }) },
    ...(instanceUsable !== undefined && (kind === 'update' || kind === 'deprovision') ? { instanceUsable } : {}),
    ...(updateRepeatable !== undefined && kind === 'update' ? { updateRepeatable } : {}),
    ...(kind === 'provision' ? { instance: { status: 'failed' } } : {}),
    ...(kind === 'bind' ? { binding: { status: 'failed' } } : {})
  }
}

/**
 * Undoes synchronous operations that failed: their requests are answered with an error, after which the platform
 * believes that nothing has changed (spec: Service Broker Errors). An asynchronous create that failed stays `failed`
 * until it is deleted.
 */
export class Undo {
  readonly #operations: Operations

  constructor(operations: Operations) {
    this.#operations = operations
  }

  /** Ends the operation `failed`, and removes or restores in the background what it had begun. */
  async undo(held: Held, error: BrokerError): Promise<void> {
    const { operation, claim } = held
    const { store } = this.#operations.options
    const finish = failedFinish(operation, error)
    const begun = await this.#begun(operation)
    if (operation.kind === 'provision' && !begun) finish.instance = 'remove'
    if (operation.kind === 'bind' && !begun) finish.binding = 'remove'
    if (!(await this.#operations.attempts.finish(held, finish))) {
      await store.release(claim)
      return
    }
    if (operation.kind === 'provision' && begun) await this.#start(operation, 'deprovision')
    if (operation.kind === 'bind' && begun) await this.#start(operation, 'unbind')
    // What a provider rejects it has not begun.
    if (operation.kind === 'update' && !(error instanceof Rejected)) await this.#restore(operation)
  }

  /** Providers keep the names of what they make before they make it: no state, nothing made. */
  async #begun({ instanceId, bindingId }: OperationRecord): Promise<boolean> {
    const { store } = this.#operations.options
    const resource =
      bindingId === undefined ? await store.getInstance(instanceId) : await store.getBinding(instanceId, bindingId)
    return resource?.state !== undefined
  }

  /** Converges the instance back on the plan and parameters it still has in the store. */
  async #restore(operation: OperationRecord): Promise<void> {
    const instance = await this.#operations.options.store.getInstance(operation.instanceId)
    if (instance === undefined) return
    const { planId, parameters, context, maintenanceVersion } = instance
    const target = { planId, parameters, context, ...(maintenanceVersion === undefined ? {} : { maintenanceVersion }) }
    await this.#start(operation, 'update', { target })
  }

  /** `busy` and `changed` need no answer: then a delete is there first, and does it all. */
  async #start(
    { platform, instanceId, bindingId }: OperationRecord,
    kind: 'deprovision' | 'unbind' | 'update',
    more: Pick<Partial<OperationRecord>, 'target'> = {}
  ): Promise<void> {
    const operation = this.#operations.newOperation({
      kind,
      platform,
      instanceId,
      async: true,
      internal: true,
      ...(bindingId === undefined ? {} : { bindingId }),
      ...more
    })
    await this.#operations.start({ operation })
  }
}
