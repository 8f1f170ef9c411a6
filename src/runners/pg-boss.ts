import { setTimeout as sleep } from 'node:timers/promises'
import { type Db, type Job, PgBoss } from 'pg-boss'
import { type TaskLog, Unavailable } from '../core/provider.ts'
import type { Execute, Execution, Runner, Sweep } from '../core/runner.ts'
import type { OperationRecord, Transaction } from '../core/store.ts'
import { type BoundedPoolConfig, type SessionBounds, settingsLike } from '../postgres/index.ts'
import { backoff } from './backoff.ts'

export interface PgBossRunnerOptions {
  /** How to reach the database that the store is in: the options of its pool. */
  readonly connection: BoundedPoolConfig
  /** Schema of the jobs; default `osb_jobs`. */
  readonly schema?: string
  /** Operations that this process executes side by side; default 8. */
  readonly concurrency?: number
  /** Makes `Unavailable` of an error that only says that the database is away. */
  readonly explain: (error: unknown) => unknown
  readonly log: TaskLog
}

interface OperationJob {
  readonly operationId: string
}

const QUEUE = 'operations'
/** pg-boss takes no shorter one; a dead worker's job is somebody else's after it. */
const HEARTBEAT_SECONDS = 10
/** The sweep of leases is quicker to see a dead worker; pg-boss must see it all the same, for its job. */
const SUPERVISE_SECONDS = 10
const STANDBY_SECONDS = 15
/** How often one worker of each replica looks for jobs: retries, and what other replicas were given and have no hand for. */
const POLL_SECONDS = 1
/** All workers but the first are woken, by what this replica was given or by a busy neighbour. */
const IDLE_POLL_SECONDS = 30
const SWEEP_POLL_SECONDS = 30
const SCHEDULES = { minute: '* * * * *', hour: '17 * * * *' } as const
/** How soon, and for how long, an operation is looked at again that another worker still holds. */
const HELD_MS = 100
const HELD_FOR_MS = 12_000
/** Jobs end by themselves; pg-boss wants a bound, of at most a day. */
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

/**
 * Executes operations through pg-boss: a job is inserted in the transaction that writes its operation, several replicas
 * work side by side, and the job of a dead one is taken over. The job only says that there is something to do; what,
 * and whether still, the `operations` row says.
 *
 * Nobody is told of a job by NOTIFY: PostgreSQL lets transactions that notify commit one after the other, each with its wait
 * for the disk, so that a few hundred a second would be all that replicas together could accept. The replica that was given
 * the work looks for it as soon as it is committed, the others once a second.
 */
export class PgBossRunner implements Runner {
  readonly #boss: PgBoss
  readonly #concurrency: number
  readonly #log: TaskLog
  readonly #explain: (error: unknown) => unknown
  readonly #stopping = new AbortController()
  #workers: string[] = []
  readonly #busy = new Set<number>()
  #started = false

  constructor({ connection, schema = 'osb_jobs', concurrency = 8, explain, log }: PgBossRunnerOptions) {
    this.#log = log
    this.#explain = explain
    this.#concurrency = concurrency
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

  readonly enqueue = async (operation: OperationRecord, transaction: Transaction): Promise<void> => {
    if (!this.#started) throw new Unavailable('The broker is not ready to take operations yet.')
    // A request that goes on in the background works on it: the job stands by.
    const standby = operation.attempt > 0 ? { startAfter: STANDBY_SECONDS } : {}
    await this.#send(operation.operationId, { db: asDatabase(transaction), ...standby })
  }

  /** May be called again after it failed. */
  async start(execute: Execute, sweeps: readonly Sweep[]): Promise<void> {
    try {
      await this.#boss.start()
      await this.#createQueue()
      for (const sweep of sweeps) await this.#schedule(sweep)
      for (let index = 0; index < this.#concurrency; index += 1) await this.#addWorker(index, execute)
      this.#started = true
    } catch (error) {
      this.#workers = []
      await this.#boss.stop({ graceful: false }).catch((cause) => this.#log.debug({ err: cause }, 'the job queue'))
      throw this.#explain(error)
    }
  }

  wake(): void {
    const idle = this.#workers.findIndex((_, index) => !this.#busy.has(index))
    if (idle >= 0) this.#wake(idle)
  }

  async #addWorker(index: number, execute: Execute): Promise<void> {
    const options = {
      pollingIntervalSeconds: index === 0 ? POLL_SECONDS : IDLE_POLL_SECONDS,
      heartbeatRefreshSeconds: HEARTBEAT_SECONDS / 3
    }
    const worker = await this.#boss.work<OperationJob>(QUEUE, options, async (jobs) => {
      this.#busy.add(index)
      this.wake()
      try {
        for (const job of jobs) await this.#work(job, execute)
      } finally {
        this.#busy.delete(index)
        this.#wake(index)
      }
    })
    this.#workers.push(worker)
  }

