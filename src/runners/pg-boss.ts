import { type Db, type Job, PgBoss, type SendOptions } from 'pg-boss'
import { backoff } from '../core/backoff.ts'
import { type TaskLog, Unavailable } from '../core/provider.ts'
import type { Execute, Runner, Sweep } from '../core/runner.ts'
import type { Enqueue, OperationJob, Transaction } from '../core/store.ts'
import { type BoundedPoolConfig, type SessionBounds, settingsLike } from '../postgres/index.ts'
import { groupOf, isShort, Slots } from './slots.ts'

export interface PgBossRunnerOptions {
  /** How to reach the database that the store is in: the options of its pool. */
  readonly connection: BoundedPoolConfig
  /** Schema of the jobs; default `osb_jobs`. */
  readonly schema?: string
  /** Operations that this process executes at the same time; default {@link DEFAULT_WORKERS}. */
  readonly workers?: number
  /** Makes `Unavailable` of an error that only says that the database is away. */
  readonly explain: (error: unknown) => unknown
  readonly log: TaskLog
}

/** Operations that a process executes at the same time, if it is not told otherwise. */
export const DEFAULT_WORKERS = 8

const QUEUE = 'operations'
/** A job that was fetched and not completed is repeated after this time, the shortest that pg-boss takes. */
const HEARTBEAT_SECONDS = 10
const SUPERVISE_SECONDS = 10
/** How often a replica with a free slot looks for jobs: retries, and jobs that other replicas have no slot for. */
const POLL_MS = 1_000
const SWEEP_POLL_SECONDS = 30
const SCHEDULES = { minute: '* * * * *', hour: '17 * * * *' } as const
/** Delay of a job whose operation waits for another, in seconds. */
const LATER_SECONDS = 1
/** The longest delay of a job that this replica leaves to others, in seconds. */
const ELSEWHERE_SECONDS = 10
/** Sweeps end long before this; pg-boss wants a bound, of at most a day. */
const EXPIRE_SECONDS = 23 * 3600
const STOP_TIMEOUT_MS = 2_000
/** A process that stops while its database hangs must not wait for pg-boss's own 10 s. */
const CONNECT_TIMEOUT_MS = 3_000
/** Connections of the queue of one replica. */
const POOL_SIZE = 4
/** Maintenance of the job tables can take minutes, but must not wait for a lock for long. */
const BOUNDS: SessionBounds = { statementMs: 300_000, lockMs: 10_000, idleInTransactionMs: 60_000 }
/** Longer than the server takes. A lost connection is noticed earlier, by a check from another connection. */
const SILENCE_MS = BOUNDS.statementMs + 5_000

const QUEUE_OPTIONS = {
  heartbeatSeconds: HEARTBEAT_SECONDS,
  expireInSeconds: EXPIRE_SECONDS,
  // A job fails only when the store cannot be reached. The deadline of the operation ends it, not a count of tries.
  retryLimit: 1_000_000,
  retryBackoff: true,
  retryDelay: backoff.firstSeconds,
  retryDelayMax: backoff.maximumSeconds,
  deleteAfterSeconds: 600,
  notify: false
}
const SWEEP_QUEUE_OPTIONS = { heartbeatSeconds: HEARTBEAT_SECONDS, expireInSeconds: EXPIRE_SECONDS }

/**
 * Executes operations through pg-boss: a job is inserted in the transaction that writes its operation, and any replica may
 * fetch it. A job only says that there is something to do; the `operations` row says what, and whether it still has to be
 * done. The job is completed as soon as a worker has claimed the operation: from then on the lease shows whether it lives.
 *
 * It does not use NOTIFY, because PostgreSQL lets transactions that notify commit one after the other, each with its wait for
 * the disk: all replicas together could accept only a few hundred operations a second. The replica that accepted an operation
 * looks for its job as soon as it is committed; the others look once a second.
 */
export class PgBossRunner implements Runner {
  readonly #boss: PgBoss
  readonly #slots: Slots
  readonly #log: TaskLog
  readonly #explain: (error: unknown) => unknown
  readonly #stopping = new AbortController()
  readonly #executing = new Set<Promise<void>>()
  #execute: Execute | undefined
  #poll: NodeJS.Timeout | undefined
  #looking = false
  /** Set while looks fail although the database answers. */
  #unreadable = false
  /** Set when a job may have come after the look that is under way. */
  #lookAgain = false

