import { setTimeout as sleep } from 'node:timers/promises'
import { type AttemptEnd, type Held, heldOf, isLoss } from './attempt.ts'
import { BrokerError, errorOf, refusals } from './errors.ts'
import { isDelete } from './operation-kinds.ts'
import type { Operations } from './operations.ts'
import { Unavailable } from './provider.ts'
import type { Finish } from './store.ts'
import { LATE, orLate, timerMs } from './time-limits.ts'
import { claimSurely, makeAsyncSurely } from './unknown-outcomes.ts'
import { abortReasons } from './watchdog.ts'

/** How a synchronous operation ended for its request. */
export type SyncEnd = { kind: 'succeeded'; finish: Finish } | { kind: 'accepted' }

const FIRST_RETRY_MS = 100
/** Pause between two looks whether the worker of the halted operation has stopped. */
const CLAIM_MS = 20
/** How long an aborted provider call may take to stop before the request no longer waits for it. */
const ABORT_GRACE_MS = 500

/** How a request runs its operation. */
export interface SyncTerms {
  /** Whether the platform can poll, so that an overlong request can be answered 202. */
  readonly acceptsIncomplete: boolean
  /** How long the operation may last in the background, in milliseconds. */
  readonly maximumMs: number
  /** `performance.now()` when the work must end. */
  readonly until: number
  /** Whether the request was answered with an error meanwhile, because its answer was due. */
  readonly isAnswered: () => boolean
}

/**
 * Runs a synchronous operation within its request. When the time is up it continues in the background if the platform can
 * poll, or if it is a delete; otherwise it is aborted and undone.
 * @throws {BrokerError} the answer, when it did not succeed
 */
export async function runSync(operations: Operations, held: Held, terms: SyncTerms): Promise<SyncEnd> {
  return new SyncRun(operations, held, terms).run()
}

class SyncRun {
  readonly #operations: Operations
  readonly #controller = new AbortController()
  readonly #terms: SyncTerms
  #held: Held
  #background = false
  #tries = 0
  /** Why the last try failed: for the user it says more than that the time is up. */
  #lastFailure: Unavailable | undefined

  constructor(operations: Operations, held: Held, terms: SyncTerms) {
    this.#operations = operations
    this.#held = held
    this.#terms = terms
  }

  get #isDelete(): boolean {
    return isDelete(this.#held.operation)
  }

