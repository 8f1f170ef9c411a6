import type { Enqueue, OperationJob } from './store.ts'

/**
 * What becomes of a job. `done`: it is complete. `again`: send it again at once, because this process is stopping. `later`:
 * send it again in about a second, because the operation has to wait for another. `elsewhere`: send it again after a delay that
 * grows up to 10 s, because this replica lacks its provider or plan.
 */
export type Execution = 'done' | 'again' | 'later' | 'elsewhere'

/**
 * Executes one attempt of an operation. It never throws for an error of a provider; it throws when the store cannot be
 * reached, and the job is then repeated.
 * @param signal aborts when the process stops
 * @param onClaimed called when the job is not needed any more, because a lease stands for it
 */
export type Execute = (job: OperationJob, signal: AbortSignal, onClaimed: () => void) => Promise<Execution>

/** Work that one replica repeats on a schedule. */
export interface Sweep {
  readonly name: string
  readonly every: 'minute' | 'hour'
  run(): Promise<void>
}

/** Executes asynchronous operations. The `operations` record stays the one source of truth. */
export interface Runner {
  /** Sends the job of an operation in the transaction that writes it. */
  readonly enqueue: Enqueue
  /** To be called when a job that was sent is committed: looks for it at once. */
  wake(): void
  /**
   * Sends a job unless one is waiting.
   * @param options `now`: a waiting job that is delayed starts at once
   */
  ensure(job: OperationJob, options?: { readonly now?: boolean }): Promise<void>
  /** Begins to execute jobs, those that were left unfinished before included, and to sweep. */
  start(execute: Execute, sweeps: readonly Sweep[]): Promise<void>
  /** Takes no more jobs, aborts what runs and waits until it has stopped. Requests may still send jobs. */
  stop(): Promise<void>
  /** Closes connections; no job may be sent any more. */
  close(): Promise<void>
}
