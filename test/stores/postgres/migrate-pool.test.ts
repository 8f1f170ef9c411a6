import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import pg from 'pg'
import { migrate } from '../../../src/stores/postgres/index.ts'
import { until } from '../records.ts'
import { freshDatabase } from './fresh-store.ts'

/** A pool of two connections: a migration keeps one for its lock and runs its steps on the other. */
function hostPool(t: TestContext, url: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  t.after(() => pool.end())
  return pool
}

/** The timeouts of both connections of the pool. */
async function timeouts(pool: pg.Pool): Promise<string[]> {
  const clients = [await pool.connect(), await pool.connect()]
  try {
    const shown = clients.map(async (client) => {
      const { rows } = await client.query<{ timeouts: string }>(
        `SELECT current_setting('statement_timeout') || ' ' || current_setting('lock_timeout') AS timeouts`
      )
      return rows[0]?.timeouts ?? ''
    })
    return await Promise.all(shown)
  } finally {
    for (const client of clients) client.release()
  }
}

test('migrate: the connections of a host keep the timeouts that the host has set for them', async (t) => {
  const { url, meddler } = await freshDatabase(t)
  const pool = hostPool(t, url)
  pool.on('connect', (client) => void client.query(`SET statement_timeout = '70s'; SET lock_timeout = '20s'`))
  assert.deepEqual(await timeouts(pool), ['70s 20s', '70s 20s'])
  assert.ok((await migrate(pool)).length > 0)
  const { rows } = await meddler.query<{ valid: boolean }>(
    `SELECT indisvalid AS valid FROM pg_index WHERE indexrelid = to_regclass('osb.operations_unfinished')`
  )
  assert.deepEqual(rows, [{ valid: true }], 'a step without a transaction has run')
  assert.deepEqual(await timeouts(pool), ['70s 20s', '70s 20s'])
})

const STEPS = `-- in steps
-- step
DO $$ BEGIN
  WHILE NOT EXISTS (SELECT FROM public.gate) LOOP PERFORM pg_sleep(0.01); END LOOP;
END $$;

-- step
CREATE TABLE last (a int);
`

test('migrate: an abort while a step waits for a connection ends it, and the step does not run', async (t) => {
  const { url, meddler } = await freshDatabase(t)
  const pool = hostPool(t, url)
  const directory = await mkdtemp(join(tmpdir(), 'osb-migrations-'))
  t.after(() => rm(directory, { recursive: true }))
  await writeFile(join(directory, '0001_steps.sql'), STEPS)
  await meddler.query('CREATE TABLE gate (a int)')
  const stop = new AbortController()
  const reason = new Error('the process ends')
  const ended = migrate(pool, { directory, signal: stop.signal }).then(
    (names) => names,
    (error: unknown) => error
  )
  await until('the first step runs', async () => {
    const { rows } = await meddler.query(
      `SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE 'DO %'`
    )
    return rows.length > 0
  })
  // The host is next in line for the connection of the first step, so the last step waits until the host returns it.
  const connecting = pool.connect()
  await meddler.query('INSERT INTO gate VALUES (1)')
  const host = await connecting
  await until('the last step waits', async () => pool.waitingCount === 1)
  stop.abort(reason)
  host.release()
  assert.equal(await ended, reason)
  const { rows } = await meddler.query(`SELECT to_regclass('osb.last') AS last`)
  assert.deepEqual(rows, [{ last: null }])
  assert.equal((await pool.query('SELECT 1 AS one')).rows[0]?.one, 1)
})
