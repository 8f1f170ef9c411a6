import { errorType, inSpan, markFailed, type Span, traceIdOf } from '../telemetry/index.ts'
import { userOf } from './call.ts'
import { BrokerError } from './errors.ts'
import { Deadline, Lease } from './lease.ts'
import { OperationMeters } from './operation-meters.ts'
import { type Attempt, perform, type Stage } from './perform.ts'
import { StaleAttempt, type TaskLog, Unavailable } from './provider.ts'
import { readableError } from './provider-errors.ts'
import { Secrets } from './secrets.ts'
import type { Claim, Claimed, Finish, InstanceRecord, OperationFields } from './store.ts'
import { finishSurely } from './unknown-outcomes.ts'
import { abortReasons, GRACE_MS, Watchdog } from './watchdog.ts'

/**
 * How one attempt ended. `lost`: the operation was halted or taken over, nothing of the attempt may be written. `abandoned`:
 * the provider did not stop in time, and its call still runs.
 */
export type AttemptEnd =
  | { kind: 'succeeded'; finish: Finish }
  | { kind: 'rejected'; error: BrokerError }
  | { kind: 'failed'; error: unknown; description: string }
  | { kind: 'lost' }
  | { kind: 'abandoned' }

/** An operation and the right to work on it. */
export interface Held {
  readonly operation: OperationFields
  readonly claim: Claim
  readonly lease: Lease
  readonly deadline: Deadline
  /** `performance.now()` when the operation was created. */
  readonly createdAt: number
  /** The instance, if this process has just written it; otherwise it is read. */
  readonly instance?: InstanceRecord | undefined
  /** What polls saw before this claim: progress, or why the last attempt failed. */
  readonly description?: string | undefined
}

/**
 * An operation as its claim returned it.
 * @param sentAt `performance.now()` before the claim was sent
 */
export function heldOf({ operation, remainingMs }: Claimed, sentAt: number): Held {
  return {
    operation,
    claim: { operationId: operation.operationId, attempt: operation.attempt, platform: operation.platform },
    lease: new Lease(sentAt),
    deadline: new Deadline(performance.now() + remainingMs),
    createdAt: performance.now() - operation.ageMs,
    description: operation.description
  }
}

export interface HoldOptions {
  readonly controller: AbortController
  /** Whether no request waits: then the deadline and a stop of the process abort the work. */
  readonly background: () => boolean
}

/**
 * Calls the provider once. Never rejects.
 * @param number of the attempt, from 1; a request tries several times with one claim
 */
export type TryOnce = (number: number, instance?: InstanceRecord) => Promise<AttemptEnd>

interface Try {
  readonly held: Held
  readonly number: number
  readonly controller: AbortController
  readonly watchdog: Watchdog
}

/** The operations that this process works on. */
export class Attempts {
  readonly #stage: Stage
  readonly #log: TaskLog
  readonly #running = new Map<string, HoldOptions>()
  readonly meters = new OperationMeters()

  constructor(stage: Stage, log: TaskLog) {
    this.#stage = stage
    this.#log = log
  }

  has(operationId: string): boolean {
    return this.#running.has(operationId)
  }

  halt(operationId: string): void {
    this.#running.get(operationId)?.controller.abort(abortReasons.halted)
  }

