import { errorType, inSpan, markFailed, type Span, traceIdOf } from '../telemetry/index.ts'
import { userOf } from './call.ts'
import { BrokerError } from './errors.ts'
import { OperationMeters } from './operation-meters.ts'
import { perform, type Stage } from './perform.ts'
import { StaleAttempt, type TaskLog, Unavailable } from './provider.ts'
import { Secrets } from './secrets.ts'
import { type Claim, type Finish, type InstanceRecord, LEASE_MS, type OperationRecord } from './store.ts'

/** How one attempt ended. `lost`: halted or taken over, nothing of it may be written. */
export type AttemptEnd =
  | { kind: 'succeeded'; finish: Finish }
  | { kind: 'rejected'; error: BrokerError }
  | { kind: 'failed'; error: unknown; description: string }
  | { kind: 'lost' }

/** Why a task's signal aborts. */
export const abortReasons = {
  halted: new Error('a delete halted the operation'),
  lost: new Error('another worker has taken the operation over'),
  overtime: new Error('the time of the operation is up'),
  stopping: new Error('the process is stopping')
} as const

/** An operation and the right to work on it. */
export interface Held {
  readonly operation: OperationRecord
  readonly claim: Claim
  /** The instance, where it is known as the operation has just made it; else it is read. */
  readonly instance?: InstanceRecord | undefined
}

/** An operation as its claim has just handed it out. */
export function heldOf(operation: OperationRecord): Held {
  return { operation, claim: { operationId: operation.operationId, attempt: operation.attempt } }
}

/** What runs in this process. */
export class Attempts {
  readonly #stage: Stage
  readonly #log: TaskLog
  readonly #running = new Map<string, { controller: AbortController; background: () => boolean }>()
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

  /** Ends an operation and writes its outcome. `false`: the claim is lost, nothing was written. */
  async finish({ operation, claim }: Held, finish: Finish): Promise<boolean> {
    const written = await this.#stage.store.finish(claim, finish)
    if (written) this.meters.ended(operation, finish.state)
    return written
  }

  /** Aborts what no request waits for; requests come to their own end. */
  abortBackground(): void {
    for (const { controller, background } of this.#running.values()) {
      if (background()) controller.abort(abortReasons.stopping)
    }
  }

  /**
   * Calls the provider once and keeps the claim alive meanwhile. Never throws.
   * @param background whether the attempt is to be aborted when the process stops
   */
  async run(held: Held, controller: AbortController, background: () => boolean): Promise<AttemptEnd> {
    const { operation } = held
    return inSpan(`operation ${operation.kind}`, spanAttributes(operation), async (span) => {
      const end = await this.#run(held, controller, background)
      this.meters.attempted(operation, end.kind)
      tellEnd(span, end)
      return end
    })
  }

  async #run(
    { operation, claim, instance }: Held,
    controller: AbortController,
    background: () => boolean
  ): Promise<AttemptEnd> {
    const secrets = new Secrets()
    const log = operationLog(this.#log, operation, secrets)
    const { signal } = controller
    // The request of a synchronous operation has a line of its own.
    const level = operation.async || operation.attempt > 1 ? 'info' : 'debug'
    log[level]({ attempt: operation.attempt }, `${operation.kind}: attempt ${operation.attempt} begins`)
    this.#running.set(operation.operationId, { controller, background })
    const alive = setInterval(() => void this.#keepAlive(claim, controller, log), LEASE_MS / 3)
    try {
      return {
        kind: 'succeeded',
        finish: await perform(this.#stage, { operation, claim, instance, signal, log, secrets, meters: this.meters })
      }
    } catch (thrown) {
      const error = secrets.hideInError(thrown)
      if (error instanceof StaleAttempt || isLoss(signal.reason)) return { kind: 'lost' }
      if (error instanceof BrokerError) return { kind: 'rejected', error }
      const description = error instanceof Unavailable ? error.message : 'The work failed.'
      log.warn({ err: error, attempt: operation.attempt }, `${operation.kind}: attempt ${operation.attempt} failed`)
      return { kind: 'failed', error, description }
    } finally {
      clearInterval(alive)
      this.#running.delete(operation.operationId)
    }
  }

  async #keepAlive(claim: Claim, controller: AbortController, log: TaskLog): Promise<void> {
    try {
      if (!(await this.#stage.store.keepAlive(claim))) controller.abort(abortReasons.lost)
    } catch (error) {
      // The store is away. Work goes on: the fence decides later whose the operation is.
      log.warn({ err: error }, 'the lease of an operation could not be renewed')
    }
  }
}

function isLoss(reason: unknown): boolean {
  return reason === abortReasons.halted || reason === abortReasons.lost
}

function spanAttributes(operation: OperationRecord) {
  return {
    'osb.operation.id': operation.operationId,
    'osb.operation.kind': operation.kind,
    'osb.operation.attempt': operation.attempt,
    'osb.platform': operation.platform,
    'osb.instance.id': operation.instanceId,
    ...(operation.bindingId === undefined ? {} : { 'osb.binding.id': operation.bindingId })
  }
}

function tellEnd(span: Span, end: AttemptEnd): void {
  span.setAttribute('osb.attempt.outcome', end.kind)
  if (end.kind === 'failed' || end.kind === 'rejected') markFailed(span, errorType(end.error))
}

/** A log whose every line names the operation and its resource, and has none of the secrets. */
export function operationLog(log: TaskLog, operation: OperationRecord, secrets = new Secrets()): TaskLog {
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
