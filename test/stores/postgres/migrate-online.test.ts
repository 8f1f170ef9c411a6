import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { migrate } from '../../../src/stores/postgres/index.ts'
import { noEnqueue, provisionStart, until } from '../records.ts'
import { freshStore } from './fresh-store.ts'

const ours = fileURLToPath(new URL('../../../migrations', import.meta.url))

/** A migrated database, and a directory with one more file than it has applied. */
async function scene(t: TestContext, next: string) {
  const dumps: pg.Client[] = []
  // Before the pools end, which wait for a migration that waits for a dump.
  t.after(() => Promise.all(dumps.map((client) => client.end())))
  const fresh = await freshStore(t)
  const { rows } = await fresh.pool.query<{ applied: number }>(
    'SELECT count(*)::int AS applied FROM osb.schema_migrations'
  )
  const directory = await mkdtemp(join(tmpdir(), 'osb-migrations-'))
  t.after(() => rm(directory, { recursive: true }))
  await cp(ours, directory, { recursive: true })
  const name = `${String((rows[0]?.applied ?? 0) + 1).padStart(4, '0')}_next.sql`
  await writeFile(join(directory, name), next)
  /** A session that keeps a transaction open until it is told to end, as `pg_dump` does. */
  const dumping = async () => {
    const client = new pg.Client({ connectionString: fresh.url, application_name: 'pg_dump' })
    dumps.push(client)
    await client.connect()
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT FROM osb.service_instances')
    return { end: () => client.query('COMMIT') }
  }
  return { ...fresh, directory, name, dumping }
}

function listener() {
  const lines: { fields: object; message: string | undefined }[] = []
  const note = (fields: object, message?: string) => void lines.push({ fields, message })
  return { lines, log: { info: note, warn: note } }
}

async function building(pool: pg.Pool): Promise<number | undefined> {
  const { rows } = await pool.query<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'`
  )
  return rows[0]?.pid
}

async function indexIn(pool: pg.Pool): Promise<{ id: number; valid: boolean } | undefined> {
  const { rows } = await pool.query<{ id: number; valid: boolean }>(
    `SELECT indexrelid::int AS id, indisvalid AS valid FROM pg_index WHERE indexrelid = to_regclass('osb.next_index')`
  )
  return rows[0]
}

const STEPS = `-- in steps
-- step
CREATE TABLE IF NOT EXISTS next (a int);

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS next_index ON :schema.service_instances (dashboard_url);

-- step
ALTER TABLE next ADD COLUMN IF NOT EXISTS b int;
`

