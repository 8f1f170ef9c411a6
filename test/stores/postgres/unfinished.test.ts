import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import pg from 'pg'
import type { Store } from '../../../src/core/store.ts'
import { PostgresStore } from '../../../src/stores/postgres/index.ts'
import { claimed, failed, started } from '../contract/opened.ts'
import { operationRecord, provisionStart, until } from '../records.ts'
import { freshStore } from './fresh-store.ts'

const OVERDUE = { maximumMs: -60_000 }

/** A monotonic clock that a test moves on. */
function clock(t: TestContext) {
  let ahead = 0
  const now = performance.now.bind(performance)
  t.mock.method(performance, 'now', () => now() + ahead)
  return (ms: number) => {
    ahead += ms
  }
}

async function idsOf(store: Store): Promise<string[]> {
  return (await store.abandoned()).map(({ operation }) => operation.instanceId)
}

/** Looks long enough for all that was committed by now to be taken for old. */
async function settle(store: Store, advance: (ms: number) => void): Promise<void> {
  for (let look = 0; look < 4; look += 1) {
    await store.abandoned()
    advance(11_000)
  }
}

/** An open transaction that has written an overdue operation of a new instance. */
async function lateOperation(t: TestContext, url: string, instanceId: string) {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  t.after(() => client.end())
  const { operationId } = operationRecord('provision')
  await client.query('BEGIN')
  await client.query(
    `INSERT INTO osb.operations (operation_id, kind, platform, instance_id, state, async, internal, attempt, deadline, created_at)
    VALUES ($1, 'provision', 'cf', $2, 'in progress', true, false, 0, now() - interval '1 minute', now())`,
    [operationId, instanceId]
  )
  return { commit: () => client.query('COMMIT') }
}

test('abandoned: an old operation is found again and again, until it has ended', async (t) => {
  const { store } = await freshStore(t)
  const advance = clock(t)
  const old = await started(store, provisionStart({ ...OVERDUE, instanceId: 'old' }))
  const waiting = await started(store, provisionStart({ instanceId: 'waiting' }))
  await settle(store, advance)
  await started(store, provisionStart({ ...OVERDUE, instanceId: 'new' }))
  assert.deepEqual(await idsOf(store), ['old', 'new'])
  const claim = await claimed(store, old)
  assert.deepEqual(await idsOf(store), ['new'])
  await store.release(claim)
  assert.deepEqual(await idsOf(store), ['old', 'new'])
  await failed(store, old)
  assert.deepEqual(await idsOf(store), ['new'])
  assert.deepEqual((await store.census()).operations, [{ kind: 'provision', waiting: true, count: 2 }])
  await failed(store, waiting)
  assert.deepEqual((await store.census()).operations, [{ kind: 'provision', waiting: true, count: 1 }])
})

test('abandoned: an operation that is committed after later ones were taken for old is found', async (t) => {
  const { store, url } = await freshStore(t)
  const advance = clock(t)
  const late = await lateOperation(t, url, 'late')
  await failed(store, await started(store, provisionStart({ instanceId: 'later' })))
  await settle(store, advance)
  assert.deepEqual(await idsOf(store), [])
  await late.commit()
  assert.deepEqual(await idsOf(store), ['late'])
})

test('abandoned: after an error it looks at everything again, since another server may be behind', async (t) => {
  const { store, pool } = await freshStore(t)
  const advance = clock(t)
  for (const instanceId of ['i-1', 'i-2']) await failed(store, await started(store, provisionStart({ instanceId })))
  await started(store, provisionStart({ ...OVERDUE, instanceId: 'old' }))
  await settle(store, advance)
  // A place in the order that was given out already, as after a failover that has lost the last transactions.
  await pool.query(
    `INSERT INTO osb.operations (seq, operation_id, kind, platform, instance_id, state, async, internal, attempt, deadline,
      created_at)
    OVERRIDING SYSTEM VALUE
    VALUES (1, 'again', 'provision', 'cf', 'again', 'in progress', true, false, 0, now(), now())`
  )
  assert.deepEqual(await idsOf(store), ['old'])
  await pool.query('ALTER TABLE osb.operations RENAME TO away')
  await assert.rejects(store.abandoned())
  await pool.query('ALTER TABLE osb.away RENAME TO operations')
  assert.deepEqual(await idsOf(store), ['again', 'old'])
})

