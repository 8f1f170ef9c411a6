import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import pg from 'pg'
import { PostgresStore } from '../../../src/stores/postgres/index.ts'
import { readyInstance } from '../contract/opened.ts'
import { until } from '../records.ts'
import { freshStore } from './fresh-store.ts'

/** A database with an open snapshot, as of a `pg_dump`: what is deleted meanwhile stays in the indexes. */
async function scene(t: TestContext) {
  const fresh = await freshStore(t)
  const dump = new pg.Client({ connectionString: fresh.url })
  await dump.connect()
  t.after(() => dump.end())
  await dump.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT FROM osb.operations')
  const { url, pool, sealer } = fresh
  /** How many entries of an index `work` reads. On a pool of its own, since a session's reads are counted when it ends. */
  const entriesRead = async (index: string, work: (store: PostgresStore) => Promise<void>) => {
    const own = new pg.Pool({ connectionString: url, max: 1 })
    const store = new PostgresStore(own, { sealer })
    await own.query('SELECT pg_stat_force_next_flush()')
    const before = await countedFor(pool, index)
    await work(store)
    await store.close()
    await own.query('SELECT pg_stat_force_next_flush()')
    await own.end()
    const after = await until('the entries are counted', async () => {
      const now = await countedFor(pool, index)
      return now > before && now
    })
    return after - before
  }
  return { ...fresh, entriesRead }
}

async function countedFor(pool: pg.Pool, index: string): Promise<number> {
  const { rows } = await pool.query<{ entries: number }>(
    'SELECT idx_tup_read::int AS entries FROM pg_stat_user_indexes WHERE indexrelname = $1',
    [index]
  )
  return rows[0]?.entries ?? Number.NaN
}

async function oldOperations(pool: pg.Pool, prefix: string, count: number, ago = '9 days'): Promise<void> {
  await pool.query(
    `INSERT INTO osb.operations (operation_id, kind, platform, instance_id, state, async, internal, attempt, deadline, created_at,
      finished_at)
    SELECT $1 || n, 'bind', 'cf', 'i', 'succeeded', true, false, 1, now(), now(), now() - $3::interval + n * interval '1 ms'
    FROM generate_series(1, $2::int) AS n`,
    [prefix, count, ago]
  )
}

const EIGHT_DAYS_MS = 8 * 24 * 3_600_000

test('forgetOperations: batches, and later sweeps, do not read again what was deleted', async (t) => {
  const { pool, entriesRead } = await scene(t)
  await oldOperations(pool, 'a-', 9_000)
  await oldOperations(pool, 'recent-', 5_000, '1 hour')
  await pool.query('ANALYZE osb.operations')
  const read = await entriesRead('operations_finished_at', async (store) => {
    assert.equal(await store.forgetOperations(EIGHT_DAYS_MS), 9_000)
    await pool.query(`UPDATE osb.operations SET finished_at = finished_at`)
    for (let sweep = 0; sweep < 20; sweep += 1) assert.equal(await store.forgetOperations(EIGHT_DAYS_MS), 0)
  })
  assert.ok(read < 2 * 9_000, `it read ${read} entries`)
})

test('expiredBindings: looks do not read again what was revoked, and find what had expired before it was written', async (t) => {
  const { pool, store: setting, entriesRead } = await scene(t)
  await readyInstance(setting)
  const insert = (prefix: string, count: number, ago: string) =>
    pool.query(
      `INSERT INTO osb.service_bindings (instance_id, binding_id, platform, service_id, plan_id, context, parameters, status,
        expires_at, created_at, updated_at)
      SELECT 'i-1', $1 || n, 'cf', 's-1', 'p-1', '{}', '{}', 'ready', now() - $3::interval + n * interval '1 ms', now(), now()
      FROM generate_series(1, $2::int) AS n`,
      [prefix, count, ago]
    )
  await insert('b-', 4_000, '2 hours')
  await pool.query('ANALYZE osb.service_bindings')
  const read = await entriesRead('service_bindings_expires_at', async (store) => {
    assert.equal((await store.expiredBindings()).length, 500)
    await pool.query(`UPDATE osb.service_bindings SET revoked_at = now() WHERE binding_id <> 'b-4000'`)
    for (let look = 0; look < 20; look += 1) {
      assert.deepEqual(
        (await store.expiredBindings()).map(({ bindingId }) => bindingId),
        ['b-4000']
      )
    }
    await pool.query(`UPDATE osb.service_bindings SET revoked_at = now() WHERE binding_id = 'b-4000'`)
    assert.deepEqual(await store.expiredBindings(), [])
    await insert('late-', 1, '10 minutes')
    assert.equal((await store.expiredBindings()).length, 1)
  })
  assert.ok(read < 3 * 4_000, `it read ${read} entries`)
})

test('dropUndelivered: batches do not read again what was dropped', async (t) => {
  const { pool, store: setting, entriesRead } = await scene(t)
  await readyInstance(setting)
  await pool.query(`INSERT INTO osb.service_bindings (instance_id, binding_id, platform, service_id, plan_id, context, parameters,
      status, undelivered, undelivered_until, created_at, updated_at)
    SELECT 'i-1', 'b-' || n, 'cf', 's-1', 'p-1', '{}', '{}', 'ready', 'sealed', now() - interval '1 h' + n * interval '1 ms', now(),
      now() FROM generate_series(1, 4000) AS n;
    ANALYZE osb.service_bindings`)
  const read = await entriesRead('service_bindings_undelivered_until', async (store) => {
    assert.equal(await store.dropUndelivered(), 4_000)
    assert.equal(await store.dropUndelivered(), 0)
  })
  assert.ok(read < 3 * 4_000, `it read ${read} entries`)
})
