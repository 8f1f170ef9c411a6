import { setTimeout as sleep } from 'node:timers/promises'
import { OutcomeUnknown, Unavailable } from './provider.ts'
import type { Claim, ClaimResult, Continuation, Enqueue, Finish, Start, StartResult, Store } from './store.ts'

/*
 * When the connection is lost at a COMMIT, nobody knows whether the transaction was committed. These functions find out, so
 * that no request fails, and no repeated request has to wait for the end of a lease, because an answer was lost.
 */

/** Pause between two tries. */
const PAUSE_MS = 200

/**
 * {@link Store.start}. A repetition waits for the first transaction if that is still open, and finds its operation if it was
 * committed.
 * @param until `performance.now()` when to stop repeating
 * @throws {OutcomeUnknown} when the outcome is still unknown then
 */
export function startSurely(
  store: Store,
  { start, enqueue, until }: { start: Start; enqueue: Enqueue; until: number }
): Promise<StartResult> {
  return untilKnown(until, async (repeated) => {
    const result = await store.start(start, enqueue)
    if (result === 'started' || !repeated) return result
    const own = await store.getOperation(start.operation.operationId)
    return own === undefined ? result : 'started'
  })
}

/** {@link Store.claim}. Each caller has a key of its own, by which the store knows a claim that is repeated. */
export function claimSurely(
  store: Store,
  { operationId, key, until }: { operationId: string; key: string; until: number }
): Promise<{ result: ClaimResult; sentAt: number }> {
  return untilKnown(until, async () => {
    const sentAt = performance.now()
    return { result: await store.claim(operationId, key), sentAt }
  })
}

/**
 * {@link Store.finish}. A repetition that finds the operation ended compares its outcome with the one that was to be written.
 * @throws {OutcomeUnknown} when the outcome is still unknown at `until`
 */
export function finishSurely(
  store: Store,
  { claim, finish, until }: { claim: Claim; finish: Finish; until: number }
): Promise<boolean> {
  return untilKnown(until, async (repeated) => {
    if (await store.finish(claim, finish)) return true
    if (!repeated) return false
    const ended = await store.getOperation(claim.operationId)
    return (
      ended !== undefined &&
      ended.attempt === claim.attempt &&
      ended.state === finish.state &&
      // A delete that halts an operation ends it as failed too, but without a failure to answer.
      (ended.failure === undefined) === (finish.failure === undefined)
    )
  })
}

/**
 * {@link Store.makeAsync}. It is repeated, too, when the store cannot be reached, because the work goes on meanwhile.
 * @throws {Unavailable} when the store has not answered at `until`
 */
export async function makeAsyncSurely(
  store: Store,
  { claim, enqueue, until, ...continuation }: Continuation & { claim: Claim; enqueue: Enqueue; until: () => number }
): Promise<boolean> {
  while (true) {
    try {
      return await store.makeAsync(claim, continuation, enqueue)
    } catch (error) {
      if (!(error instanceof Unavailable) || performance.now() + PAUSE_MS >= until()) throw error
    }
    await sleep(PAUSE_MS)
  }
}

/**
 * Repeats `work` from the first unknown outcome on until it answers. An error before that is thrown at once.
 * @throws {OutcomeUnknown} when the store has not answered until then
 */
async function untilKnown<T>(until: number, work: (repeated: boolean) => Promise<T>): Promise<T> {
  for (let repeated = false; ; repeated = true) {
    try {
      return await work(repeated)
    } catch (error) {
      const unknown = error instanceof OutcomeUnknown || (repeated && error instanceof Unavailable)
      if (!unknown) throw error
      if (performance.now() + PAUSE_MS >= until) throw unknownFor(error)
    }
    await sleep(PAUSE_MS)
  }
}

function unknownFor(error: Unavailable): OutcomeUnknown {
  return error instanceof OutcomeUnknown ? error : new OutcomeUnknown(error.message, { cause: error })
}
