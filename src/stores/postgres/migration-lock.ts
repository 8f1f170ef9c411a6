import { setTimeout as sleep } from 'node:timers/promises'
import { escapeLiteral, type Pool, type PoolClient } from 'pg'
import type { TaskLog } from '../../core/provider.ts'
import { connect } from './transactions.ts'
import { asUnavailable } from './trouble.ts'

export interface MigrationLockOptions {
  readonly pool: Pool
  readonly schema: string
  readonly signal: AbortSignal | undefined
  readonly log: Pick<TaskLog, 'info'> | undefined
}

/** How long to wait between two tries to get the lock; half to all of it. */
const POLL_MS = 500
/** How often to log that another replica holds the lock. */
const LOG_MS = 15_000
/** How often to check that the connection with the lock is alive. */
const BEAT_MS = 10_000

/**
 * Runs `work` on the one replica that has the lock of the schema.
 *
 * An open transaction holds the lock, so that it also works through PgBouncer in transaction mode, and ends with its
 * connection. Neither the holder nor those that wait keep a snapshot: `CREATE INDEX CONCURRENTLY` waits for every
 * transaction that has one, so a replica inside `SELECT pg_advisory_xact_lock()` would never let it finish.
 *
 * @param work gets a signal that also aborts when the lock is lost
 * @throws {Unavailable} when the database cannot be reached, or the lock was lost
 */
export async function withMigrationLock<T>(
  options: MigrationLockOptions,
  work: (signal: AbortSignal) => Promise<T>
): Promise<T> {
  const { pool, signal } = options
  const checkout = await connect(pool)
  const { client } = checkout
  const lost = new AbortController()
  let beat: NodeJS.Timeout | undefined
  try {
    await acquire(client, options)
    beat = heartbeat(client, (error) => {
      checkout.broken = error
      lost.abort(asUnavailable(error))
    })
    return await work(signal === undefined ? lost.signal : AbortSignal.any([signal, lost.signal]))
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason
    throw lost.signal.aborted ? lost.signal.reason : asUnavailable(error)
  } finally {
    clearInterval(beat)
    if (!lost.signal.aborted) {
      await client.query('ROLLBACK').catch((error: Error) => {
        checkout.broken = error
      })
    }
    checkout.release()
  }
}

async function acquire(client: PoolClient, { schema, signal, log }: MigrationLockOptions): Promise<void> {
  for (let logAt = performance.now(); ; ) {
    signal?.throwIfAborted()
    await beginUnbounded(client)
    // Also keeps two replicas from creating the schema at once, which fails with a unique violation.
    // Without parameters, because those take the extended protocol, which keeps the snapshot until the next statement.
    const { rows } = await client.query<{ locked: boolean }>(
      `SELECT pg_try_advisory_xact_lock(hashtext('osb-migrate'), hashtext(${escapeLiteral(schema)})) AS locked`
    )
    if (rows[0]?.locked === true) return
    await client.query('ROLLBACK')
    if (performance.now() >= logAt) {
      log?.info({ schema }, 'another replica migrates the schema; waiting for it')
      logAt = performance.now() + LOG_MS
    }
    await sleep(POLL_MS * (0.5 + Math.random() / 2), undefined, signal === undefined ? {} : { signal })
  }
}

/** Begins a transaction that may take as long as it needs, whatever the role or the database has as a default. */
export async function beginUnbounded(client: PoolClient): Promise<void> {
  await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0`)
  // PostgreSQL 17 or later.
  await client.query(
    `SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout' AND setting <> '0'`
  )
}

/** `SHOW` takes no snapshot. */
function heartbeat(client: PoolClient, onLost: (error: Error) => void): NodeJS.Timeout {
  let answered = true
  const beat = setInterval(() => {
    if (!answered) {
      clearInterval(beat)
      onLost(new Error(`timeout expired: the connection with the migration lock was silent for ${BEAT_MS} ms`))
      return
    }
    answered = false
    client.query('SHOW transaction_isolation').then(
      () => {
        answered = true
      },
      (error: Error) => {
        clearInterval(beat)
        onLost(error)
      }
    )
  }, BEAT_MS)
  return beat
}
