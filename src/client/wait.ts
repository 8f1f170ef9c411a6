import { setTimeout as sleep } from 'node:timers/promises'
import type { OsbClient, Poll, ResourceIds } from './client.ts'
import { BrokerUnreachable, OperationFailed, OperationTimeout, OsbError, UnexpectedAnswer } from './errors.ts'

/** How {@link waitForOperation} waits, and for what. */
export interface WaitOptions {
  /** The token of the 202. */
  readonly operation?: string | undefined
  /** Of the plan before the operation; hints for the broker. */
  readonly service_id?: string | undefined
  readonly plan_id?: string | undefined
  /** The operation is a delete: then 410 is its success, else it is thrown. Default false. */
  readonly removes?: boolean | undefined
  /** How long to wait, in milliseconds; a plan's `maximum_polling_duration` is in seconds. Default 3,600,000. */
  readonly timeoutMs?: number | undefined
  /** Called with every poll that was answered. */
  readonly onPoll?: ((poll: Poll) => void) | undefined
  /** Ends the wait; the operation goes on. */
  readonly signal?: AbortSignal | undefined
}

const DEFAULT_TIMEOUT_MS = 3_600_000
/** Where the broker asks for nothing: soon at first, since most operations are short, then less often. */
const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 10_000

/**
 * Polls `last_operation` until the operation has succeeded, with the pauses that the broker asks for in `Retry-After`. Polls
 * that are answered with something else are repeated while there is time, as the specification demands (Polling Last
 * Operation, Response).
 * @throws {OperationFailed} when it ends `failed`
 * @throws {OperationTimeout} when it does not end in time
 * @throws {OsbError} for 401, 403, 404 and 410, which no repetition mends
 */
export async function waitForOperation(client: OsbClient, ids: ResourceIds, options: WaitOptions = {}): Promise<void> {
  const { removes = false, timeoutMs = DEFAULT_TIMEOUT_MS, onPoll, signal, ...hints } = options
  const end = Date.now() + timeoutMs
  let pauseMs = FIRST_PAUSE_MS
  let trouble: Error | undefined
  for (;;) {
    let asked: number | undefined
    try {
      const poll = await client.lastOperation(ids, { ...hints, signal })
      onPoll?.(poll)
      if (poll.state === 'succeeded') return
      if (poll.state === 'failed') throw new OperationFailed(poll.description ?? 'The operation failed.', poll)
      asked = poll.retryAfterMs
      trouble = undefined
    } catch (error) {
      if (error instanceof OsbError && error.status === 410 && removes) return
      trouble = passing(error)
      asked = error instanceof OsbError ? error.details.retryAfterMs : undefined
    }
    const waitMs = asked ?? pauseMs
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
    if (Date.now() + waitMs > end) throw overdue(timeoutMs, trouble)
    await sleep(waitMs, undefined, signal === undefined ? {} : { signal })
  }
}

const FINAL = [401, 403, 404, 410]

/** Trouble that may pass; anything else is thrown on. */
function passing(error: unknown): Error {
  if (error instanceof OsbError && !FINAL.includes(error.status)) return error
  if (error instanceof BrokerUnreachable || error instanceof UnexpectedAnswer) return error
  throw error
}

function overdue(timeoutMs: number, trouble: Error | undefined): OperationTimeout {
  const last = trouble === undefined ? '' : ` The last poll failed: ${trouble.message}`
  return new OperationTimeout(
    `The operation has not ended within ${timeoutMs / 1000} s; it may still end.${last}`,
    trouble === undefined ? {} : { cause: trouble }
  )
}
