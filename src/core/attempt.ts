import { errorType, inSpan, markFailed, type Span, traceIdOf } from '../telemetry/index.ts'
import { userOf } from './call.ts'
import { BrokerError } from './errors.ts'
import { Deadline, Lease } from './lease.ts'
import { OperationMeters } from './operation-meters.ts'
import { perform, type Stage } from './perform.ts'
import { StaleAttempt, type TaskLog, Unavailable } from './provider.ts'
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
export function heldOf({ operation, remainingMs, ageMs }: Claimed, sentAt: number): Held {
  return {
    operation,
    claim: { operationId: operation.operationId, attempt: operation.attempt },
    lease: new Lease(sentAt),
    deadline: new Deadline(performance.now() + remainingMs),
    createdAt: performance.now() - ageMs,
    description: operation.description
  }
}

export interface AttemptOptions {
  readonly controller: AbortController
  /** Whether no request waits: then the deadline and a stop of the process abort the work. */
  readonly background: () => boolean
  /** Number of the try, from 1; a request tries several times with one claim. */
  readonly number: number
}

/** The attempts that run in this process. */
export class Attempts {
  readonly #stage: Stage
  readonly #log: TaskLog
  readonly #running = new Map<string, AttemptOptions>()
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

  /** Calls the provider once and keeps the claim alive meanwhile. Never throws. */
  async run(held: Held, options: AttemptOptions): Promise<AttemptEnd> {
    const { operation } = held
    return inSpan(`operation ${operation.kind}`, spanAttributes(operation, options.number), async (span) => {
      const end = await this.#run(held, options)
      this.meters.attempted(operation, options.number, end.kind)
      noteEnd(span, end)
      return end
    })
  }

  async #run(held: Held, options: AttemptOptions): Promise<AttemptEnd> {
    const { operation, claim, lease, deadline } = held
    const { controller, background, number } = options
    const secrets = new Secrets()
    const log = operationLog(this.#log, operation, secrets)
    // A synchronous request has a log line of its own.
    const level = operation.async || number > 1 ? 'info' : 'debug'
    log[level]({ attempt: number }, `${operation.kind}: attempt ${number} begins`)
    this.#running.set(operation.operationId, options)
    const watchdog = new Watchdog({
      controller,
      lease,
      deadline,
      abortsAtDeadline: background,
      renew: () => this.#stage.store.keepAlive(claim),
      log
    })
    const performed = this.#perform(held, options, { log, secrets })
    try {
      const end = await Promise.race([performed, watchdog.abandoned])
      if (end !== undefined) return end
      this.#reportLeak(held, log, performed)
      return isLoss(controller.signal.reason) ? { kind: 'lost' } : { kind: 'abandoned' }
    } finally {
      watchdog.stop()
      this.#running.delete(operation.operationId)
    }
  }

  async #perform(
    { operation, claim, instance }: Held,
    { controller: { signal }, number }: AttemptOptions,
    { log, secrets }: { log: TaskLog; secrets: Secrets }
  ): Promise<AttemptEnd> {
    try {
      const attempt = { operation, claim, number, instance, signal, log, secrets, meters: this.meters }
      return { kind: 'succeeded', finish: await perform(this.#stage, attempt) }
    } catch (thrown) {
      const error = secrets.hideInError(thrown)
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

function isLoss(reason: unknown): boolean {
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
  const line = (level: keyof TaskLog) => (fields: object, message?: string) =>
    log[level]({ ...ids, ...secrets.hideInFields(fields) }, message && secrets.hideIn(message))
  return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
}
