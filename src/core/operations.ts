import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { inTrace, traceContext } from '../telemetry/index.ts'
import { type AttemptEnd, Attempts, abortReasons, type Held, heldOf, operationLog } from './attempt.ts'
import { BrokerError, refusals } from './errors.ts'
import type { Stage } from './perform.ts'
import type { PlatformRulesOf } from './platform-rules.ts'
import { Platforms } from './platforms.ts'
import type { TaskLog } from './provider.ts'
import { findOrphans } from './reconcile.ts'
import type { Execution, Runner } from './runner.ts'
import { LEASE_MS, type OperationRecord, type Start, type StartResult } from './store.ts'
import { failedFinish, Undo } from './undo.ts'
import { repairInstances, revokeExpired, watchInstances } from './upkeep.ts'

export interface OperationsOptions extends Stage {
  readonly runner: Runner
  readonly log: TaskLog
  /** How long a request may wait for its work, in milliseconds. */
  readonly syncDeadlineMs: number
  /** What each platform may see and have. Default: everything, without limits. */
  readonly platformRules?: PlatformRulesOf | undefined
  /** Default: audit events are kept for ever. */
  readonly auditRetentionDays?: number | undefined
}

/** What a new operation is about; ids, times and counts are made here. */
export type NewOperation = Pick<OperationRecord, 'kind' | 'platform' | 'instanceId' | 'async'> &
  Partial<
    Pick<OperationRecord, 'bindingId' | 'target' | 'halts' | 'originatingIdentity' | 'requestIdentity' | 'internal'>
  > & {
    /** The plan's `maximum_polling_duration`, else an hour. */
    readonly maximumSeconds?: number | undefined
  }

/** How long an asynchronous operation may last whose plan names no `maximum_polling_duration`. */
export const DEFAULT_MAXIMUM_SECONDS = 3600
/** How often a waiting request looks whether the operation has ended. */
const WAIT_MS = 50
/** How often we look for operations of dead workers. */
const SWEEP_MS = 2_000
/** A provider that ignores its signal must not keep the process; its claim lapses. */
const LET_GO_MS = 5_000
/** A stopping process must be gone within 10 s: what its requests still wait for counts as overlong after this. */
const OVERDUE_MS = 6_000
/** The specification asks brokers not to forget an operation at once (spec: Polling Last Operation). */
const REMEMBER_MS = 7 * 24 * 3600 * 1000

/**
 * The life of operations: start, run, halt, retry, finish. The record in the store is the truth; this class owns what
 * runs in this process without a request; `runSync` runs the others.
 */
export class Operations {
  readonly options: OperationsOptions
  readonly attempts: Attempts
  readonly undo: Undo
  readonly platforms: Platforms
  #stopListening: (() => void) | undefined
  #sweeper: NodeJS.Timeout | undefined
  readonly #takenOver = new Set<Promise<unknown>>()
  readonly #ending = new AbortController()
  readonly #overdue = new AbortController()
  #stopping = false

  constructor(options: OperationsOptions) {
    this.options = options
    this.attempts = new Attempts(options, options.log)
    this.undo = new Undo(this)
    this.platforms = new Platforms(options.catalog, options.platformRules)
  }

  /** Begins to execute what the runner is given, to hear of halts, and to clear up after crashes. Repeatable. */
  async begin(): Promise<void> {
    this.#stopListening ??= this.options.store.onHalt((operationId) => this.attempts.halt(operationId))
    await this.options.runner.start(
      (operationId, signal) => this.execute(operationId, signal),
      [
        { name: 'operations', every: 'hour', run: () => this.forget() },
        { name: 'repair', every: 'hour', run: () => this.reconcile() },
        { name: 'watch', every: 'minute', run: () => this.watch() }
      ]
    )
    this.#sweeper = setInterval(() => this.#sweepQuietly(), SWEEP_MS).unref()
  }

