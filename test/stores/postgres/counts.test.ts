import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import pg from 'pg'
import type { ResourceCount } from '../../../src/core/census.ts'
import type { Store } from '../../../src/core/store.ts'
import { migrate, PostgresStore } from '../../../src/stores/postgres/index.ts'
import { claimed, failed, readyBinding, readyInstance, started } from '../contract/opened.ts'
import { bindStart, noEnqueue, operationRecord, provisionStart, until } from '../records.ts'
import { freshDatabase, freshStore, newSealer } from './fresh-store.ts'
import { migrateTo } from './older-schema.ts'

const INSTANCE = `INSERT INTO osb.service_instances (instance_id, platform, provider, service_id, plan_id, organization_guid,
  space_guid, context, parameters, status, created_at, updated_at)
  SELECT id, 'cf', 'example', 's-1', plan, 'o', 's', '{}', '{}', status, now(), now()
  FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (id, plan, status)`

/** What the counters should say, by counting. */
async function counted(pool: pg.Pool, table: string): Promise<string[]> {
  const { rows } = await pool.query<{ line: string }>(
    `SELECT service_id || ' ' || plan_id || ' ' || status || ' ' || count(*) AS line FROM osb.${table}
    GROUP BY service_id, plan_id, status`
  )
  return rows.map(({ line }) => line).sort()
}

function lines(counts: readonly ResourceCount[]): string[] {
  return counts.map(({ serviceId, planId, status, count }) => `${serviceId} ${planId} ${status} ${count}`).sort()
}

async function agree(store: Store, pool: pg.Pool): Promise<void> {
  const census = await store.census()
  assert.deepEqual(lines(census.instances), await counted(pool, 'service_instances'))
  assert.deepEqual(lines(census.bindings), await counted(pool, 'service_bindings'))
}

/** How many places of a plan are taken. */
async function taken(pool: pg.Pool, planId: string): Promise<number> {
  const { rows } = await pool.query<{ taken: number }>(
    `SELECT coalesce(sum(n), 0)::int AS taken FROM (
      SELECT count AS n, * FROM osb.resource_counts
      UNION ALL SELECT change, platform, plan_id, resource, service_id, status, change FROM osb.resource_count_changes
    ) AS counts WHERE plan_id = $1 AND (resource = 'place' OR resource = 'instance' AND status <> 'failed')`,
    [planId]
  )
  return rows[0]?.taken ?? Number.NaN
}

test('census: counts agree with the tables after random lives, with folds in between', async (t) => {
  const { store, pool, meddler, sealer } = await freshStore(t)
  const replica = new PostgresStore(meddler, { sealer })
  t.after(() => replica.close())
  const life = async (index: number) => {
    const instanceId = randomUUID()
    const planId = `p-${index % 3}`
    const create = await started(store, provisionStart({ instanceId }, { planId }))
    if (index % 5 === 0) {
      await failed(store, create, { instance: { status: 'failed' } })
      if (index % 2 === 0) return
      await started(store, { operation: operationRecord('provision', { instanceId }), retryCreate: true })
      return
    }
    await store.finish(await claimed(store, create), { state: 'succeeded', instance: { status: 'ready' } })
    const bind = bindStart('b-1', { instanceId })
    await started(store, { ...bind, operation: { ...bind.operation, instanceId } })
    await store.finish(await claimed(store, bind.operation), { state: 'succeeded', binding: { status: 'ready' } })
    const target = { planId: 'p-9', parameters: {}, context: {} }
    const update = await started(store, { operation: operationRecord('update', { instanceId, target }) })
    if (index % 3 === 1) return
    await store.finish(await claimed(store, update), { state: 'succeeded', instance: { planId: 'p-9' } })
    if (index % 4 === 0) return
    const removal = await started(store, { operation: operationRecord('deprovision', { instanceId }) })
    await store.finish(await claimed(store, removal), { state: 'succeeded', instance: 'remove' })
  }
  let living = true
  const folding = async (one: PostgresStore) => {
    while (living) await one.tidy()
  }
  const folds = [folding(store), folding(replica)]
  await Promise.all(Array.from({ length: 60 }, (_, index) => life(index)))
  living = false
  await Promise.all(folds)
  await agree(store, pool)
  await store.tidy()
  await agree(store, pool)
  const { rows } = await pool.query('SELECT FROM osb.resource_count_changes')
  assert.equal(rows.length, 0)
})