  async run(): Promise<SyncEnd> {
    if (this.#held.claim.attempt === 0 && !(await this.#claim())) return this.#continueUnclaimed()
    const work = this.#work()
    const timeUp = waitUntil(this.#terms.until, this.#operations.overdue)
    const end = await Promise.race([work, timeUp.promise])
    timeUp.cancel()
    if (end !== undefined) return this.#answer(end)
    return this.#terms.acceptsIncomplete || this.#isDelete ? this.#continue(work, this.#overtime) : this.#giveUp(work)
  }

  /** Tries until it succeeds, is rejected, or the time is up. One claim covers all tries. */
  #work(): Promise<AttemptEnd> {
    const held = this.#held
    const controller = this.#controller
    const { signal } = controller
    const options = { controller, background: () => this.#background }
    return this.#operations.attempts.hold(held, options, async (tryOnce) => {
      for (let delay = FIRST_RETRY_MS; ; delay *= 2) {
        // The provider learns how often it was called. A failed try may have saved a state, so the next one reads the instance.
        const end = await tryOnce(held.claim.attempt + this.#tries, this.#tries === 0 ? held.instance : undefined)
        this.#tries += 1
        if (end.kind === 'failed' && end.error instanceof Unavailable) this.#lastFailure = end.error
        const left = this.#terms.until - performance.now()
        if (end.kind !== 'failed' || signal.aborted || delay > left) return end
        await pause(delay * (0.5 + Math.random() / 2), signal)
        if (isLoss(signal.reason)) return { kind: 'lost' }
        if (signal.aborted) return end
      }
    })
  }

  /** Turns the end of the work into the answer of the request. */
  async #answer(end: AttemptEnd): Promise<SyncEnd> {
    const { store } = this.#operations.options
    if (end.kind === 'succeeded') {
      if (await this.#finish(end.finish)) {
        if (end.finish.undelivered !== undefined && this.#terms.isAnswered()) this.#deleteBinding()
        return end
      }
    }
    if (end.kind === 'succeeded' || end.kind === 'lost') {
      await store.release(this.#held.claim)
      if (this.#controller.signal.reason === abortReasons.lost || this.#isDelete) {
        throw refusals.unavailable('The broker lost its hold on the operation.')
      }
      // A delete halted it, and removes whatever there is.
      throw refusals.concurrency()
    }
    const error = this.#errorOf(end)
    if (this.#isDelete && end.kind !== 'rejected') return this.#continue(Promise.resolve(end), error)
    await this.#undo(error)
    throw errorOf(this.#held.operation.kind, error)
  }

  #errorOf(end: Exclude<AttemptEnd, { kind: 'succeeded' | 'lost' }>): BrokerError {
    if (end.kind === 'rejected') return end.error
    if (end.kind === 'abandoned') return this.#overtime
    if (end.error instanceof Unavailable) return refusals.unavailable(end.error.message)
    return new BrokerError(500, 'The operation failed. The cause is in the log of the broker.', { cause: end.error })
  }

  get #overtime(): BrokerError {
    if (this.#lastFailure !== undefined) return refusals.unavailable(this.#lastFailure.message)
    const seconds = this.#operations.options.syncDeadlineMs / 1000
    return this.#isDelete ? refusals.stillDeleting(seconds) : refusals.deadline(seconds)
  }

  /**
   * The work continues without its request.
   * @param answer for a platform that cannot poll
   */
  async #continue(work: Promise<AttemptEnd>, answer: BrokerError): Promise<SyncEnd> {
    try {
      if (!(await this.#makeAsync())) return this.#answer(await work)
    } catch (error) {
      this.#operations.keep(work.then((end) => this.#settleFailed(end)))
      throw error
    }
    this.#background = true
    if (this.#operations.stopping) this.#controller.abort(abortReasons.stopping)
    this.#operations.keep(work.then((end) => this.#operations.executor.settle(this.#held, end)))
    return this.#acceptedOr(answer)
  }

  /** The platform was told of an error. It repeats a delete; of anything else it believes that nothing was made. */
  async #settleFailed(end: AttemptEnd): Promise<void> {
    if (!this.#isDelete) return this.#undoAfter(end)
    if (end.kind === 'succeeded' || end.kind === 'rejected') await this.#operations.executor.settle(this.#held, end)
    // The sweep continues the delete in the background.
    else await this.#operations.options.store.release(this.#held.claim)
  }

  /** The time was up before the worker of the halted operation had stopped: a job takes over. */
  async #continueUnclaimed(): Promise<SyncEnd> {
    if (!(await this.#makeAsync())) return this.#answer({ kind: 'lost' })
    this.#operations.options.runner.wake()
    return this.#acceptedOr(refusals.unavailable('The operation that this one cancels has not stopped yet.'))
  }

  async #makeAsync(): Promise<boolean> {
    const { store, runner } = this.#operations.options
    const { maximumMs, acceptsIncomplete } = this.#terms
    const { claim, operation, deadline, lease } = this.#held
    const extendedAt = performance.now()
    const continuation = { maximumMs, unreported: !acceptsIncomplete }
    const until = () => lease.endsAt
    if (!(await makeAsyncSurely(store, { claim, enqueue: runner.enqueue, until, ...continuation }))) return false
    this.#held = { ...this.#held, operation: { ...operation, async: true } }
    deadline.extend(extendedAt + maximumMs)
    return true
  }

  #acceptedOr(error: BrokerError): SyncEnd {
    if (!this.#terms.acceptsIncomplete) throw error
    return { kind: 'accepted' }
  }

  /** Aborts the work and answers 504; what it has begun is undone once it has stopped. */
  async #giveUp(work: Promise<AttemptEnd>): Promise<SyncEnd> {
    this.#controller.abort(abortReasons.overtime)
    const end = await orLate(work, ABORT_GRACE_MS)
    if (end === LATE) {
      // The provider ignores its signal. An undo beside it would race with it, and the request cannot wait.
      this.#operations.keep(work.then((late) => this.#undoAfter(late)))
      throw this.#overtime
    }
    if (end.kind !== 'failed' || end.error instanceof Unavailable) return this.#answer(end)
    await this.#undo(this.#overtime)
    throw this.#overtime
  }

  async #undoAfter(end: AttemptEnd): Promise<void> {
    if (end.kind === 'lost') await this.#operations.options.store.release(this.#held.claim)
    else await this.#undo(this.#overtime)
  }

  /** Writes the success. If that fails, the platform is told of a failure, so that the work must be undone. */
  async #finish(finish: Finish): Promise<boolean> {
    const { lease } = this.#held
    // Credentials that are handed over once are in the answer to this request, so they are not stored.
    const { undelivered: _, ...stored } = finish
    try {
      return await this.#operations.attempts.finish(this.#held, stored, Math.min(this.#terms.until, lease.endsAt))
    } catch (error) {
      const reason = error instanceof Unavailable ? error.message : 'The outcome could not be stored.'
      this.#operations.keep(this.#undoUnlessSucceeded(finish, refusals.unavailable(reason)))
      throw error
    }
  }

  async #undoUnlessSucceeded({ undelivered }: Finish, error: BrokerError): Promise<void> {
    const { store } = this.#operations.options
    await this.#undo(error)
    if (undelivered === undefined) return
    const ended = await store.getOperation(this.#held.claim.operationId)
    if (ended?.state === 'succeeded') this.#deleteBinding()
  }

  /** The platform did not get the credentials, and the broker does not keep them. A repeated bind must make new ones. */
  #deleteBinding(): void {
    this.#operations.keep(this.#operations.undo.deleteBinding(this.#held.operation))
  }

  #undo(error: BrokerError): Promise<void> {
    return this.#operations.undo.undo(this.#held, error, { tries: this.#tries })
  }

  /** Waits for the worker of the halted operation. `false`: the time is up, or the operation has ended. */
  async #claim(): Promise<boolean> {
    const { store } = this.#operations.options
    const { until } = this.#terms
    const { operationId } = this.#held.claim
    while (performance.now() < until && !this.#operations.overdue.aborted) {
      const { result, sentAt } = await claimSurely(store, { operationId, key: operationId, until })
      if (result.kind === 'claimed') {
        this.#held = heldOf(result, sentAt)
        return true
      }
      if (result.kind === 'finished') return false
      await sleep(CLAIM_MS)
    }
    return false
  }
}

/**
 * Fulfilled at a time, or when a signal aborts before. An aborted sleep would make an error with its stack for every request
 * that ends in time.
 */
function waitUntil(at: number, signal: AbortSignal): { promise: Promise<undefined>; cancel(): void } {
  const { promise, resolve } = Promise.withResolvers<undefined>()
  const end = () => resolve(undefined)
  const timer = setTimeout(end, signal.aborted ? 0 : timerMs(at - performance.now()))
  signal.addEventListener('abort', end)
  const cancel = () => {
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
  }
  return { promise, cancel }
}

/** Ends early when the signal aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const wait = waitUntil(performance.now() + ms, signal)
  await wait.promise
  wait.cancel()
}