  /**
   * Takes no more work, aborts what no request waits for, and waits until it has let go: another replica may take it.
   * Requests can still be served.
   */
  async end(): Promise<void> {
    this.#stopping = true
    setTimeout(() => this.#overdue.abort(), OVERDUE_MS).unref()
    this.#ending.abort()
    clearInterval(this.#sweeper)
    this.attempts.abortBackground()
    const letGo = Promise.all([this.options.runner.stop(), ...this.#takenOver])
    await Promise.race([letGo, sleep(LET_GO_MS, undefined, { ref: false })])
  }

  /** Lets go of the store, when no request is served any more. */
  async close(): Promise<void> {
    this.#stopListening?.()
    await this.options.runner.close()
  }

  /** Aborts when requests must not wait any longer, because the process is about to end. */
  get overdue(): AbortSignal {
    return this.#overdue.signal
  }

  /** Whether the process is stopping. */
  get stopping(): boolean {
    return this.#stopping
  }

  /** A record for {@link Operations.start}. */
  newOperation(fields: NewOperation): OperationRecord {
    const { maximumSeconds = DEFAULT_MAXIMUM_SECONDS, ...rest } = fields
    const now = Date.now()
    const trace = traceContext()
    // A request is the worker of its operation from the start, unless a halted one has to let go first.
    const claimed = !fields.async && fields.halts === undefined
    return {
      operationId: randomUUID(),
      state: 'in progress',
      internal: false,
      attempt: claimed ? 1 : 0,
      deadline: new Date(now + (fields.async ? maximumSeconds * 1000 : this.options.syncDeadlineMs)),
      createdAt: new Date(now),
      ...(trace === undefined ? {} : { traceContext: trace }),
      ...(claimed ? { startedAt: new Date(now), leaseUntil: new Date(now + LEASE_MS) } : {}),
      ...rest
    }
  }

  async start(start: Start): Promise<StartResult> {
    const { store, runner } = this.options
    const { kind, halts, async: inBackground } = start.operation
    // The request executes a synchronous operation itself.
    const result = await store.start(start, inBackground ? runner.enqueue : async () => {})
    if (result === 'started' && inBackground) runner.wake()
    if (result === 'started' && halts !== undefined) this.attempts.meters.halted(kind)
    return result
  }

  /** Waits until an operation that another request started has ended, but not longer than a request may last. */
  async wait(operationId: string): Promise<OperationRecord | undefined> {
    const until = Date.now() + this.options.syncDeadlineMs
    while (true) {
      const operation = await this.options.store.getOperation(operationId)
      if (operation === undefined || operation.state !== 'in progress') return operation
      if (Date.now() >= until || this.overdue.aborted) return operation
      await sleep(WAIT_MS)
    }
  }

  /** One attempt at an operation, for the runner. */
  async execute(operationId: string, signal: AbortSignal): Promise<Execution> {
    if (this.#stopping) return 'handed-back'
    const claimed = await this.options.store.claim(operationId)
    if (claimed.kind === 'held') return 'held'
    if (claimed.kind === 'finished') return 'done'
    return inTrace(claimed.operation.traceContext, () => this.#executeHeld(heldOf(claimed.operation), signal))
  }

  async #executeHeld(held: Held, signal: AbortSignal): Promise<Execution> {
    const { operation } = held
    if (this.#stopping || signal.aborted) {
      // It came while the claim was under way: nobody would abort this attempt any more.
      await this.options.store.release(held.claim)
      return 'handed-back'
    }
    if (!operation.async) {
      await this.undo.undo(held, refusals.unavailable('The broker stopped while it worked on this.'))
      return 'done'
    }
    const controller = new AbortController()
    const onAbort = () => controller.abort(abortReasons.stopping)
    signal.addEventListener('abort', onAbort, { once: true })
    const overtime = setTimeout(() => controller.abort(abortReasons.overtime), msUntil(operation.deadline))
    try {
      return await this.settle(held, await this.attempts.run(held, controller, () => true))
    } finally {
      clearTimeout(overtime)
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Writes how an attempt ended that no request waits for. */
  async settle(held: Held, end: AttemptEnd): Promise<Execution> {
    const { store, log } = this.options
    const { operation, claim } = held
    const line = operationLog(log, operation)
    if (end.kind === 'succeeded') {
      const written = await this.attempts.finish(held, end.finish)
      if (written) line.info({}, `${operation.kind} succeeded`)
      if (written) return 'done'
    }
    if (end.kind === 'succeeded' || end.kind === 'lost') {
      await store.release(claim)
      line.info({}, `${operation.kind} was halted or taken over`)
      // Whoever took it over may hand it back, and has no job of its own: this one must live as long as the operation.
      return 'held'
    }
    if (end.kind === 'rejected') {
      await this.#fail(held, end.error)
      return 'done'
    }
    if (this.#stopping) {
      await store.release(claim)
      return 'handed-back'
    }
    if (msUntil(operation.deadline) <= 0) {
      await this.#fail(held, givenUp(operation, end.description))
      return 'done'
    }
    await store.release(claim, { description: `${end.description} Attempt ${operation.attempt} failed; trying again.` })
    return 'retry'
  }

  /**
   * Takes over the operations whose worker has died, here and now: synchronous ones are undone, the others go on. The
   * runner would bring the latter too, but only after its own heartbeat and backoff.
   */
  async sweep(): Promise<number> {
    const abandoned = await this.options.store.abandoned()
    const taken = abandoned.filter(({ operationId }) => !this.attempts.has(operationId) && !this.#stopping)
    for (const { operationId } of taken) this.#takeOver(operationId)
    return taken.length
  }

  #takeOver(operationId: string): void {
    const { log } = this.options
    const execution = this.execute(operationId, this.#ending.signal)
      .then(
        (end) => log.info({ operation: operationId, end }, 'took over an operation'),
        (error: unknown) => log.warn({ err: error, operation: operationId }, 'an operation could not be taken over')
      )
      .finally(() => this.#takenOver.delete(execution))
    this.#takenOver.add(execution)
  }

  /** Forgets operations that ended long ago, audit events past their retention, and credentials that nobody has fetched. */
  async forget(): Promise<void> {
    const { store, log, auditRetentionDays } = this.options
    const forgotten = await store.forgetOperations(new Date(Date.now() - REMEMBER_MS))
    if (forgotten > 0) log.info({ forgotten }, 'forgot old operations')
    const events = auditRetentionDays === undefined ? 0 : await store.audit?.forget(auditRetentionDays)
    if (events) log.info({ events, auditRetentionDays }, 'forgot old audit events')
    const dropped = await store.dropUndelivered()
    if (dropped > 0) log.warn({ dropped }, 'dropped credentials that were not fetched in time')
  }

  /** Revokes what has expired, and lets the providers look over their instances. */
  async watch(): Promise<void> {
    const { log } = this.options
    const revoked = await revokeExpired(this)
    if (revoked > 0) log.info({ revoked }, 'revoking bindings that have expired')
    await watchInstances(this.options, { log, signal: this.#ending.signal })
  }

  /**
   * Heals what differs from what was agreed, and reports it; reports what the providers hold and the store does not know, and
   * the other way round.
   */
  async reconcile(): Promise<void> {
    const { store, providers, log } = this.options
    for await (const finding of repairInstances(this.options, { log, heal: true, signal: this.#ending.signal })) {
      log.warn({ finding }, finding.healed ? 'healed an instance' : 'an instance is not as it was agreed')
    }
    for (const orphan of await findOrphans(store, providers.values())) log.warn({ orphan }, 'found an orphan')
  }

  #sweepQuietly(): void {
    this.sweep().catch((error: unknown) => this.options.log.warn({ err: error }, 'a sweep failed; it is tried again'))
  }

  async #fail(held: Held, error: BrokerError): Promise<void> {
    const { operation, claim } = held
    const written = await this.attempts.finish(held, failedFinish(operation, error))
    if (written) operationLog(this.options.log, operation).warn({ err: error }, `${operation.kind} failed`)
    else await this.options.store.release(claim)
  }
}

function givenUp(operation: OperationRecord, description: string): BrokerError {
  const seconds = Math.round((operation.deadline.getTime() - operation.createdAt.getTime()) / 1000)
  const text = `${description} It was given up after ${operation.attempt} attempts in ${seconds} s.`
  if (operation.kind === 'update') return new BrokerError(500, text, { updateRepeatable: true })
  if (operation.kind === 'deprovision') return new BrokerError(500, text, { instanceUsable: false })
  return new BrokerError(500, text)
}

function msUntil(date: Date): number {
  // A timer takes at most 2^31 - 1 ms; no operation lasts 24 days.
  return Math.min(Math.max(0, date.getTime() - Date.now()), 2 ** 31 - 1)
}