  /**
   * Ends an operation and writes its outcome. Repeats the write while the store does not answer and the lease holds.
   * @param until `performance.now()` when to stop repeating; default: the end of the lease
   * @returns `false` when the claim is lost and nothing was written
   * @throws {Unavailable} when it is not known whether it was written
   */
  async finish(held: Held, finish: Finish, until = held.lease.endsAt): Promise<boolean> {
    const written = await finishSurely(this.#stage.store, { claim: held.claim, finish, until })
    if (written) this.meters.ended(held, finish.state)
    return written
  }

  /** Aborts the attempts that no request waits for; requests come to their own end. */
  abortBackground(): void {
    for (const { controller, background } of this.#running.values()) {
      if (background()) controller.abort(abortReasons.stopping)
    }
  }

  /** Keeps a claim alive until `work` ends, also between its tries. */
  async hold<T>(held: Held, options: HoldOptions, work: (tryOnce: TryOnce) => Promise<T>): Promise<T> {
    const { operation, claim, lease, deadline } = held
    const { controller, background } = options
    this.#running.set(operation.operationId, options)
    const watchdog = new Watchdog({
      controller,
      lease,
      deadline,
      abortsAtDeadline: background,
      renew: () => this.#stage.store.keepAlive(claim),
      log: operationLog(this.#log, operation)
    })
    try {
      return await work((number, instance) => {
        return this.#inSpan({ held: { ...held, instance }, number, controller, watchdog })
      })
    } finally {
      watchdog.stop()
      this.#running.delete(operation.operationId)
    }
  }

  #inSpan(given: Try): Promise<AttemptEnd> {
    const { held, number } = given
    const { operation } = held
    return inSpan(`operation ${operation.kind}`, spanAttributes(operation, number), async (span) => {
      const end = await this.#tryOnce(given)
      this.meters.attempted(operation, number, end.kind)
      noteEnd(span, end)
      return end
    })
  }

  async #tryOnce({ held, number, controller, watchdog }: Try): Promise<AttemptEnd> {
    const { operation } = held
    const secrets = new Secrets()
    const log = operationLog(this.#log, operation, secrets)
    // A synchronous request has a log line of its own.
    const level = operation.async || number > 1 ? 'info' : 'debug'
    log[level]({ attempt: number }, `${operation.kind}: attempt ${number} begins`)
    const performed = this.#perform(held, { number, signal: controller.signal, log, secrets })
    const end = await Promise.race([performed, watchdog.abandoned])
    if (end !== undefined) return end
    this.#reportLeak(held, log, performed)
    return isLoss(controller.signal.reason) ? { kind: 'lost' } : { kind: 'abandoned' }
  }

  async #perform(
    { operation, claim, instance }: Held,
    { number, signal, log, secrets }: Pick<Attempt, 'number' | 'signal' | 'log' | 'secrets'>
  ): Promise<AttemptEnd> {
    try {
      const attempt = { operation, claim, number, instance, signal, log, secrets, meters: this.meters }
      return { kind: 'succeeded', finish: await perform(this.#stage, attempt) }
    } catch (thrown) {
      const error = secrets.hideInError(readableError(thrown))
      if (error instanceof StaleAttempt || isLoss(signal.reason)) return { kind: 'lost' }
      if (error instanceof BrokerError) return { kind: 'rejected', error }
      const description = error instanceof Unavailable ? error.message : 'The work failed.'
      log.warn({ err: error, attempt: number }, `${operation.kind}: attempt ${number} failed`)
      return { kind: 'failed', error, description }
    }
  }

  /** The call goes on without anybody waiting for it. Its writes are fenced; its outside effects are not. */
  #reportLeak({ operation }: Held, log: TaskLog, performed: Promise<AttemptEnd>): void {
    const { kind, provider } = operation
    const graceSeconds = GRACE_MS / 1000
    log.error(
      { provider, graceSeconds },
      `the provider "${provider}" ignored the abort of a ${kind}: its call was given up`
    )
    const givenUpAt = performance.now()
    performed
      .then((end) => {
        const seconds = Math.round((performance.now() - givenUpAt) / 1000)
        log.warn({ provider, seconds, end: end.kind }, `a ${kind} that was given up has ended; its result is discarded`)
      })
      .catch((error: unknown) => log.error({ err: error, provider }, `a ${kind} that was given up failed`))
  }
}

/** Whether a signal aborted because the claim is lost: nothing of the attempt may be written. */
export function isLoss(reason: unknown): boolean {
  return reason === abortReasons.halted || reason === abortReasons.lost
}

function spanAttributes(operation: OperationFields, attempt: number) {
  return {
    'osb.operation.id': operation.operationId,
    'osb.operation.kind': operation.kind,
    'osb.operation.attempt': attempt,
    'osb.platform': operation.platform,
    'osb.instance.id': operation.instanceId,
    ...(operation.bindingId === undefined ? {} : { 'osb.binding.id': operation.bindingId })
  }
}

function noteEnd(span: Span, end: AttemptEnd): void {
  span.setAttribute('osb.attempt.outcome', end.kind)
  if (end.kind === 'failed' || end.kind === 'rejected') markFailed(span, errorType(end.error))
  if (end.kind === 'abandoned') markFailed(span, 'abandoned')
}

/** A log whose every line names the operation and its resource, and masks secrets. */
export function operationLog(log: TaskLog, operation: OperationFields, secrets = new Secrets()): TaskLog {
  const user = userOf(operation.originatingIdentity)
  const traceId = traceIdOf(operation.traceContext)
  const ids = {
    operation: operation.operationId,
    platform: operation.platform,
    instance: operation.instanceId,
    ...(operation.bindingId === undefined ? {} : { binding: operation.bindingId }),
    ...(operation.requestIdentity === undefined ? {} : { requestIdentity: operation.requestIdentity }),
    ...(user === undefined ? {} : { user }),
    ...(traceId === undefined ? {} : { trace_id: traceId })
  }
  const line = (level: keyof TaskLog) => (fields: object, message?: string) => {
    const text = message && secrets.hideIn(message)
    try {
      log[level]({ ...ids, ...secrets.hideInFields(fields) }, text)
    } catch {
      // For example a frozen error, which the logger cannot mark as serialised. The attempt must not fail with its log.
      log[level]({ ...ids, fields: 'could not be logged' }, text)
    }
  }
  return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
}