  constructor({ connection, schema = 'osb_jobs', workers = DEFAULT_WORKERS, explain, log }: PgBossRunnerOptions) {
    this.#log = log
    this.#explain = explain
    this.#slots = new Slots(workers)
    // pg-boss passes all options to its pool.
    const pool: object = settingsLike(connection, {
      max: POOL_SIZE,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      application_name: 'osb-jobs',
      bounds: BOUNDS,
      silenceMs: SILENCE_MS
    })
    this.#boss = new PgBoss({
      ...pool,
      schema,
      superviseIntervalSeconds: SUPERVISE_SECONDS,
      monitorIntervalSeconds: SUPERVISE_SECONDS,
      maintenanceIntervalSeconds: 600,
      registerInstance: false,
      openTelemetry: { enabled: false }
    })
    // Without a listener a lost connection would end the process.
    this.#boss.on('error', ({ message }) => log.warn({ reason: message }, 'the job queue has trouble'))
    this.#boss.on('warning', (warning) => log.debug({ warning }, 'the job queue warns'))
  }

  readonly enqueue: Enqueue = async (job, transaction, delayMs = 0) => {
    if (this.#execute === undefined) throw new Unavailable('The broker is not ready to take operations yet.')
    await this.#send(job, { db: asDatabase(transaction), ...(delayMs > 0 ? { startAfter: delayMs / 1000 } : {}) })
  }

  async ensure(job: OperationJob, { now = false }: { readonly now?: boolean } = {}): Promise<void> {
    const options = { ...optionsOf(job), ...(now ? { startAfter: 0 } : {}) }
    try {
      await this.#boss.upsert(QUEUE, { ...dataOf(job) }, options)
    } catch (error) {
      throw this.#explain(error)
    }
    if (now) this.wake()
  }

  /** May be called again after it failed. */
  async start(execute: Execute, sweeps: readonly Sweep[]): Promise<void> {
    try {
      await this.#boss.start()
      await this.#createQueue(QUEUE, 'singleton', QUEUE_OPTIONS)
      for (const sweep of sweeps) await this.#schedule(sweep)
    } catch (error) {
      await this.#boss.stop({ graceful: false }).catch((cause) => this.#log.debug({ err: cause }, 'the job queue'))
      throw this.#explain(error)
    }
    this.#execute = execute
    this.#poll = setInterval(() => this.wake(), POLL_MS).unref()
  }

  wake(): void {
    this.#lookAgain = true
    if (!this.#looking) void this.#look()
  }

  /** Fetches jobs until there are none, or no slot is free. */
  async #look(): Promise<void> {
    this.#looking = true
    try {
      while (this.#lookAgain && !this.#stopping.signal.aborted) {
        this.#lookAgain = false
        const vacancy = this.#slots.vacancy()
        if (vacancy === undefined) return
        const { count, shortOnly, fullGroups } = vacancy
        const jobs = await this.#boss.fetch<QueuedJob>(QUEUE, {
          batchSize: count,
          ignoreGroups: [...fullGroups],
          ...(shortOnly ? { minPriority: 1 } : {})
        })
        for (const job of jobs) this.#begin(job)
        if (jobs.length > 0) this.#lookAgain = true
      }
      if (this.#unreadable) this.#log.info({}, 'the job queue can be read again')
      this.#unreadable = false
    } catch (error) {
      // Of a database that is away, other lines tell. Anything else, such as a missing table, needs the operator.
      const level = this.#unreadable || this.#explain(error) instanceof Unavailable ? 'debug' : 'error'
      this.#log[level]({ err: error }, 'the job queue could not be read; it is read again every second')
      this.#unreadable = level === 'error' || this.#unreadable
    } finally {
      this.#looking = false
    }
  }

  #begin(job: Job<QueuedJob>): void {
    const free = this.#slots.take(job.data)
    const execution = this.#work(job).finally(() => {
      free()
      this.#executing.delete(execution)
      this.wake()
    })
    this.#executing.add(execution)
  }

  async #work(job: Job<QueuedJob>): Promise<void> {
    const { data } = job
    let completing: Promise<unknown> | undefined
    const complete = () => {
      completing ??= this.#boss.complete(QUEUE, job.id)
      // It may fail while the execution continues, and without a handler that would end the process.
      completing.catch(() => undefined)
    }
    try {
      const execution = await this.#execute?.(data, this.#stopping.signal, complete)
      if (execution === 'again') await this.#send(data)
      if (execution === 'later') await this.#send(data, { startAfter: LATER_SECONDS })
      if (execution === 'elsewhere') await this.#passOn(data)
      complete()
      await completing
    } catch (error) {
      const operation = data.operationId
      this.#log.warn({ err: error, operation }, 'a job was not completed; it is repeated')
      // Where this fails too, pg-boss repeats the job after its heartbeat.
      await this.#boss.fail(QUEUE, job.id).catch((cause) => this.#log.debug({ err: cause, operation }, 'the job queue'))
    }
  }

  /** Every replica schedules it; pg-boss sends one job each time, and none while one is waiting or runs. */
  async #schedule({ name, every, run }: Sweep): Promise<void> {
    const queue = `sweep-${name}`
    await this.#createQueue(queue, 'exclusive', SWEEP_QUEUE_OPTIONS)
    await this.#boss.work(
      queue,
      { pollingIntervalSeconds: SWEEP_POLL_SECONDS, heartbeatRefreshSeconds: HEARTBEAT_SECONDS / 3 },
      run
    )
    await this.#boss.schedule(queue, SCHEDULES[every])
  }

  /** Creates a queue, or brings the options of an existing one up to date: an older program may have created it. */
  async #createQueue(name: string, policy: string, options: Record<string, number | boolean>): Promise<void> {
    const queue = await this.#boss.getQueue(name)
    if (queue === null) {
      await this.#boss.createQueue(name, { policy, ...options })
      return
    }
    const current: Record<string, unknown> = { ...queue }
    if (Object.entries(options).some(([option, value]) => current[option] !== value)) {
      await this.#boss.updateQueue(name, options)
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    clearInterval(this.#poll)
    await Promise.all(this.#executing)
  }

  async close(): Promise<void> {
    await this.#boss.stop({ graceful: true, timeout: STOP_TIMEOUT_MS })
  }

  /** The delay doubles, because the replica that can take the job may be a long time coming. */
  async #passOn({ passedOn = 0, ...job }: QueuedJob): Promise<void> {
    const startAfter = Math.min(2 ** passedOn, ELSEWHERE_SECONDS)
    await this.#boss.send(QUEUE, { ...dataOf(job), passedOn: passedOn + 1 }, { ...optionsOf(job), startAfter })
  }

  /** Only one job of an operation is active at a time. */
  async #send(job: OperationJob, options: Pick<SendOptions, 'db' | 'startAfter'> = {}): Promise<void> {
    const id = await this.#boss.send(QUEUE, { ...dataOf(job) }, { ...optionsOf(job), ...options })
    if (id === null) this.#log.warn({ operation: job.operationId }, 'the job queue took no job for an operation')
  }
}

interface QueuedJob extends OperationJob {
  /** How many replicas in succession lacked its provider or plan. */
  readonly passedOn?: number
}

/** Short operations come first. */
function optionsOf(job: OperationJob): SendOptions & { singletonKey: string } {
  return { singletonKey: job.operationId, priority: isShort(job.kind) ? 1 : 0, group: { id: groupOf(job) } }
}

/** The fields of a job, of whatever record it is taken. */
function dataOf({ operationId, kind, platform, provider, serviceId, planId }: OperationJob): OperationJob {
  return {
    operationId,
    kind,
    platform,
    ...(provider === undefined ? {} : { provider }),
    ...(serviceId === undefined ? {} : { serviceId }),
    ...(planId === undefined ? {} : { planId })
  }
}

function isDatabase(value: unknown): value is Db {
  return typeof value === 'object' && value !== null && 'executeSql' in value && typeof value.executeSql === 'function'
}

function asDatabase(transaction: Transaction): Db {
  if (!isDatabase(transaction)) throw new TypeError('the pg-boss runner needs a transaction of the PostgreSQL store')
  return transaction
}
