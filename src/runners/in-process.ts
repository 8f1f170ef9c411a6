import { backoffMs } from '../core/backoff.ts'
import type { TaskLog } from '../core/provider.ts'
import type { Execute, Execution, Runner, Sweep } from '../core/runner.ts'
import type { Enqueue, OperationJob } from '../core/store.ts'

/** Delay of a job that could not be executed now, and of one that needs a plan or provider that is not there. */
const LATER_MS = 50
const ELSEWHERE_MS = 1_000
const INTERVALS_MS = { minute: 60_000, hour: 3_600_000 } as const

/** A job that waits for its time or is being executed. */
interface Entry {
  readonly job: OperationJob
  /** Absent while it is executed. */
  timer?: NodeJS.Timeout
  failures: number
}

/**
 * Executes operations in this process, for the memory store: jobs are lost when the process ends, as the store is. It limits
 * neither the number of operations nor the share of a platform.
 */
export class InProcessRunner implements Runner {
  readonly #log: TaskLog
  readonly #stopping = new AbortController()
  readonly #executing = new Set<Promise<void>>()
  readonly #entries = new Set<Entry>()
  #execute: Execute | undefined
  #sweepers: NodeJS.Timeout[] = []

  constructor(log: TaskLog) {
    this.#log = log
  }

  readonly enqueue: Enqueue = async (job, _transaction, delayMs = 0) => {
    this.#schedule({ job, failures: 0 }, delayMs)
  }

  /** A job is executed as soon as its time has come. */
  wake(): void {}

  async ensure(job: OperationJob, { now = false }: { readonly now?: boolean } = {}): Promise<void> {
    const waiting = [...this.#entries].find(
      ({ job: { operationId }, timer }) => operationId === job.operationId && timer !== undefined
    )
    if (waiting === undefined) this.#schedule({ job, failures: 0 }, 0)
    else if (now) this.#schedule(waiting, 0)
  }

  async start(execute: Execute, sweeps: readonly Sweep[]): Promise<void> {
    this.#sweepers = sweeps.map(({ name, every, run }) => {
      let running = false
      const sweep = async () => {
        if (running) return
        running = true
        await run().catch((error: unknown) => this.#log.warn({ err: error, sweep: name }, 'a sweep failed'))
        running = false
      }
      return setInterval(sweep, INTERVALS_MS[every]).unref()
    })
    this.#execute = execute
    for (const entry of this.#entries) this.#schedule(entry, 0)
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    for (const sweeper of this.#sweepers) clearInterval(sweeper)
    for (const { timer } of this.#entries) clearTimeout(timer)
    await Promise.all(this.#executing)
  }

  async close(): Promise<void> {}

  /** At the earliest in the next turn of the event loop, because the store commits an operation after it has sent the job. */
  #schedule(entry: Entry, delayMs: number): void {
    clearTimeout(entry.timer)
    this.#entries.add(entry)
    if (this.#stopping.signal.aborted) return
    entry.timer = setTimeout(() => {
      if (this.#execute === undefined) return
      delete entry.timer
      const execution = this.#run(entry, this.#execute).finally(() => this.#executing.delete(execution))
      this.#executing.add(execution)
    }, delayMs)
  }

  async #run(entry: Entry, execute: Execute): Promise<void> {
    const execution = await this.#try(entry, execute)
    this.#entries.delete(entry)
    if (execution === 'done') return
    if (execution === 'again') return this.#schedule(entry, 0)
    if (execution === 'later') return this.#schedule(entry, LATER_MS)
    if (execution === 'elsewhere') return this.#schedule(entry, ELSEWHERE_MS)
    entry.failures += 1
    this.#schedule(entry, backoffMs(entry.failures))
  }

  async #try({ job }: Entry, execute: Execute): Promise<Execution | 'failed'> {
    try {
      return await execute(job, this.#stopping.signal, () => {})
    } catch (error) {
      const { operationId } = job
      this.#log.error({ err: error, operation: operationId }, 'an operation could not be executed; it is tried again')
      return 'failed'
    }
  }
}