  /** Every replica schedules it; pg-boss sends one job each time, and none while one is waiting or runs. */
  async #schedule({ name, every, run }: Sweep): Promise<void> {
    const queue = `sweep-${name}`
    const options = {
      policy: 'exclusive',
      heartbeatSeconds: HEARTBEAT_SECONDS,
      expireInSeconds: EXPIRE_SECONDS
    } as const
    if ((await this.#boss.getQueue(queue)) === null) await this.#boss.createQueue(queue, options)
    await this.#boss.work(
      queue,
      { pollingIntervalSeconds: SWEEP_POLL_SECONDS, heartbeatRefreshSeconds: HEARTBEAT_SECONDS / 3 },
      run
    )
    await this.#boss.schedule(queue, SCHEDULES[every])
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#boss.offWork(QUEUE, { wait: true })
  }

  async close(): Promise<void> {
    await this.#boss.stop({ graceful: true, timeout: STOP_TIMEOUT_MS })
  }

  async #createQueue(): Promise<void> {
    const options = {
      policy: 'singleton',
      heartbeatSeconds: HEARTBEAT_SECONDS,
      expireInSeconds: EXPIRE_SECONDS,
      // The operation's own deadline ends it, not a count of attempts.
      retryLimit: 1_000_000,
      retryBackoff: true,
      retryDelay: backoff.firstSeconds,
      retryDelayMax: backoff.maximumSeconds,
      deleteAfterSeconds: 600
    }
    const queue = await this.#boss.getQueue(QUEUE)
    if (queue === null) await this.#boss.createQueue(QUEUE, options)
    else if (queue.notify) await this.#boss.updateQueue(QUEUE, { notify: false })
  }

  /** Resolves when the job is done; throws to have pg-boss bring it again after its backoff. */
  async #work(job: Job<OperationJob>, execute: Execute): Promise<void> {
    const { operationId } = job.data
    const signal = AbortSignal.any([job.signal, this.#stopping.signal])
    const execution = await this.#executeWhenFree(operationId, execute, signal)
    if (execution === 'handed-back') {
      // A failed job would wait for its backoff: a new one can be taken by another replica at once.
      await this.#send(operationId)
      return
    }
    if (execution !== 'done') throw new Error(`operation ${operationId}: ${execution}`)
  }

  /** A delete may have to wait until the create that it halted has let go. */
  async #executeWhenFree(operationId: string, execute: Execute, signal: AbortSignal): Promise<Execution> {
    const until = Date.now() + HELD_FOR_MS
    while (true) {
      const execution = await execute(operationId, signal)
      if (execution !== 'held' || signal.aborted || Date.now() > until) return execution
      await sleep(HELD_MS)
    }
  }

  /** Jobs of one operation are executed one after the other; who works on a resource, the operations row says. */
  async #send(operationId: string, options: { db?: Db; startAfter?: number } = {}): Promise<void> {
    const id = await this.#boss.send(QUEUE, { operationId }, { singletonKey: operationId, ...options })
    if (id === null) this.#log.warn({ operation: operationId }, 'the job queue took no job for an operation')
  }

  /** A worker that has found a job lets an idle one look for the next, and looks again itself when it is done. */
  #wake(index: number): void {
    const worker = this.#workers[index]
    if (worker !== undefined) this.#boss.notifyWorker(worker)
  }
}

function isDatabase(value: unknown): value is Db {
  return typeof value === 'object' && value !== null && 'executeSql' in value && typeof value.executeSql === 'function'
}

function asDatabase(transaction: Transaction): Db {
  if (!isDatabase(transaction)) throw new TypeError('the pg-boss runner needs a transaction of the PostgreSQL store')
  return transaction
}
