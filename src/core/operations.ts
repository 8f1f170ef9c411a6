import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { traceContext } from '../telemetry/index.ts'
import { Attempts, type Held } from './attempt.ts'
import { refusals } from './errors.ts'
import { Executor } from './executor.ts'
import { Deadline, Lease } from './lease.ts'
import type { Stage } from './perform.ts'
import type { PlatformRulesOf } from './platform-rules.ts'
import { Platforms } from './platforms.ts'
import { OutcomeUnknown, type TaskLog } from './provider.ts'
import type { Runner } from './runner.ts'
import { LEASE_MS, type OperationRecord, type OperationStart, type Start, type StartResult } from './store.ts'
import { Sweeps } from './sweeps.ts'
import { orLate } from './time-limits.ts'
import { Undo } from './undo.ts'
import { startSurely } from './unknown-outcomes.ts'

export interface OperationsOptions extends Stage {
  readonly runner: Runner
  readonly log: TaskLog
  /** How long a request may take until it is answered, in milliseconds. */
  readonly syncDeadlineMs: number
  /** What each platform may see and have. Default: everything, without limits. */
  readonly platformRules?: PlatformRulesOf | undefined
  /** Default: audit events are kept for ever. */
  readonly auditRetentionDays?: number | undefined
}

/** The fields of a new operation that its verb knows. */
export type NewOperation = Omit<OperationStart, 'operationId' | 'internal' | 'claimed' | 'traceContext'> &
  Partial<Pick<OperationStart, 'internal'>>

/** Pause between two looks of a request that waits for an operation. */
const WAIT_MS = 50
/** How long a stop waits for providers to stop; the claims of those that do not lapse. */
const LET_GO_MS = 5_000
/** How long the close waits for work of the last requests. */
const CLOSE_MS = 1_000
/** After this time a stopping process treats its requests as overlong, because it must be gone within 10 s. */
const OVERDUE_MS = 6_000
/**
 * The life of operations: start, run, halt, retry, finish. The record in the store is the truth. The executor runs operations
 * without a request, `runSync` runs the others.
 */
export class Operations {
  readonly options: OperationsOptions
  readonly attempts: Attempts
  readonly undo: Undo
  readonly platforms: Platforms
  readonly sweeps: Sweeps
  readonly executor: Executor
  #stopListening: (() => void) | undefined
  readonly #overdue = new AbortController()
  readonly #kept = new Set<Promise<unknown>>()
  #stopping = false

  constructor(options: OperationsOptions) {
    this.options = options
    this.attempts = new Attempts(options, options.log)
    this.undo = new Undo(this)
    this.platforms = new Platforms(options.catalog, options.platformRules)
    this.sweeps = new Sweeps(this)
    this.executor = new Executor(this)
  }

  /** Begins to execute jobs, to hear of halts, and to clean up after crashes. May be called again after it failed. */
  async begin(): Promise<void> {
    this.#stopListening ??= this.options.store.onHalt((operationId) => this.attempts.halt(operationId))
    await this.options.runner.start((...given) => this.executor.execute(...given), this.sweeps.scheduled)
    this.sweeps.begin()
  }

  /**
   * Takes no more jobs, aborts what no request waits for, and waits until it has stopped, so that another replica may take it.
   * Requests can still be served.
   */
  async end(): Promise<void> {
    this.#stopping = true
    setTimeout(() => this.#overdue.abort(), OVERDUE_MS).unref()
    this.sweeps.end()
    this.attempts.abortBackground()
    await orLate(Promise.all([this.options.runner.stop(), ...this.#kept]), LET_GO_MS)
  }

  /** Closes what the store and the runner hold, when no request is served any more. */
  async close(): Promise<void> {
    this.#stopListening?.()
    await orLate(Promise.all(this.#kept), CLOSE_MS)
    await this.options.runner.close()
  }

  /** Work that continues after its request was answered. A stop of the process waits for it. */
  keep(work: Promise<unknown>): void {
    const { log } = this.options
    const kept = work
      // The operation stays unfinished and its lease ends, so that the sweep finds it.
      .catch((error: unknown) => log.warn({ err: error }, 'the end of an operation could not be written'))
      .finally(() => this.#kept.delete(kept))
    this.#kept.add(kept)
  }

  /** Aborts when requests must not wait any longer, because the process is about to end. */
  get overdue(): AbortSignal {
    return this.#overdue.signal
  }

  /** Whether the process is stopping. */
  get stopping(): boolean {
    return this.#stopping
  }

  /** An operation for {@link Operations.start}. */
  newOperation(fields: NewOperation): OperationStart {
    const trace = traceContext()
    return {
      operationId: randomUUID(),
      internal: false,
      // The request is the worker of its operation from the start, unless another worker has to stop first.
      claimed: !fields.async && fields.halts === undefined,
      ...(trace === undefined ? {} : { traceContext: trace }),
      ...fields
    }
  }

  /**
   * Starts an operation.
   * @param until `performance.now()` when to give up finding out whether it was committed; default: at once
   * @returns with `started` the right to work on it, if it began claimed
   */
  async start(start: Start, until = performance.now()): Promise<{ result: StartResult; held: Held }> {
    const { store, runner } = this.options
    const { operation } = start
    const { operationId, platform, async: inBackground, claimed } = operation
    const createdAt = performance.now()
    const held: Held = {
      operation,
      claim: { operationId, attempt: claimed ? 1 : 0, platform },
      lease: new Lease(createdAt),
      deadline: new Deadline(createdAt + operation.maximumMs),
      createdAt,
      instance: start.insertInstance
    }
    try {
      const enqueue = inBackground ? runner.enqueue : async () => {}
      const result = await startSurely(store, { start, enqueue, until })
      if (result === 'started' && inBackground) runner.wake()
      return { result, held }
    } catch (error) {
      if (error instanceof OutcomeUnknown && claimed) this.#undoIfStarted(held)
      throw error
    }
  }

  /** Waits until an operation has ended that another request started; returns it as it is then, or at `until`. */
  async wait(operationId: string, until: number): Promise<OperationRecord | undefined> {
    while (true) {
      const operation = await this.options.store.getOperation(operationId)
      if (operation === undefined || operation.state !== 'in progress') return operation
      if (performance.now() >= until || this.overdue.aborted) return operation
      await sleep(WAIT_MS)
    }
  }

  /** The request was answered with an error and nobody works on its operation: end it if it was committed. */
  #undoIfStarted(held: Held): void {
    const { store } = this.options
    const { operationId } = held.claim
    const work = async () => {
      for (const end = performance.now() + LEASE_MS; performance.now() < end; await sleep(500)) {
        const operation = await store.getOperation(operationId).catch(() => 'unknown' as const)
        if (operation === 'unknown') continue
        if (operation?.state === 'in progress') {
          await this.undo.undo(held, refusals.unavailable('The broker lost its connection to the database.'), {
            tries: 0
          })
        }
        if (operation !== undefined) return
      }
    }
    this.keep(work())
  }
}