test('migrate: while a pg_dump holds a table, replicas that serve read and write, and it goes on afterwards', async (t) => {
  const { pool, store, directory, name, dumping } = await scene(t, 'ALTER TABLE service_instances ADD COLUMN next int')
  const dump = await dumping()
  const { log, lines } = listener()
  const migrating = migrate(pool, { directory, log })
  const waits = await until('it has waited for the lock once', async () => lines[0])
  assert.match(String(waits.message), /^a migration waits for the locks of tables/)
  assert.match(JSON.stringify(waits.fields), /"application":"pg_dump","tables":\["service_instances"/)
  // Long enough to meet further tries.
  const end = Date.now() + 4_000
  for (let served = 0; Date.now() < end; served += 1) {
    const start = provisionStart({ instanceId: `i-${served}` })
    assert.equal(await store.start(start, noEnqueue), 'started')
    assert.deepEqual(await store.getInstance(`i-${served}`), start.insertInstance)
  }
  await dump.end()
  assert.deepEqual(await migrating, [name])
  await pool.query('SELECT next FROM osb.service_instances LIMIT 1')
})

test('migrate: two replicas at once build an index concurrently, once, while others write', async (t) => {
  const { pool, meddler, store, directory, name, url, dumping } = await scene(t, STEPS)
  const dump = await dumping()
  const replica = new pg.Pool({ connectionString: url, max: 2 })
  t.after(() => replica.end())
  const { log, lines } = listener()
  const applied = Promise.all([migrate(pool, { directory, log }), migrate(replica, { directory, log })])
  await until('the build waits for the snapshot of the dump', () => building(meddler))
  await until('the other replica waits', async () =>
    lines.some(({ message }) => message === 'another replica migrates the schema; waiting for it')
  )
  assert.equal(await store.start(provisionStart(), noEnqueue), 'started')
  await dump.end()
  assert.deepEqual((await applied).flat(), [name])
  assert.equal((await indexIn(pool))?.valid, true)
})

test('migrate: an index whose build was interrupted is built again', async (t) => {
  const { pool, meddler, directory, name, dumping } = await scene(t, STEPS)
  const dump = await dumping()
  const failing = assert.rejects(migrate(pool, { directory }), Unavailable)
  const pid = await until('the build waits', () => building(meddler))
  await meddler.query('SELECT pg_terminate_backend($1)', [pid])
  await failing
  const left = await indexIn(pool)
  assert.equal(left?.valid, false)
  await dump.end()
  assert.deepEqual(await migrate(pool, { directory }), [name])
  const built = await indexIn(pool)
  assert.equal(built?.valid, true)
  assert.notEqual(built?.id, left?.id)
  await pool.query('SELECT a, b FROM osb.next')
})

test('migrate: a replica killed with -9 leaves its build to the server, and the next one waits for it', async (t) => {
  const { pool, meddler, directory, name, url, dumping } = await scene(t, STEPS)
  const dump = await dumping()
  const script = fileURLToPath(new URL('migrating-process.ts', import.meta.url))
  const replica = spawn(process.execPath, [script, url, directory], { stdio: 'inherit' })
  t.after(() => replica.kill('SIGKILL'))
  await until('the build waits', () => building(meddler))
  replica.kill('SIGKILL')
  await once(replica, 'exit')
  const left = await indexIn(pool)
  const { log, lines } = listener()
  const migrating = migrate(pool, { directory, log })
  await until('the next one waits for the build', async () =>
    lines.some(({ message }) => message?.startsWith('a migration waits for the locks of tables'))
  )
  await dump.end()
  assert.deepEqual(await migrating, [name])
  assert.deepEqual(await indexIn(pool), { id: left?.id, valid: true })
})

test('migrate: a backfill in batches leaves reads and writes running', async (t) => {
  const { pool, store, directory, name } = await scene(
    t,
    `-- in steps
-- step
ALTER TABLE service_instances ADD COLUMN IF NOT EXISTS next int, ALTER COLUMN next SET DEFAULT 1;
-- step: repeat
UPDATE service_instances SET next = 1 WHERE instance_id IN (
  SELECT instance_id FROM service_instances WHERE next IS NULL LIMIT 500
);`
  )
  await pool.query(`INSERT INTO osb.service_instances (instance_id, platform, provider, service_id, plan_id, organization_guid,
      space_guid, context, parameters, status, created_at, updated_at)
    SELECT 'old-' || n, 'cf', 'example', 's-1', 'p-1', 'o', 's', '{}', '{}', 'ready', now(), now() FROM generate_series(1, 20000) AS n`)
  let migrated = false
  const migrating = migrate(pool, { directory }).finally(() => {
    migrated = true
  })
  let seenHalfWay = 0
  for (let served = 0; !migrated; served += 1) {
    assert.equal(await store.start(provisionStart({ instanceId: `i-${served}` }), noEnqueue), 'started')
    assert.equal((await store.getInstance('old-1'))?.status, 'ready')
    const { rows } = await pool
      .query('SELECT count(next)::int AS done, count(*)::int AS all FROM osb.service_instances')
      .catch(() => ({ rows: [{ done: 0, all: 0 }] }))
    if (rows[0]?.done > 0 && rows[0]?.done < rows[0]?.all) seenHalfWay += 1
  }
  assert.deepEqual(await migrating, [name])
  assert.ok(seenHalfWay > 0)
  const { rows } = await pool.query(
    `SELECT count(*)::int AS left FROM osb.service_instances WHERE next IS NULL AND instance_id LIKE 'old-%'`
  )
  assert.deepEqual(rows, [{ left: 0 }])
})

test('migrate: a signal ends the wait for a lock', async (t) => {
  const { pool, directory, dumping } = await scene(t, 'ALTER TABLE service_instances ADD COLUMN next int')
  await dumping()
  const { log, lines } = listener()
  const stop = new AbortController()
  const failing = assert.rejects(migrate(pool, { directory, log, signal: stop.signal }), /the process ends/)
  await until('it waits', async () => lines.length > 0)
  stop.abort(new Error('the process ends'))
  await failing
})

test('migrate: a concurrent step that a crash would make unrepeatable is refused', async (t) => {
  const { pool, directory } = await scene(
    t,
    '-- in steps\n-- step\nCREATE INDEX CONCURRENTLY next_index ON :schema.service_instances (dashboard_url);'
  )
  await assert.rejects(
    migrate(pool, { directory }),
    /cannot be repeated after a crash\. Write CREATE INDEX CONCURRENTLY IF/
  )
})
