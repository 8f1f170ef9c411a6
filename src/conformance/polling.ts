import { setTimeout as sleep } from 'node:timers/promises'
import { Violation } from './check.ts'
import type { Exchange } from './exchange.ts'
import type { Subject } from './subject.ts'

/** An instance or one of its bindings, by its ids. */
export interface Resource {
  readonly instanceId: string
  readonly bindingId?: string
}

/**
 * How an operation ended. `gone`: the poll of a delete was answered 410, or 404, which the specification has for what does not
 * exist; a check of its own tells platforms' wish for 410.
 */
export interface Ended {
  readonly state: 'succeeded' | 'failed' | 'gone'
  /** The last answer: the poll's, or the request's own when it was not asynchronous. */
  readonly last: Exchange
  /** All polls, in their order. */
  readonly polls: readonly Exchange[]
}

export interface PollOptions {
  /** How long an operation may take. */
  readonly timeoutMs: number
}

/** The first pause. It doubles up to what the broker asks for: this is a test, and most operations are quick. */
const FIRST_PAUSE_MS = 20
const LONGEST_PAUSE_MS = 10_000

/** What {@link endOf} follows. */
export interface Followed {
  readonly answer: Exchange
  readonly resource: Resource
  readonly options: PollOptions
}

/**
 * Follows an answer to the end of its operation.
 * @throws {Violation} when the operation does not end in time, or a poll is answered with something else
 */
export async function endOf(subject: Subject, { answer, resource, options }: Followed): Promise<Ended> {
  if (answer.status !== 202) return { state: answer.status < 300 ? 'succeeded' : 'failed', last: answer, polls: [] }
  const token = operationIn(answer)
  const removes = answer.request.method === 'DELETE'
  const polls: Exchange[] = []
  let pauseMs = FIRST_PAUSE_MS
  for (const end = Date.now() + options.timeoutMs; Date.now() < end; ) {
    await sleep(pauseMs)
    const poll = await subject.pollOnce(resource, token)
    polls.push(poll)
    if ((poll.status === 410 || poll.status === 404) && removes) return { state: 'gone', last: poll, polls }
    const { state } = poll.body
    if (poll.status !== 200) throw new Violation(`a poll of a running operation was answered ${poll.status}`)
    if (state === 'succeeded' || state === 'failed') return { state, last: poll, polls }
    if (state !== 'in progress') throw new Violation(`a poll was answered with the state ${JSON.stringify(state)}`)
    pauseMs = Math.min(pauseMs * 2, askedMs(poll))
  }
  throw new Violation(`the operation did not end within ${options.timeoutMs / 1000} s (see --poll-timeout)`)
}

/** The operation that an answer names: brokers need not name any, and may say so with null (spec: Provisioning, Body). */
export function operationIn({ body: { operation } }: Exchange): string | undefined {
  return typeof operation === 'string' ? operation : undefined
}

/** What the broker asks for in `Retry-After`, in bounds. */
function askedMs({ headers }: Exchange): number {
  const seconds = Number(headers['retry-after'])
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds * 1000, LONGEST_PAUSE_MS) : LONGEST_PAUSE_MS
}
