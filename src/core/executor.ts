import { randomUUID } from 'node:crypto'
import { inTrace } from '../telemetry/index.ts'
import { type AttemptEnd, type Held, heldOf, operationLog } from './attempt.ts'
import { backoffMs } from './backoff.ts'
import { maximumMsOf } from './durations.ts'
import { BrokerError, refusals } from './errors.ts'
import { isDelete } from './operation-kinds.ts'
import type { Operations } from './operations.ts'
import { Rejected, Unavailable } from './provider.ts'
import type { Execution } from './runner.ts'
import type { OperationFields, OperationJob } from './store.ts'
import { failedFinish } from './undo.ts'
import { claimSurely } from './unknown-outcomes.ts'
import { abortReasons } from './watchdog.ts'

/** How long a worker repeats a claim whose outcome is unknown: more than the store needs to give up one call. */
const CLAIM_MS = 12_000

/** Executes operations that no request waits for. */
export class Executor {
  readonly #operations: Operations
  /** Providers and plans whose lack has been reported. */
  readonly #missing = new Set<string>()

  constructor(operations: Operations) {
    this.#operations = operations
  }

  /** Whether this replica has the provider and the plan that an operation needs; a delete needs no plan. */
  canPerform({ kind, provider, serviceId, planId }: Omit<OperationJob, 'operationId' | 'platform'>): boolean {
    if (provider === undefined) return true
    if (!this.#operations.options.providers.has(provider)) return false
    if (isDelete({ kind }) || serviceId === undefined || planId === undefined) return true
    return this.#operations.options.catalog().plan(serviceId, planId) !== undefined
  }

  /** Once for each, because the job comes again until a replica takes it. */
  #reportMissing({ operationId, provider, serviceId, planId }: OperationJob): void {
    const key = JSON.stringify([provider, serviceId, planId])
    if (this.#missing.has(key)) return
    this.#missing.add(key)
    const fields = { operation: operationId, provider, service: serviceId, plan: planId }
    const message = 'this replica does not have the provider or the plan of an operation, and leaves it to the others'
    this.#operations.options.log.warn(fields, message)
  }

  /** One attempt at an operation, for the runner. */
  async execute(job: OperationJob, signal: AbortSignal, onClaimed: () => void = () => {}): Promise<Execution> {
    if (this.#operations.stopping) return 'again'
    if (!this.canPerform(job)) {
      this.#reportMissing(job)
      return 'elsewhere'
    }
    const key = randomUUID()
    const until = performance.now() + CLAIM_MS
    const { result, sentAt } = await claimSurely(this.#operations.options.store, {
      operationId: job.operationId,
      key,
      until
    })
    // The holder of a lease sends a job when it gives the lease up, and the sweep does when the holder dies.
    if (result.kind === 'held' || result.kind === 'finished') return 'done'
    if (result.kind === 'waiting') return 'later'
    onClaimed()
    const held = heldOf(result, sentAt)
    return inTrace(result.operation.traceContext, () => this.#executeHeld(held, signal))
  }

  async #executeHeld(held: Held, signal: AbortSignal): Promise<Execution> {
    const { operation, deadline } = held
    if (this.#operations.stopping || signal.aborted) return this.#handBack(held)
    if (!operation.async) return this.#takeOver(held)
    if (deadline.leftMs <= 0) return this.#fail(held, expired(held))
    const controller = new AbortController()
    const onAbort = () => controller.abort(abortReasons.stopping)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      const options = { controller, background: () => true }
      const { attempt } = held.claim
      const end = await this.#operations.attempts.hold(held, options, (tryOnce) => tryOnce(attempt))
      return await this.settle(held, end)
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** The process that answered the request has died: a delete continues in the background, anything else is undone. */
  async #takeOver(held: Held): Promise<Execution> {
    const { operation, claim } = held
    const { store, runner, catalog } = this.#operations.options
    if (!isDelete(operation)) {
      const error = refusals.unavailable('The broker stopped while it worked on this.')
      await this.#operations.undo.undo(held, error, { tries: claim.attempt })
      return 'done'
    }
    const plan = catalog().plan(operation.serviceId ?? '', operation.planId ?? '')
    await store.makeAsync(claim, { maximumMs: maximumMsOf(plan), unreported: true }, runner.enqueue)
    return this.#handBack(held)
  }

  /** Writes how an attempt ended that no request waits for. */
  async settle(held: Held, end: AttemptEnd): Promise<Execution> {
    const { log } = this.#operations.options
    const { operation, claim } = held
    if (end.kind === 'succeeded' && (await this.#operations.attempts.finish(held, end.finish))) {
      operationLog(log, operation).info({}, `${operation.kind} succeeded`)
      return 'done'
    }
    if (end.kind === 'succeeded' || end.kind === 'lost') {
      operationLog(log, operation).info({}, `${operation.kind} was halted or taken over`)
      return this.#letGo(held)
    }
    if (end.kind === 'rejected') return this.#fail(held, end.error)
    if (end.kind === 'abandoned') return this.#fail(held, givenUp(held, 'The provider did not stop in time.', 504))
    if (this.#operations.stopping) return this.#handBack(held)
    const delayMs = backoffMs(claim.attempt)
    // The next attempt would start after the deadline.
    if (held.deadline.leftMs <= delayMs) {
      return this.#fail(held, givenUp(held, end.description, end.error instanceof Unavailable ? 503 : 500))
    }
    await this.#release(held, { description: `${end.description}${retryNote(claim.attempt)}`, delayMs })
    return 'done'
  }

  /** Another replica may take the operation at once. */
  async #handBack(held: Held): Promise<Execution> {
    await this.#release(held, { delayMs: 0 })
    return 'done'
  }

  /** Stops working on a lost claim. A delete that waits for that may start. */
  async #letGo(held: Held): Promise<Execution> {
    const { store, runner } = this.#operations.options
    const { operationId, instanceId, bindingId } = held.operation
    await this.#release(held, { delayMs: 0 })
    const removal = await store.unfinishedOperation(instanceId, bindingId)
    if (removal?.halts === operationId && removal.async) await runner.ensure(removal, { now: true })
    return 'done'
  }

  #release({ claim }: Held, resumption: { description?: string; delayMs: number }): Promise<void> {
    const { store, runner } = this.#operations.options
    return store.release(claim, { ...resumption, enqueue: runner.enqueue })
  }

  async #fail(held: Held, error: BrokerError): Promise<Execution> {
    const { operation } = held
    const { attempts, undo, options } = this.#operations
    const finish = failedFinish(operation, error)
    const restoration = error instanceof Rejected ? await undo.restorationAfter(operation) : undefined
    if (restoration !== undefined) finish.undo = { operation: restoration, enqueue: options.runner.enqueue }
    if (!(await attempts.finish(held, finish))) return this.#letGo(held)
    const log = operationLog(this.#operations.options.log, operation)
    if (operation.internal)
      log.error({ err: error }, `${operation.kind} of the broker failed: ${consequenceOf(operation)}`)
    else log.warn({ err: error }, `${operation.kind} failed`)
    return 'done'
  }

  /**
   * Ends an operation without a call of the provider, if it is past its deadline or synchronous. Otherwise, and a synchronous
   * delete, it gets a job. For the sweep, which does no work outside the worker slots.
   */
  async settleAbandoned(operationId: string): Promise<void> {
    const sentAt = performance.now()
    const claimed = await this.#operations.options.store.claim(operationId)
    if (claimed.kind !== 'claimed') return
    const held = heldOf(claimed, sentAt)
    await inTrace(held.operation.traceContext, () => {
      if (!held.operation.async) return this.#takeOver(held)
      return held.deadline.leftMs <= 0 ? this.#fail(held, expired(held)) : this.#handBack(held)
    })
    this.#operations.options.runner.wake()
  }
}

function consequenceOf({ kind }: OperationFields): string {
  if (kind === 'update')
    return 'the instance may differ from its plan and parameters; repeat the update, or run the repair'
  if (kind === 'unbind') return 'credentials may still work; delete the binding'
  return 'the resource may still exist outside; delete it'
}

/** What polls see after the failure of an attempt. */
function retryNote(attempt: number | string): string {
  return ` Attempt ${attempt} failed; trying again.`
}

const RETRY_NOTE = new RegExp(retryNote('\\d+').replaceAll('.', '\\.'))

/** The deadline passed before this attempt could start: the last failure says why, or no worker was free. */
function expired(held: Held): BrokerError {
  const attempts = held.claim.attempt - 1
  const last = attempts === 0 ? undefined : held.description?.replace(RETRY_NOTE, '')
  const description = last ?? 'No worker could take the operation in time.'
  return givenUp({ ...held, claim: { ...held.claim, attempt: attempts } }, description, 503)
}

/** @param status for a synchronous request that has joined the operation; polls get the description alone */
function givenUp({ operation, claim, createdAt }: Held, description: string, status: 500 | 503 | 504): BrokerError {
  const seconds = Math.round((performance.now() - createdAt) / 1000)
  const text = `${description} It was given up after ${claim.attempt} attempts in ${seconds} s.`
  if (operation.kind === 'update') return new BrokerError(status, text, { updateRepeatable: true })
  if (operation.kind === 'deprovision') return new BrokerError(status, text, { instanceUsable: false })
  return new BrokerError(status, text)
}
