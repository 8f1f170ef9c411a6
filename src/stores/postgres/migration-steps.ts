import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool, PoolClient, QueryResult } from 'pg'
import type { TaskLog } from '../../core/provider.ts'
import type { Step } from './migration-files.ts'
import { beginUnbounded } from './migration-lock.ts'
import type { Tables } from './schema.ts'
import { type Checkout, connect } from './transactions.ts'
import { sqlState } from './trouble.ts'

/** What the steps of a migration run with. */
export interface MigrationRun {
  readonly pool: Pool
  readonly tables: Tables
  readonly signal: AbortSignal
  readonly log: Pick<TaskLog, 'info' | 'warn'> | undefined
}

type Work<T> = (client: PoolClient) => Promise<T>

/**
 * How long a statement waits for the lock of a table. Requests of other replicas wait behind it for as long, and their
 * own lock timeout is 3 s.
 */
const LOCK_MS = 1_000
/** Pause before the next try, in milliseconds: half to all of it. It grows, so that a `pg_dump` of hours costs little. */
const PAUSE = { first: 1_000, longest: 10_000 }
/** How often to log what a step waits for. */
const LOG_MS = 15_000
/** Pause between two batches of a repeated step, so that requests come first. */
const BATCH_PAUSE_MS = 20
/** Replaces the query timeout that a pool may have: about 24 days, the longest that a timer takes. */
const NO_TIMEOUT = 2 ** 31 - 1
/** Another transaction held a lock for too long, or waited for one of ours. */
const IN_THE_WAY = new Set(['55P03', '40P01'])

/**
 * Runs a step until it succeeds.
 * @param also runs in the transaction of the step, or in one of its own after a step that cannot have any
 */
export async function runStep(run: MigrationRun, step: Step, also?: Work<void>): Promise<void> {
  const { text, repeat, bare } = step
  if (!bare && !repeat) {
    await transact(run, async (client) => {
      await changedBy(client, text)
      await also?.(client)
    })
    return
  }
  if (bare) await makingWay(run, () => runBare(run, step))
  else while ((await transact(run, (client) => changedBy(client, text))) > 0) await pause(run, BATCH_PAUSE_MS)
  if (also !== undefined) await transact(run, also)
}

/** Commits what `work` wrote. As long as others hold the locks that it needs, it makes way and tries again. */
export function transact<T>(run: MigrationRun, work: Work<T>): Promise<T> {
  const transaction: Work<T> = async (client) => {
    await beginUnbounded(client)
    try {
      await client.query(`SET LOCAL lock_timeout = ${LOCK_MS}`)
      await client.query('SELECT set_config($1, $2, true)', ['search_path', `"${run.tables.schema}"`])
      const result = await work(client)
      await client.query('COMMIT')
      return result
    } catch (error) {
      await client.query('ROLLBACK')
      throw error
    }
  }
  return makingWay(run, () => withClient(run, transaction))
}

/** Runs a statement outside a transaction. It waits for other transactions, but keeps no reader or writer waiting. */
async function runBare(run: MigrationRun, { text, index }: Step): Promise<void> {
  if (index !== undefined) await transact(run, (client) => client.query(dropIfInvalid(index)))
  await withClient(run, async (client, checkout) => {
    const { rows } = await client.query<{ name: string }>(
      `SELECT name, set_config(name, '0', false) FROM pg_settings
      WHERE name IN ('statement_timeout', 'lock_timeout') AND setting <> '0'`
    )
    try {
      await changedBy(client, text.replaceAll(':schema.', `"${run.tables.schema}".`))
    } finally {
      // RESET would not bring back what a host has set.
      if (rows.length > 0) checkout.broken = new Error('The timeouts of the session were changed for a migration.')
    }
  })
}

/**
 * A build that was interrupted leaves an invalid index. The lock waits for a build that a dead replica has left to the
 * server, so that it is used and not thrown away.
 */
function dropIfInvalid({ name, table }: { name: string; table: string }): string {
  return `LOCK TABLE ${table} IN SHARE UPDATE EXCLUSIVE MODE;
    DO $$ BEGIN
      IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('${name}') AND NOT indisvalid) THEN
        DROP INDEX ${name};
      END IF;
    END $$`
}

/** Runs statements and returns how many rows the last one changed. */
async function changedBy(client: PoolClient, text: string): Promise<number> {
  const config = { text, query_timeout: NO_TIMEOUT }
  const result: QueryResult | QueryResult[] = await client.query(config)
  return (Array.isArray(result) ? result.at(-1) : result)?.rowCount ?? 0
}

/** Tries again as long as somebody is in the way, and logs who that is. */
async function makingWay<T>(run: MigrationRun, work: () => Promise<T>): Promise<T> {
  let logAt = 0
  for (let wait = PAUSE.first; ; wait = Math.min(wait * 1.5, PAUSE.longest)) {
    run.signal.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      if (!IN_THE_WAY.has(sqlState(error) ?? '')) throw error
    }
    if (performance.now() >= logAt) {
      logAt = performance.now() + LOG_MS
      const holders = await withClient(run, (client) => holdersOfLocks(client, run.tables))
      run.log?.warn({ holders }, 'a migration waits for the locks of tables, and tries again until it gets them')
    }
    await pause(run, wait * (0.5 + Math.random() / 2))
  }
}

/** The sessions with the oldest transactions that hold locks on tables of the schema. */
async function holdersOfLocks(client: PoolClient, { schema }: Tables): Promise<object[]> {
  const { rows } = await client.query<object>(
    `SELECT lock.pid, session.application_name AS application, array_agg(DISTINCT held.relname::text) AS tables,
      round(extract(epoch FROM clock_timestamp() - session.xact_start))::int AS seconds
    FROM pg_locks AS lock JOIN pg_class AS held ON held.oid = lock.relation
    LEFT JOIN pg_stat_activity AS session USING (pid)
    WHERE lock.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND lock.granted
      AND held.relnamespace = to_regnamespace($1) AND held.relkind IN ('r', 'p') AND lock.pid <> pg_backend_pid()
    GROUP BY lock.pid, session.application_name, session.xact_start ORDER BY session.xact_start LIMIT 3`,
    [`"${schema}"`]
  )
  return rows
}

/**
 * A connection for `work`. It is closed when the signal aborts: then the server rolls back what it was doing, except for
 * the build of an index, which goes on and is found by the next start.
 */
async function withClient<T>(
  { pool, signal }: MigrationRun,
  work: (client: PoolClient, checkout: Checkout) => Promise<T>
): Promise<T> {
  const checkout = await connect(pool)
  let stop = () => {}
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
  })
  try {
    // It may have aborted during the wait for the connection.
    signal.throwIfAborted()
    return await Promise.race([work(checkout.client, checkout), aborted])
  } catch (error) {
    // Whether it was left in a transaction does not matter: it is not used again.
    checkout.broken = error instanceof Error ? error : new Error(String(error))
    throw error
  } finally {
    signal.removeEventListener('abort', stop)
    checkout.release()
  }
}

function pause({ signal }: MigrationRun, ms: number): Promise<void> {
  return sleep(ms, undefined, { signal })
}