test('census, plansInUse, start with a quota: they read no instance or binding, however many there are', async (t) => {
  const { pool, url, sealer } = await freshStore(t)
  const many = Array.from({ length: 5_000 }, (_, index) => index)
  await pool.query(INSTANCE, [many.map((index) => `i-${index}`), many.map(() => 'p-1'), many.map(() => 'ready')])
  const own = new pg.Pool({ connectionString: url, max: 1 })
  const store = new PostgresStore(own, { sealer })
  const before = await rowsRead(pool)
  assert.deepEqual(lines((await store.census()).instances), ['s-1 p-1 ready 5000'])
  assert.deepEqual(await store.plansInUse(), [{ serviceId: 's-1', planId: 'p-1' }])
  const start = (instances: number) =>
    store.start({ ...provisionStart({ instanceId: 'new' }), quota: { planId: 'p-1', instances } }, noEnqueue)
  assert.equal(await start(5_000), 'full')
  assert.equal(await start(5_001), 'started')
  await store.close()
  // The server counts what a session has read when it ends.
  await own.end()
  const after = await until('the rows are counted', async () => {
    const now = await rowsRead(pool)
    return now.changes > before.changes && now
  })
  assert.ok(after.resources - before.resources < 10, `it read ${after.resources - before.resources} rows`)
})

async function rowsRead(pool: pg.Pool): Promise<{ resources: number; changes: number }> {
  const { rows } = await pool.query<{ name: string; n: number }>(
    'SELECT relname::text AS name, (seq_tup_read + coalesce(idx_tup_fetch, 0))::int AS n FROM pg_stat_user_tables'
  )
  const of = (name: string) => rows.find((row) => row.name === name)?.n ?? 0
  return { resources: of('service_instances') + of('service_bindings'), changes: of('resource_count_changes') }
}

test('tidy: what is committed after it was not lost, and nothing is counted twice', async (t) => {
  const { store, pool, url } = await freshStore(t)
  await readyInstance(store, 'i-1')
  const late = new pg.Client({ connectionString: url })
  await late.connect()
  t.after(() => late.end())
  await late.query('BEGIN')
  await late.query(INSTANCE, [['late'], ['p-1'], ['ready']])
  await readyInstance(store, 'i-2')
  await store.tidy()
  await readyInstance(store, 'i-3')
  await agree(store, pool)
  await late.query('COMMIT')
  await agree(store, pool)
  await store.tidy()
  await agree(store, pool)
  assert.equal(await taken(pool, 'p-1'), 4)
})

test('census: counts agree with tables that an administrator has changed', async (t) => {
  const { store, pool } = await freshStore(t)
  for (const id of ['i-1', 'i-2', 'i-3']) await readyInstance(store, id)
  await readyBinding(store)
  await store.tidy()
  await readyInstance(store, 'i-4')
  await pool.query(`UPDATE osb.service_instances SET plan_id = 'p-2' WHERE instance_id = 'i-2';
    DELETE FROM osb.service_instances WHERE instance_id = 'i-3'`)
  await agree(store, pool)
  await pool.query('TRUNCATE osb.service_instances CASCADE')
  assert.deepEqual((await store.census()).instances, [])
  assert.deepEqual((await store.census()).bindings, [])
  await store.tidy()
  assert.deepEqual(await store.plansInUse(), [])
})

test('start: counts of a database that was restored into a server with lower transaction ids are right', async (t) => {
  const { store, pool } = await freshStore(t)
  await readyInstance(store, 'i-1')
  await store.tidy()
  await readyInstance(store, 'i-2')
  await pool.query(`UPDATE osb.resource_counts_folded SET before = '900000000000';
    UPDATE osb.resource_count_changes SET xid = '900000000001'`)
  await readyInstance(store, 'i-3')
  const quota = { planId: 'p-1', instances: 3 }
  for (const folded of [false, true, true]) {
    if (folded) await store.tidy()
    await agree(store, pool)
    assert.equal(await store.start({ ...provisionStart({ instanceId: 'i-4' }), quota }, noEnqueue), 'full')
  }
})

test('migrate: counts begin with what is there, while instances and operations are written', async (t) => {
  const { pool, meddler } = await freshDatabase(t)
  await migrateTo(t, pool, 7)
  const before = new PostgresStore(meddler, { sealer: newSealer() })
  t.after(() => before.close())
  const many = Array.from({ length: 3_000 }, (_, index) => index)
  await pool.query(INSTANCE, [
    many.map((index) => `old-${index}`),
    many.map((index) => `p-${index % 5}`),
    many.map((index) => (index % 7 === 0 ? 'failed' : 'ready'))
  ])
  // Begun before the migration, and to be ended after it.
  const target = { planId: 'p-goal', parameters: {}, context: {} }
  const update = await started(before, { operation: operationRecord('update', { instanceId: 'old-1', target }) })
  const removal = await started(before, { operation: operationRecord('deprovision', { instanceId: 'old-7' }) })
  let migrated = false
  const migrating = migrate(pool).finally(() => {
    migrated = true
  })
  for (let index = 0; !migrated; index += 1) await readyInstance(before, `new-${index}`, { planId: `p-${index % 5}` })
  await migrating
  const store = new PostgresStore(pool, { sealer: newSealer() })
  t.after(() => store.close())
  await agree(store, pool)
  const held = async () => (await taken(pool, 'p-goal')) * 10_000 + (await taken(pool, 'p-2'))
  const { rows } = await pool.query<{ n: number }>(
    `SELECT count(*)::int AS n FROM osb.service_instances WHERE plan_id = 'p-2' AND status <> 'failed'`
  )
  // old-7 has failed and is being removed: it counts for its plan.
  assert.equal(await held(), 10_000 + (rows[0]?.n ?? 0) + 1)
  await failed(store, update)
  await store.finish(await claimed(store, removal), { state: 'succeeded', instance: 'remove' })
  assert.equal(await held(), rows[0]?.n)
  await agree(store, pool)
  await store.tidy()
  assert.equal(await held(), rows[0]?.n)
  await agree(store, pool)
})

