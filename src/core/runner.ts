import type { Enqueue } from './store.ts'

/**
 * What became of an execution. `done`: nothing more to do. `retry`: the attempt failed and the operation wants another
 * one after a backoff. `held`: another worker has it; look again soon. `handed-back`: the process is stopping; any
 * runner may take it at once.
 */
export type Execution = 'done' | 'retry' | 'held' | 'handed-back'

/**
 * Executes one attempt of an operation. It never throws for what a provider does; it throws when the store cannot be
 * reached, and is then to be called again. `signal` aborts when the process stops or the job is taken away.
 */
export type Execute = (operationId: string, signal: AbortSignal) => Promise<Execution>

/** Work that is to be done again and again, by one replica. */
export interface Sweep {
  readonly name: string
  readonly every: 'minute' | 'hour'
  run(): Promise<void>
}

/** Who executes asynchronous operations. The `operations` record stays the one source of truth. */
export interface Runner {
  /** Hands over an operation in the transaction that writes it. */
  readonly enqueue: Enqueue
  /** To be called when what was enqueued is committed: looks for it at once. */
  wake(): void
  /** Begins to execute what is enqueued, what was left unfinished before included, and to sweep. */
  start(execute: Execute, sweeps: readonly Sweep[]): Promise<void>
  /** Takes no more work, aborts what runs and waits until it has let go. Requests may still enqueue. */
  stop(): Promise<void>
  /** Closes connections; nothing may be enqueued any more. */
  close(): Promise<void>
}
