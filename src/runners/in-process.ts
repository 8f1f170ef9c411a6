import { setTimeout as sleep } from 'node:timers/promises'
import type { TaskLog } from '../core/provider.ts'
import type { Execute, Execution, Runner, Sweep } from '../core/runner.ts'
import type { OperationRecord } from '../core/store.ts'
import { backoffMs } from './backoff.ts'

/** How soon an operation that another worker holds is looked at again. */
const HELD_MS = 50
const INTERVALS_MS = { minute: 60_000, hour: 3_600_000 } as const

/**
 * Executes operations in this process, for the memory store: what is enqueued is lost when the process ends, as the
 * store is.
 */
export class InProcessRunner implements Runner {
  readonly #log: TaskLog
  readonly #stopping = new AbortController()
  readonly #jobs = new Set<Promise<void>>()
  #execute: Execute | undefined
  #waiting: string[] = []
  #sweepers: NodeJS.Timeout[] = []

  constructor(log: TaskLog) {
    this.#log = log
  }

  readonly enqueue = async ({ operationId }: OperationRecord): Promise<void> => {
    if (this.#execute === undefined) this.#waiting.push(operationId)
    else this.#begin(operationId, this.#execute)
  }

  /** It knows already. */
  wake(): void {}

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
    for (const operationId of this.#waiting) this.#begin(operationId, execute)
    this.#waiting = []
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    for (const sweeper of this.#sweepers) clearInterval(sweeper)
    await Promise.all(this.#jobs)
  }

  async close(): Promise<void> {}

  #begin(operationId: string, execute: Execute): void {
    const job = this.#work(operationId, execute).finally(() => this.#jobs.delete(job))
    this.#jobs.add(job)
  }

  async #work(operationId: string, execute: Execute): Promise<void> {
    const { signal } = this.#stopping
    // The store commits the operation after it has handed it over.
    await new Promise((resolve) => setImmediate(resolve))
    for (let failures = 0; !signal.aborted; ) {
      const execution = await this.#try(operationId, execute)
      if (execution === 'done' || execution === 'handed-back') return
      if (execution === 'retry') failures += 1
      const delay = execution === 'held' ? HELD_MS : backoffMs(failures)
      await sleep(delay, undefined, { signal }).catch(() => undefined)
    }
  }

  async #try(operationId: string, execute: Execute): Promise<Execution> {
    try {
      return await execute(operationId, this.#stopping.signal)
    } catch (error) {
      this.#log.error({ err: error, operation: operationId }, 'an operation could not be executed; it is tried again')
      return 'retry'
    }
  }
}
