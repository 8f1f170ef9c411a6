import { setTimeout as sleep } from 'node:timers/promises'
import { type Held, operationLog } from './attempt.ts'
import { maximumMsOf } from './durations.ts'
import type { BrokerError } from './errors.ts'
import type { Operations } from './operations.ts'
import { Rejected, Unavailable } from './provider.ts'
import { storableText } from './provider-errors.ts'
import { type Finish, LEASE_MS, type OperationFields, type OperationStart } from './store.ts'

/** Pause between two tries to start an operation while the store cannot be reached. */
const RETRY_MS = 500

/** What the failure of an operation writes. A failed update or delete leaves the resource as it was. */
export function failedFinish({ kind }: OperationFields, error: BrokerError): Finish {
  const { error: code, instanceUsable, updateRepeatable } = error.details
  return {
    state: 'failed',
    description: error.message,
    failure: { status: error.status, ...(code === undefined ? {} : { error: storableText(code) }) },
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
   * @param tries how often the provider was called; what it rejects at the first call has not begun
   */
  async undo(held: Held, error: BrokerError, { tries }: { readonly tries: number }): Promise<void> {
    const { operation, claim } = held
    const { store, runner } = this.#operations.options
    const finish = failedFinish(operation, error)
    const undo = await this.#undoOf(operation, error instanceof Rejected && tries <= 1)
    if (undo !== undefined) finish.undo = { operation: undo, enqueue: runner.enqueue }
    if (!(await this.#operations.attempts.finish(held, finish))) await store.release(claim)
    else if (undo !== undefined) runner.wake()
  }

  /**
   * The restoration that a delete canceled, and that is due again because the provider has rejected the delete. The same for a
   * synchronous update, whose request was answered with an error.
   */
  async restorationAfter({ kind, halts, instanceId }: OperationFields): Promise<OperationStart | undefined> {
    if (kind !== 'deprovision' || halts === undefined) return undefined
    const halted = await this.#operations.options.store.getOperation(halts)
    if (halted?.kind === 'unbind') {
      const text =
        'an internal unbind was canceled by a delete that failed: credentials may still work; delete the binding'
      operationLog(this.#operations.options.log, halted).error({}, text)
    }
    const isDue = halted?.kind === 'update' && halted.instanceId === instanceId && (halted.internal || !halted.async)
    return isDue ? this.#restore(halted) : undefined
  }

  /**
   * Deletes the binding that a bind has made although its request was answered with an error.
   * @throws {Unavailable} when the store could not be reached for some seconds
   */
  async deleteBinding(bind: OperationFields): Promise<void> {
    const operation = this.#newOperation(bind, { kind: 'unbind' })
    for (const until = performance.now() + LEASE_MS; ; await sleep(RETRY_MS)) {
      try {
        await this.#operations.start({ operation }, until)
        return
      } catch (error) {
        if (!(error instanceof Unavailable) || performance.now() >= until) throw error
      }
    }
  }

  async #undoOf(operation: OperationFields, notBegun: boolean): Promise<OperationStart | undefined> {
    switch (operation.kind) {
      case 'provision':
        return this.#newOperation(operation, { kind: 'deprovision' })
      case 'bind':
        return this.#newOperation(operation, { kind: 'unbind' })
      case 'update':
        return notBegun ? undefined : this.#restore(operation)
      case 'deprovision':
        return this.restorationAfter(operation)
      case 'unbind':
        return undefined
    }
  }

  /** An update back to the plan and the parameters that are stored. */
  async #restore(operation: OperationFields): Promise<OperationStart | undefined> {
    const { store, catalog, log } = this.#operations.options
    const instance = await store.getInstance(operation.instanceId)
    if (instance === undefined) return undefined
    const { planId, serviceId, parameters, context, maintenanceVersion } = instance
    if (catalog().plan(serviceId, planId) === undefined) {
      // The provider needs the plan. The operation would block the instance until its deadline.
      operationLog(log, operation).error(
        { plan: planId },
        'an instance is not restored after a failed update, because its plan has left the catalog: it may differ from its record'
      )
      return undefined
    }
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