test('abandoned: operations are found that a failover has put in the places of lost ones', async (t) => {
  const { store, pool } = await freshStore(t)
  const advance = clock(t)
  for (const instanceId of ['i-1', 'i-2', 'lost-1', 'lost-2', 'lost-3']) {
    await failed(store, await started(store, provisionStart({ instanceId })))
  }
  assert.deepEqual(await idsOf(store), [])
  // The first look has seen five operations, and has not taken them for old yet.
  await pool.query(`DELETE FROM osb.operations WHERE seq > 2; SELECT setval('osb.operations_seq_seq', 2)`)
  advance(11_000)
  assert.deepEqual(await idsOf(store), [])
  const written = ['i-3', 'i-4', 'i-5', 'i-6']
  for (const instanceId of written) await started(store, provisionStart({ ...OVERDUE, instanceId }))
  assert.deepEqual((await idsOf(store)).toSorted(), written)
  await settle(store, advance)
  assert.deepEqual((await idsOf(store)).toSorted(), written)
})

test('abandoned: the first look finds an old operation among many, in more than one statement', async (t) => {
  const { store, pool } = await freshStore(t)
  await started(store, provisionStart({ ...OVERDUE, instanceId: 'old' }))
  // Places in the order of operations that are gone.
  await pool.query(`SELECT setval('osb.operations_seq_seq', 1000000)`)
  await started(store, provisionStart({ ...OVERDUE, instanceId: 'new' }))
  const statements = t.mock.method(pg.Client.prototype, 'query')
  assert.deepEqual(await idsOf(store), ['old', 'new'])
  assert.ok(statements.mock.callCount() > 4)
  assert.deepEqual(await idsOf(store), ['old', 'new'])
})

test('abandoned: operations that ended while an old snapshot is open are not read again', async (t) => {
  const { store, url, pool, sealer } = await freshStore(t)
  const advance = clock(t)
  const dump = new pg.Client({ connectionString: url })
  await dump.connect()
  t.after(() => dump.end())
  await dump.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT FROM osb.operations')
  // The planner takes the index of unfinished operations for empty.
  await failed(store, await started(store, provisionStart()))
  await pool.query('ANALYZE osb.operations')
  await pool.query(`INSERT INTO osb.operations (operation_id, kind, platform, instance_id, state, async, internal, attempt,
      deadline, created_at)
    SELECT 'o-' || n, 'provision', 'cf', 'i-' || n, 'in progress', true, false, 0, now(), now()
    FROM generate_series(1, 5000) AS n`)
  await pool.query(`UPDATE osb.operations SET state = 'succeeded', finished_at = now() WHERE operation_id LIKE 'o-%'`)
  await started(store, provisionStart({ ...OVERDUE, instanceId: 'overdue' }))
  // A pool of its own, since a session's reads are counted when it ends.
  const readBy = async (looks: (looking: PostgresStore) => Promise<void>) => {
    const before = await entriesRead(pool)
    const own = new pg.Pool({ connectionString: url, max: 1 })
    const looking = new PostgresStore(own, { sealer })
    await looks(looking)
    await looking.close()
    await own.end()
    const after = await until('the entries are counted', async () => {
      const now = await entriesRead(pool)
      return now > before && now
    })
    return after - before
  }
  const first = await readBy(async (looking) => {
    assert.deepEqual(await idsOf(looking), ['overdue'])
  })
  assert.ok(first >= 5_000, 'the first look reads all of it')
  const settled = await readBy((looking) => settle(looking, advance))
  const further = await readBy(async (looking) => {
    await settle(looking, advance)
    for (let look = 0; look < 20; look += 1) assert.deepEqual(await idsOf(looking), ['overdue'])
  })
  assert.ok(further - settled < 500, `20 further looks read ${further - settled} entries`)
  await pool.query(`UPDATE osb.operations SET state = 'failed', finished_at = now() WHERE state = 'in progress'`)
  const idle = await readBy(async (looking) => {
    await settle(looking, advance)
    for (let look = 0; look < 20; look += 1) assert.deepEqual(await idsOf(looking), [])
  })
  assert.ok(idle - settled < 500, `20 looks without an unfinished operation read ${idle - settled} entries`)
})

/** Entries of the indexes of operations that scans have returned. */
async function entriesRead(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ entries: number }>(
    `SELECT sum(idx_tup_read)::int AS entries FROM pg_stat_user_indexes WHERE relname = 'operations'`
  )
  return rows[0]?.entries ?? 0
}
