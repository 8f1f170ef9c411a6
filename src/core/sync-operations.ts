import { setTimeout as sleep } from 'node:timers/promises'
import { type AttemptEnd, abortReasons, type Held, heldOf } from './attempt.ts'
import { BrokerError, errorOf, refusals } from './errors.ts'
import type { Operations } from './operations.ts'
import { Unavailable } from './provider.ts'
import type { Finish, InstanceRecord, OperationRecord } from './store.ts'

/** How a synchronous operation ended for its request. */
export type SyncEnd = { kind: 'succeeded'; finish: Finish } | { kind: 'accepted' }

const FIRST_RETRY_MS = 100
/** How often we look whether the halted operation has let go. */
const CLAIM_MS = 20
/** How long an aborted provider function may take to let go before we stop waiting for it. */
const ABORT_GRACE_MS = 1_000

/** What a synchronous operation begins with, and what a platform that can poll lets an overlong request become. */
export interface SyncTerms {
  readonly acceptsIncomplete: boolean
  /** How long the operation may last in the background, in seconds. */
  readonly maximumSeconds: number
  /** What its start has made. */
  readonly instance?: InstanceRecord | undefined
}

/**
 * Runs a synchronous operation within its request. When the time is up it goes on in the background where the platform
 * can poll; else it is aborted and undone.
 * @throws {BrokerError} the answer, when it did not succeed
 */
export async function runSync(operations: Operations, operation: OperationRecord, terms: SyncTerms): Promise<SyncEnd> {
  const run = new SyncRun(operations, { ...heldOf(operation), instance: terms.instance })
  const work = run.work()
  const timeUp = waitFor(operation.deadline, operations.overdue)
  const first = await Promise.race([work, timeUp.promise])
  timeUp.cancel()
  if (first !== undefined) return run.answer(first)
  return terms.acceptsIncomplete ? run.goOn(work, terms.maximumSeconds) : run.giveUp(work)
}

class SyncRun {
  readonly #operations: Operations
  readonly #controller = new AbortController()
  #held: Held
  #background = false

  constructor(operations: Operations, held: Held) {
    this.#operations = operations
    this.#held = held
  }

  /** Tries until it succeeds, is rejected, or the time is up. */
  async work(): Promise<AttemptEnd> {
    if (this.#held.claim.attempt === 0 && !(await this.#claim())) return { kind: 'lost' }
    for (let delay = FIRST_RETRY_MS, tries = 0; ; delay *= 2, tries += 1) {
      // One claim covers them all; the provider is told how often it has been asked.
      const operation = { ...this.#held.operation, attempt: this.#held.operation.attempt + tries }
      // An attempt that failed may have saved a state.
      const held = { ...this.#held, operation, instance: tries === 0 ? this.#held.instance : undefined }
      const end = await this.#operations.attempts.run(held, this.#controller, () => this.#background)
      const left = this.#held.operation.deadline.getTime() - Date.now()
      if (end.kind !== 'failed' || this.#controller.signal.aborted || delay > left) return end
      await sleep(delay * (0.5 + Math.random() / 2))
    }
  }

  /** Says to the request how the work ended. */
  async answer(end: AttemptEnd): Promise<SyncEnd> {
    const { store } = this.#operations.options
    const { claim } = this.#held
    if (end.kind === 'succeeded') {
      // What is handed over once is in the answer to this request.
      const { undelivered: _answered, ...kept } = end.finish
      if (await this.#operations.attempts.finish(this.#held, kept)) return end
    }
    if (end.kind === 'succeeded' || end.kind === 'lost') {
      // A delete halted it, and takes care of what there is.
      await store.release(claim)
      throw refusals.concurrency()
    }
    const error = end.kind === 'rejected' ? end.error : answerFor(end)
    await this.#operations.undo.undo(this.#held, error)
    throw errorOf(this.#held.operation.kind, error)
  }

  /** The work goes on without its request; the runner stands by in case this process dies. */
  async goOn(work: Promise<AttemptEnd>, maximumSeconds: number): Promise<SyncEnd> {
    const { store, runner, log } = this.#operations.options
    const deadline = new Date(Date.now() + maximumSeconds * 1000)
    if (!(await store.makeAsync(this.#held.claim, deadline, runner.enqueue))) return this.answer(await work)
    this.#background = true
    if (this.#operations.stopping) this.#controller.abort(abortReasons.stopping)
    const settled = work.then((end) =>
      this.#operations.settle({ ...this.#held, operation: { ...this.#held.operation, async: true, deadline } }, end)
    )
    // The record stays unfinished and its lease ends: the job that stands by takes over.
    settled.catch((error) => log.warn({ err: error }, 'the end of an operation could not be written'))
    return { kind: 'accepted' }
  }

  /** Aborts the work and answers 504; what it has begun is undone once it has let go. */
  async giveUp(work: Promise<AttemptEnd>): Promise<SyncEnd> {
    const { syncDeadlineMs, log } = this.#operations.options
    this.#controller.abort(abortReasons.overtime)
    const end = await Promise.race([work, sleep(ABORT_GRACE_MS)])
    const error = refusals.deadline(syncDeadlineMs / 1000)
    // What kept it from its end says more to the user than that the time is up.
    if (end?.kind === 'failed' && end.error instanceof Unavailable) return this.answer(end)
    if (end?.kind === 'succeeded' || end?.kind === 'rejected' || end?.kind === 'lost') return this.answer(end)
    if (end === undefined) {
      // The provider ignores its signal. Undoing beside it would race with it, and the request cannot wait.
      const undone = work.then(() => this.#operations.undo.undo(this.#held, error))
      undone.catch((cause) => log.warn({ err: cause }, 'an operation that ran out of time could not be undone'))
    } else {
      await this.#operations.undo.undo(this.#held, error)
    }
    throw error
  }

  async #claim(): Promise<boolean> {
    while (!this.#controller.signal.aborted) {
      const claimed = await this.#operations.options.store.claim(this.#held.claim.operationId)
      if (claimed.kind === 'finished') return false
      if (claimed.kind === 'claimed') {
        this.#held = heldOf(claimed.operation)
        return true
      }
      await sleep(CLAIM_MS)
    }
    return false
  }
}

/**
 * Fulfilled at a time, or when a signal aborts before; nothing of it is left once it is cancelled. To abort a sleep instead
 * makes an error each time, with its stack, for every request that ends in time.
 */
function waitFor(time: Date, signal: AbortSignal): { promise: Promise<undefined>; cancel(): void } {
  const { promise, resolve } = Promise.withResolvers<undefined>()
  const end = () => resolve(undefined)
  const timer = setTimeout(end, signal.aborted ? 0 : Math.max(0, time.getTime() - Date.now()))
  signal.addEventListener('abort', end)
  const cancel = () => {
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
  }
  return { promise, cancel }
}

function answerFor(end: { error: unknown }): BrokerError {
  if (end.error instanceof Unavailable) return refusals.unavailable(end.error.message)
  return new BrokerError(500, 'The operation failed. The cause is in the log of the broker.', { cause: end.error })
}
