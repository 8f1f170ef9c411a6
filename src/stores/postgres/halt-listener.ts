import pg, { type Pool } from 'pg'
import type { TaskLog } from '../../core/provider.ts'
import { BoundedClient, settingsLike } from '../../postgres/index.ts'
import type { Tables } from './schema.ts'
import { sqlTypes } from './sql-types.ts'

const FIRST_BACKOFF_MS = 50
const MAX_BACKOFF_MS = 5_000
/** A firewall may drop a silent connection, and tell neither side. */
const HEARTBEAT_MS = 5_000
const ANSWER_MS = 3_000

/**
 * Receives notifications of cancels (`halts`) on a connection of its own, because a connection of the pool can be closed at any
 * time. It connects with the first listener and reconnects whenever the connection is lost; then it looks up the cancels that it
 * missed. Behind PgBouncer in transaction mode no notification arrives: workers notice a cancel when they renew their lease.
 */
export class HaltListener {
  readonly #pool: Pool
  readonly #tables: Tables
  readonly #log: Pick<TaskLog, 'warn'> | undefined
  readonly #listeners = new Set<(operationId: string) => void>()
  readonly #closing = new AbortController()
  #running: Promise<void> | undefined

  constructor(options: { pool: Pool; tables: Tables; log: Pick<TaskLog, 'warn'> | undefined }) {
    this.#pool = options.pool
    this.#tables = options.tables
    this.#log = options.log
  }

  add(listener: (operationId: string) => void): () => void {
    // A function of its own for each call, so that one listener given twice is stopped once for each.
    const entry = (operationId: string) => listener(operationId)
    this.#listeners.add(entry)
    this.#running ??= this.#run()
    return () => {
      this.#listeners.delete(entry)
    }
  }

  async close(): Promise<void> {
    this.#listeners.clear()
    this.#closing.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    for (let backoff = FIRST_BACKOFF_MS; !signal.aborted; backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)) {
      try {
        await this.#listen(() => {
          backoff = FIRST_BACKOFF_MS
        })
      } catch (error) {
        if (!signal.aborted)
          this.#log?.warn({ err: error }, 'the connection that hears of halts was lost; trying again')
      }
      await pause(backoff * (0.5 + Math.random()), signal)
    }
  }

  /** Throws when the connection is lost or the listener is closed. */
  async #listen(onConnected: () => void): Promise<never> {
    const { signal } = this.#closing
    const client = new BoundedClient(
      settingsLike(this.#pool.options, {
        application_name: 'osb-halt',
        connectionTimeoutMillis: ANSWER_MS,
        silenceMs: ANSWER_MS
      })
    )
    const { promise: lost, reject } = Promise.withResolvers<never>()
    const onClose = () => reject(new Error('closed'))
    client.on('error', reject)
    client.on('end', () => reject(new Error('Connection terminated')))
    signal.addEventListener('abort', onClose, { once: true })
    // It also rejects when nobody waits for it any more.
    lost.catch(() => {})
    client.on('notification', ({ payload }) => this.#tell(payload))
    try {
      await Promise.race([client.connect(), lost])
      await Promise.race([client.query(`LISTEN ${pg.escapeIdentifier(this.#tables.haltChannel)}`), lost])
      await Promise.race([this.#catchUp(client), lost])
      onConnected()
      while (true) {
        await Promise.race([pause(HEARTBEAT_MS, signal), lost])
        await Promise.race([client.query('SELECT'), lost])
      }
    } finally {
      signal.removeEventListener('abort', onClose)
      await client.end()
    }
  }

  /** Halts whose notification was missed while there was no connection. */
  async #catchUp(client: pg.Client): Promise<void> {
    const { rows } = await client.query<{ operation_id: string }>({
      text: `SELECT halted.operation_id FROM ${this.#tables.operations} AS halted
        JOIN ${this.#tables.operations} AS removal ON removal.halts = halted.operation_id
        WHERE removal.state = 'in progress' AND halted.lease_until > clock_timestamp()`,
      types: sqlTypes
    })
    for (const row of rows) this.#tell(row.operation_id)
  }

  #tell(operationId: string | undefined): void {
    if (operationId !== undefined) for (const listener of this.#listeners) listener(operationId)
  }
}

/** Ends early, without an error, when the signal aborts. */
function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve()
      return
    }
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done)
  })
}