/** A pool whose login has the rights that docs/audit.md listed before there were counts, with the schema of that time. */
async function plainLogin(t: TestContext, { pool, url }: { pool: pg.Pool; url: string }): Promise<pg.Pool> {
  await migrateTo(t, pool, 6)
  const role = `broker_${randomUUID().slice(0, 8)}`
  await pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA osb TO ${role};
    GRANT SELECT ON ALL TABLES IN SCHEMA osb TO ${role};
    GRANT INSERT, UPDATE, DELETE ON osb.service_instances, osb.service_bindings, osb.operations TO ${role};
    GRANT INSERT ON osb.audit_events TO ${role}`)
  const plain = new pg.Pool({ connectionString: Object.assign(new URL(url), { username: role, password: 'p' }).href })
  t.after(() => plain.end())
  return plain
}

test('migrate: a role that could write the tables before can write and count afterwards', async (t) => {
  const database = await freshDatabase(t)
  const plain = await plainLogin(t, database)
  await migrate(database.pool)
  const store = new PostgresStore(plain, { sealer: newSealer() })
  t.after(() => store.close())
  const quota = { planId: 'p-1', instances: 1 }
  assert.equal(await store.start({ ...provisionStart(), quota }, noEnqueue), 'started')
  assert.equal(await store.start({ ...provisionStart({ instanceId: 'i-2' }), quota }, noEnqueue), 'full')
  await store.tidy()
  assert.deepEqual(await store.abandoned(), [])
  assert.deepEqual(lines((await store.census()).instances), ['s-1 p-1 creating 1'])
  assert.deepEqual(await store.plansInUse(), [{ serviceId: 's-1', planId: 'p-1' }])
})

test('migrate: a role that could write before goes on writing while the migration waits half way', async (t) => {
  const stop = new AbortController()
  const dumps: pg.Client[] = []
  // Before the pools end, which wait for a migration that waits for the dump.
  t.after(() => Promise.all([stop.abort(), ...dumps.map((client) => client.end())]))
  const database = await freshDatabase(t)
  const { pool, url } = database
  const plain = await plainLogin(t, database)
  // The statements of the store need the columns of this version.
  await migrateTo(t, pool, 7)
  const store = new PostgresStore(plain, { sealer: newSealer() })
  t.after(() => store.close())
  let lives = 0
  const live = async () => {
    lives += 1
    const instanceId = `i-${lives}`
    await readyInstance(store, instanceId)
    const bind = bindStart('b-1', { instanceId })
    await started(store, { ...bind, operation: { ...bind.operation, instanceId } })
    await store.finish(await claimed(store, bind.operation), { state: 'succeeded', binding: { status: 'ready' } })
    if (lives % 2 === 0) return
    const target = { planId: 'p-2', parameters: {}, context: {} }
    const update = await started(store, { operation: operationRecord('update', { instanceId, target }) })
    await store.finish(await claimed(store, update), { state: 'succeeded', instance: { planId: 'p-2' } })
    const unbind = await started(store, { operation: operationRecord('unbind', { instanceId }) })
    await store.finish(await claimed(store, unbind), { state: 'succeeded', binding: 'remove' })
    const removal = await started(store, { operation: operationRecord('deprovision', { instanceId }) })
    await store.finish(await claimed(store, removal), { state: 'succeeded', instance: 'remove' })
  }
  await live()
  // Holds up the step of the operations, as pg_dump does, when the triggers of instances and bindings are there already.
  const dump = new pg.Client({ connectionString: url })
  dumps.push(dump)
  await dump.connect()
  await dump.query('BEGIN; LOCK TABLE osb.operations IN ACCESS SHARE MODE')
  let waits = false
  const warn = () => {
    waits = true
  }
  let migrated = false
  const migrating = migrate(pool, { log: { info: () => {}, warn }, signal: stop.signal }).finally(() => {
    migrated = true
  })
  while (!waits && !migrated) await live()
  const { rows } = await pool.query(
    `SELECT tgname::text AS name FROM pg_trigger WHERE tgrelid IN ('osb.service_bindings'::regclass, 'osb.operations'::regclass)
      AND tgname IN ('count_inserted', 'take_place')`
  )
  assert.deepEqual(rows, [{ name: 'count_inserted' }], 'the migration waits half way')
  for (let during = 0; during < 4; during += 1) await live()
  await dump.query('COMMIT')
  while (!migrated) await live()
  await migrating
  for (let after = 0; after < 2; after += 1) await live()
  await agree(store, pool)
})
