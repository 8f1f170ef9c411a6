import type { QueryResultRow } from 'pg'
import type { TaskLog } from '../../core/provider.ts'
import type { Query } from './statement.ts'
import { unblocked } from './waiting.ts'

/** One task's claim on the server: what its sessions are called, and when they must stop. */
export interface Work {
  /** `osb:<token>`, or `osb:<token>_<suffix>` of a binding; opaque, because every tenant can see it. */
  readonly applicationName: string
  readonly signal: AbortSignal
  readonly log: TaskLog
  /**
   * Token of an instance. In databases of tenants, the broker waits for sessions of its logins, and does not end them.
   * Absent when the instance is removed.
   */
  readonly spares?: string
}

/** How a connection is given back: for use by others or, when something failed on it, never again. */
export type Release = (broken: boolean, pid: number | undefined) => Promise<void>

/** Ends the sessions that block a statement of the server process `pid`, which has waited for this long. */
export type Unblock = (pid: number, waitedMs: number) => Promise<void>

/** An admin connection in the hands of one task. Nothing is sent once the task's signal has aborted. */
export class Session {
  readonly work: Work
  readonly #query: Query
  readonly #release: Release
  readonly #unblock: Unblock
  #pid: number | undefined
  #broken = false

  constructor(work: Work, { query, release, unblock }: { query: Query; release: Release; unblock: Unblock }) {
    this.work = work
    this.#query = query
    this.#release = release
    this.#unblock = unblock
  }

  /** Puts the task's name on the connection, so that a later attempt finds and ends it. */
  async open(): Promise<this> {
    try {
      const [row] = await this.query<{ pid: number }>(
        `SELECT set_config('application_name', $1, false), pg_backend_pid() AS pid`,
        [this.work.applicationName]
      )
      this.#pid = row?.pid
      return this
    } catch (error) {
      await this.close()
      throw error
    }
  }

  /**
   * Runs one statement, in a transaction of its own. While it waits for a lock, the sessions that block it are ended.
   * @throws the signal's reason as soon as it aborts; the statement is then ended by {@link Session.close}
   */
  async query<Row extends QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<Row[]> {
    this.work.signal.throwIfAborted()
    const { log, signal } = this.work
    const unblock = async (waitedMs: number) => {
      if (this.#pid !== undefined) await this.#unblock(this.#pid, waitedMs)
    }
    try {
      return await unblocked(unlessAborted(this.#query<Row>(sql, values), signal), { log, unblock })
    } catch (error) {
      this.#broken = true
      throw error
    }
  }

  /** Runs the statements that a query makes up (psql's `\gexec`): the server quotes, and decides what is missing. */
  async generate(sql: string, values: readonly unknown[]): Promise<void> {
    for (const row of await this.query<Record<string, unknown>>(sql, values)) {
      for (const statement of Object.values(row)) await this.query(String(statement))
    }
  }

  /** Gives the connection back; after an abort the statement that still runs is ended on the server. */
  async close(): Promise<void> {
    await this.#release(this.#broken || this.work.signal.aborted, this.#pid)
  }
}

/** Settles as the promise does, or rejects with the signal's reason, whichever comes first. */
export async function unlessAborted<T>(running: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return running
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const onAbort = () => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    return await Promise.race([running, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
