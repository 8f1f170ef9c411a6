import type { Pool, QueryResultRow } from 'pg'
import { OutcomeUnknown, Unavailable } from '../../core/provider.ts'
import { localSettings, type SessionBounds } from '../../postgres/index.ts'
import { inCallSpan } from '../../telemetry/index.ts'
import { type Checkout, connect, toError, withClient } from './checkout.ts'
import { repeated } from './full-lock-table.ts'
import { sqlTypes } from './sql-types.ts'
import { asUnavailable, sqlState } from './trouble.ts'

export { type Checkout, connect, queueMs } from './checkout.ts'

/** Runs one statement. */
export interface Sql {
  query<Row extends QueryResultRow>(text: string, values?: readonly unknown[]): Promise<Row[]>
}

/**
 * The transaction that `enqueue` is called in: what runs on it commits with the operation. It has the shape of
 * pg-boss's `IDatabase`, so that a job can be inserted with the `db` option.
 */
export interface SqlTransaction extends Sql {
  executeSql(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>
}

/** The server gives up before the client does, so that it neither writes nor holds locks for a caller that has gone. */
export const stateBounds: SessionBounds = { statementMs: 4_000, lockMs: 3_000, idleInTransactionMs: 5_000 }
/** Bounds of commands that read a lot. An operator waits for them, not a request. */
const readOnlyBounds: SessionBounds = { statementMs: 600_000, lockMs: 10_000, idleInTransactionMs: 600_000 }

/** The isolation is fixed because each statement has to see what was committed while it waited for a lock. */
const BEGIN = 'BEGIN ISOLATION LEVEL READ COMMITTED'

const SPAN_ATTRIBUTES = { 'db.system.name': 'postgresql' }

/** Runs one reading statement. */
export async function read<Row extends QueryResultRow>(
  pool: Pool,
  text: string,
  values: readonly unknown[] = []
): Promise<Row[]> {
  return inCallSpan('store read', SPAN_ATTRIBUTES, () =>
    withClient(pool, (checkout) =>
      repeated(async () => {
        await confirmEarlierCommits(pool, checkout)
        // A transaction takes two more round trips.
        if (checkout.bounded) return sqlOf(checkout).query<Row>(text, values)
        return transact(checkout, `${BEGIN}; ${localSettings(stateBounds)}`, () =>
          sqlOf(checkout).query<Row>(text, values)
        )
      })
    )
  )
}

/**
 * Runs one reading statement in a read-only transaction, with up to ten minutes.
 * @throws {Unavailable} when the database could not be used
 */
export async function readOnly<Row extends QueryResultRow>(
  pool: Pool,
  text: string,
  values: readonly unknown[] = []
): Promise<Row[]> {
  const checkout = await connect(pool)
  try {
    return await transact(checkout, `${BEGIN} READ ONLY; ${localSettings(readOnlyBounds)}`, () =>
      sqlOf(checkout).query<Row>(text, values)
    )
  } catch (error) {
    checkout.broken = toError(error)
    throw asUnavailable(error)
  } finally {
    checkout.release()
  }
}

/**
 * Commits what `work` wrote, or nothing of it when it throws.
 * @throws {Unavailable} when the database could not be used; when it went away at the COMMIT, the work may have been
 * committed, and nothing here tries it again
 * @param work repeated from the start while the lock table of the server is full, because nothing of it was committed
 * @param options `lockMs`: how long a statement may wait for a lock
 */
export async function inTransaction<T>(
  pool: Pool,
  work: (sql: SqlTransaction) => Promise<T>,
  { lockMs = stateBounds.lockMs }: { lockMs?: number } = {}
): Promise<T> {
  let committing = false
  return inCallSpan('store transaction', SPAN_ATTRIBUTES, () =>
    withClient(pool, (checkout) => {
      const attempt = () =>
        transact(checkout, beginWriting(checkout, lockMs), async () => {
          const result = await work(sqlOf(checkout))
          committing = true
          return result
        })
      return repeated(attempt, () => !committing)
    })
  ).catch((error: unknown) => {
    throw committing && error instanceof Unavailable ? new OutcomeUnknown(error.message, { cause: error.cause }) : error
  })
}

function beginWriting({ bounded }: Checkout, lockMs: number): string {
  const begin = `${BEGIN} READ WRITE`
  if (!bounded) return `${begin}; ${localSettings({ ...stateBounds, lockMs })}`
  return lockMs === stateBounds.lockMs ? begin : `${begin}; SET LOCAL lock_timeout = ${lockMs}`
}

async function transact<T>(checkout: Checkout, begin: string, work: () => Promise<T>): Promise<T> {
  const { client } = checkout
  await client.query(begin).catch(explainRecovery)
  try {
    const result = await work()
    await commit(checkout)
    return result
  } catch (error) {
    if (checkout.broken === undefined) {
      await client.query('ROLLBACK').catch((trouble: unknown) => {
        checkout.broken = toError(trouble)
      })
    }
    throw error
  }
}

/** A standby rejects `BEGIN READ WRITE` as a feature that is not supported. */
function explainRecovery(error: unknown): never {
  if (sqlState(error) !== '0A000') throw error
  throw Object.assign(new Error(toError(error).message, { cause: error }), { code: '25006', severity: 'ERROR' })
}

/** Pools with a COMMIT that the synchronous standby did not confirm, and no confirmed one since. */
const unconfirmed = new WeakSet<Pool>()

/**
 * Commits. When a COMMIT is canceled while it waits for the synchronous standby, PostgreSQL answers COMMIT with a warning,
 * because the change is durable on the primary alone and a failover would lose it. The store itself cancels a COMMIT that takes
 * too long, because `statement_timeout` does not apply to it.
 */
async function commit({ client, pool, broken }: Checkout): Promise<void> {
  if (broken !== undefined) throw broken
  const warnings: string[] = []
  const note = ({ code, message }: { code?: string | undefined; message?: string | undefined }) => {
    if (code?.startsWith('01')) warnings.push(message ?? code)
  }
  client.on('notice', note)
  try {
    const { command } = await client.query('COMMIT')
    // A COMMIT after a statement that failed, whose error was swallowed, is answered ROLLBACK and no error.
    if (command !== 'COMMIT') throw new Error('The transaction was rolled back: a statement in it had failed.')
  } finally {
    client.off('notice', note)
  }
  if (warnings.length === 0) return
  unconfirmed.add(pool)
  const cause = new Error(`the COMMIT was answered with a warning: ${warnings.join('; ')}`)
  throw new Unavailable('The database of the broker did not confirm that it has kept the change.', { cause })
}

/**
 * Readers see a change that was not confirmed, and must not report it to a platform. So after such a COMMIT, the next reader
 * commits a WAL record. The standby confirms it only together with everything that was committed before.
 */
async function confirmEarlierCommits(pool: Pool, checkout: Checkout): Promise<void> {
  if (!unconfirmed.has(pool)) return
  await transact(checkout, beginWriting(checkout, stateBounds.lockMs), () =>
    checkout.client.query("SELECT pg_logical_emit_message(true, 'osb', '')")
  )
  unconfirmed.delete(pool)
}

function sqlOf(checkout: Checkout): SqlTransaction {
  const { client } = checkout
  // Nothing is sent any more for a caller that has been told that it was given up.
  const requireUsable = () => {
    if (checkout.broken !== undefined) throw checkout.broken
  }
  return {
    async query<Row extends QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
      requireUsable()
      return (await client.query<Row>({ text, values: [...values], types: sqlTypes })).rows
    },
    async executeSql(text, values) {
      requireUsable()
      const { rows } = await client.query<QueryResultRow>(text, values)
      return { rows }
    }
  }
}
