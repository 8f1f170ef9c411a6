import type { Pool, PoolClient, QueryResultRow } from 'pg'
import { OutcomeUnknown, Unavailable } from '../../core/provider.ts'
import { inCallSpan } from '../../telemetry/index.ts'
import { sqlTypes } from './sql-types.ts'
import { asUnavailable, isLost, unreachable } from './trouble.ts'

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

/**
 * How long the store may take for one call, in milliseconds: waiting for a connection, a transaction and its COMMIT
 * together. The request that waits has to be answered within 8 s.
 */
const CALL_MS = 5_000

/**
 * The server gives up before we do, so that nothing is written, and no lock kept, on behalf of a caller that has gone.
 * The isolation is fixed because each statement has to see what was committed while it waited for a lock.
 */
const begin = (lockMs: number) => `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
  SET LOCAL statement_timeout = 4000;
  SET LOCAL lock_timeout = ${lockMs};
  SET LOCAL idle_in_transaction_session_timeout = 5000`
const LOCK_MS = 3_000

const SPAN_ATTRIBUTES = { 'db.system.name': 'postgresql' }

/** Runs one reading statement. */
export async function read<Row extends QueryResultRow>(
  pool: Pool,
  text: string,
  values: readonly unknown[] = []
): Promise<Row[]> {
  return inCallSpan('store read', SPAN_ATTRIBUTES, () =>
    withClient(pool, ({ client }) => sqlOf(client).query<Row>(text, values))
  )
}

/**
 * Runs one reading statement that takes the time it needs, and that the server keeps from writing.
 * @throws {Unavailable} when the database could not be used
 */
export async function readOnly<Row extends QueryResultRow>(
  pool: Pool,
  text: string,
  values: readonly unknown[] = []
): Promise<Row[]> {
  const checkout = await connect(pool)
  const { client } = checkout
  try {
    await client.query('BEGIN READ ONLY')
    const rows = await sqlOf(client).query<Row>(text, values)
    await client.query('COMMIT')
    return rows
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
 * @param options `lockMs`: how long a statement may wait for a lock
 */
export async function inTransaction<T>(
  pool: Pool,
  work: (sql: SqlTransaction) => Promise<T>,
  { lockMs = LOCK_MS }: { lockMs?: number } = {}
): Promise<T> {
  let committing = false
  return inCallSpan('store transaction', SPAN_ATTRIBUTES, () =>
    withClient(pool, async (checkout) => {
      const { client } = checkout
      await client.query(begin(lockMs))
      try {
        const result = await work(sqlOf(client))
        committing = true
        const { command } = await client.query('COMMIT')
        // A COMMIT after a statement that failed, whose error somebody swallowed, is answered ROLLBACK and no error.
        if (command !== 'COMMIT') throw new Error('The transaction was rolled back: a statement in it had failed.')
        return result
      } catch (error) {
        await client.query('ROLLBACK').catch((trouble: unknown) => {
          checkout.broken = toError(trouble)
        })
        throw error
      }
    })
  ).catch((error: unknown) => {
    throw committing && error instanceof Unavailable ? new OutcomeUnknown(error.message, { cause: error.cause }) : error
  })
}

/** A connection on loan from the pool. */
export interface Checkout {
  readonly client: PoolClient
  /** Why the connection must not go back to the pool. */
  broken?: Error
  /** Gives it back. */
  release(): void
}

async function withClient<T>(pool: Pool, work: (checkout: Checkout) => Promise<T>): Promise<T> {
  const until = Date.now() + CALL_MS
  const checkout = await connect(pool)
  try {
    return await within(until - Date.now(), work(checkout), () => {
      checkout.broken = new Error('timeout expired')
      return checkout.broken
    })
  } catch (error) {
    if (checkout.broken !== undefined) throw unreachable(error)
    // The server may have said goodbye in the answer to a statement, before the connection closes.
    if (isLost(error)) checkout.broken = toError(error)
    throw asUnavailable(error)
  } finally {
    checkout.release()
  }
}

/** How long the latest of those that wanted a connection of a pool has waited, and since when others wait, oldest first. */
interface Waits {
  latestMs: number
  readonly since: Set<{ readonly began: number }>
}

const waits = new WeakMap<Pool, Waits>()

function waitsFor(pool: Pool): Waits {
  const known = waits.get(pool) ?? { latestMs: 0, since: new Set() }
  waits.set(pool, known)
  return known
}

/** How long it takes at present to get a connection, in milliseconds; 0 while nobody waits. */
export function queueMs(pool: Pool): number {
  if (pool.waitingCount === 0) return 0
  const { latestMs, since } = waitsFor(pool)
  const [oldest] = since
  return Math.max(latestMs, oldest === undefined ? 0 : Date.now() - oldest.began)
}

/**
 * A connection of the pool, which waits for ever unless it was told otherwise, and it is not ours to tell.
 * @throws {Unavailable}
 */
export function connect(pool: Pool): Promise<Checkout> {
  const waiting = waitsFor(pool)
  const entry = { began: Date.now() }
  waiting.since.add(entry)
  return new Promise((resolve, reject) => {
    let late = false
    const timer = setTimeout(() => {
      late = true
      waiting.since.delete(entry)
      reject(unreachable(new Error(`timeout expired: no connection within ${CALL_MS} ms`)))
    }, CALL_MS)
    pool.connect((error, client, release) => {
      clearTimeout(timer)
      waiting.since.delete(entry)
      waiting.latestMs = Date.now() - entry.began
      if (client === undefined) reject(asUnavailable(error))
      else if (late) release()
      // Here and not a microtask later: one network packet can hold the end of the login and a FATAL error.
      else resolve(checkoutOf(client))
    })
  })
}

function checkoutOf(client: PoolClient): Checkout {
  const onError = (error: Error) => {
    checkout.broken = error
  }
  // The pool takes its listener off while a client is checked out; a connection lost then would end the process.
  client.on('error', onError)
  const checkout: Checkout = {
    client,
    release() {
      // The pool puts its listener back before ours goes. With an error it closes the connection.
      client.release(checkout.broken)
      client.off('error', onError)
    }
  }
  return checkout
}

async function within<T>(ms: number, work: Promise<T>, onTimeout: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(onTimeout()), ms)
  })
  try {
    return await Promise.race([work, timeout])
  } finally {
    clearTimeout(timer)
  }
}

function sqlOf(client: PoolClient): SqlTransaction {
  return {
    async query<Row extends QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
      return (await client.query<Row>({ text, values: [...values], types: sqlTypes })).rows
    },
    async executeSql(text, values) {
      const { rows } = await client.query<QueryResultRow>(text, values)
      return { rows }
    }
  }
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
