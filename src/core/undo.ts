import type { Held } from './attempt.ts'
import { maximumMsOf } from './durations.ts'
import type { BrokerError } from './errors.ts'
import type { Operations } from './operations.ts'
import { Rejected } from './provider.ts'
import type { Finish, OperationFields, OperationStart } from './store.ts'

/** What the failure of an operation writes. A failed update or delete leaves the resource as it was. */
export function failedFinish({ kind }: OperationFields, error: BrokerError): Finish {
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
 * Undoes synchronous operations that failed: their requests are answered with an error, after which the platform believes that
 * nothing has changed (spec: Service Broker Errors). An asynchronous create that failed stays `failed` until it is deleted.
 */
export class Undo {
  readonly #operations: Operations

  constructor(operations: Operations) {
    this.#operations = operations
  }

  /**
   * Ends the operation as failed, and starts the removal or restoration of what it began in the same transaction. The store
   * decides whether there is anything to remove.
   */
  async undo(held: Held, error: BrokerError): Promise<void> {
    const { operation, claim } = held
    const { store, runner } = this.#operations.options
    const finish = failedFinish(operation, error)
    const undo = await this.#undoOf(operation, error)
    if (undo !== undefined) finish.undo = { operation: undo, enqueue: runner.enqueue }
    if (!(await this.#operations.attempts.finish(held, finish))) await store.release(claim)
    else if (undo !== undefined) runner.wake()
  }

  async #undoOf(operation: OperationFields, error: BrokerError): Promise<OperationStart | undefined> {
    switch (operation.kind) {
      case 'provision':
        return this.#newOperation(operation, { kind: 'deprovision' })
      case 'bind':
        return this.#newOperation(operation, { kind: 'unbind' })
      case 'update':
        // An update that the provider rejects has not begun.
        return error instanceof Rejected ? undefined : this.#restore(operation)
      case 'deprovision':
      case 'unbind':
        return undefined
    }
  }

  /** An update back to the plan and the parameters that are stored. */
  async #restore(operation: OperationFields): Promise<OperationStart | undefined> {
    const instance = await this.#operations.options.store.getInstance(operation.instanceId)
    if (instance === undefined) return undefined
    const { planId, parameters, context, maintenanceVersion } = instance
    const target = { planId, parameters, context, ...(maintenanceVersion === undefined ? {} : { maintenanceVersion }) }
    return this.#newOperation(operation, { kind: 'update', planId, target })
  }

  #newOperation(
    { platform, instanceId, bindingId, provider, serviceId, planId }: OperationFields,
    more: Pick<OperationStart, 'kind'> & Partial<OperationStart>
  ): OperationStart {
    const { catalog } = this.#operations.options
    const fields = {
      platform,
      instanceId,
      ...(bindingId === undefined ? {} : { bindingId }),
      ...(provider === undefined ? {} : { provider }),
      ...(serviceId === undefined ? {} : { serviceId }),
      ...(planId === undefined ? {} : { planId }),
      ...more
    }
    const plan = catalog().plan(fields.serviceId ?? '', fields.planId ?? '')
    return this.#operations.newOperation({ ...fields, async: true, internal: true, maximumMs: maximumMsOf(plan) })
  }
}
