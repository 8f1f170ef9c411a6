import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { migrate, PostgresStore } from '../../../src/stores/postgres/index.ts'
import { noEnqueue, provisionStart } from '../records.ts'
import { freshDatabase, newSealer } from './fresh-store.ts'

const FIRST = '0001_initial.sql'
const ours = fileURLToPath(new URL('../../../migrations', import.meta.url))
const names = readdirSync(ours).sort()
/** The file that comes after ours, and the number that the one after that would have. */
const next = `${String(names.length + 1).padStart(4, '0')}_next.sql`
const gap = `${String(names.length + 2).padStart(4, '0')}_gap.sql`

async function emptyDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'osb-migrations-'))
  t.after(() => rm(directory, { recursive: true }))
  return directory
}

async function copyOfMigrations(t: TestContext): Promise<string> {
  const directory = await emptyDirectory(t)
  await cp(ours, directory, { recursive: true })
  return directory
}

async function tableNames(pool: pg.Pool, schema = 'osb'): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    'SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = $1 ORDER BY 1',
    [schema]
  )
  return rows.map(({ name }) => name)
}

test('migrate: 5 callers at once apply each migration once', async (t) => {
  const { pool, url } = await freshDatabase(t)
  const others = Array.from({ length: 4 }, () => new pg.Pool({ connectionString: url }))
  t.after(() => Promise.all(others.map((other) => other.end())))
  const applied = await Promise.all([pool, ...others].map((one) => migrate(one)))
  assert.deepEqual(applied.flat().sort(), names)
  const { rows } = await pool.query('SELECT version, name FROM osb.schema_migrations ORDER BY version')
  assert.deepEqual(
    rows,
    names.map((name, index) => ({ version: index + 1, name }))
  )
  assert.deepEqual(await migrate(pool), [])
  for (const table of ['audit_events', 'operations', 'schema_migrations', 'service_bindings', 'service_instances']) {
    assert.ok((await tableNames(pool)).includes(table), table)
  }
})

test('migrate: two schemas of one database are two brokers', async (t) => {
  const { pool } = await freshDatabase(t)
  await Promise.all([migrate(pool, { schema: 'broker_a' }), migrate(pool, { schema: 'broker_b' })])
  const options = { sealer: newSealer() }
  const a = new PostgresStore(pool, { ...options, schema: 'broker_a' })
  const b = new PostgresStore(pool, { ...options, schema: 'broker_b' })
  assert.equal(await a.start(provisionStart(), noEnqueue), 'started')
  assert.equal(await b.getInstance('i-1'), undefined)
  assert.deepEqual(await tableNames(pool, 'public'), [])
})

test('migrate: a schema name that is no plain identifier gives an error', async (t) => {
  const { pool } = await freshDatabase(t)
  for (const schema of ['', 'Osb', 'a"b', 'a-b', 'pg_osb', 'a'.repeat(51)]) {
    await assert.rejects(migrate(pool, { schema }), /must be a lower-case identifier/)
  }
})

test('migrate: a search_path and type parsers of the host change nothing', async (t) => {
  const { url } = await freshDatabase(t)
  const before = pg.types.getTypeParser(pg.types.builtins.TIMESTAMPTZ)
  pg.types.setTypeParser(pg.types.builtins.TIMESTAMPTZ, (text) => `not a date: ${text}`)
  t.after(() => pg.types.setTypeParser(pg.types.builtins.TIMESTAMPTZ, before))
  const options = '-c search_path=nowhere -c default_transaction_isolation=serializable -c timezone=Asia/Kolkata'
  const pool = new pg.Pool({ connectionString: url, options })
  t.after(() => pool.end())
  await migrate(pool)
  const store = new PostgresStore(pool, { sealer: newSealer() })
  const start = provisionStart()
  assert.equal(await store.start(start, noEnqueue), 'started')
  assert.deepEqual(await store.getInstance('i-1'), start.insertInstance)
})

test('migrate: a newer schema is refused', async (t) => {
  const { pool } = await freshDatabase(t)
  const directory = await copyOfMigrations(t)
  await writeFile(join(directory, next), 'CREATE TABLE next (a int);')
  assert.deepEqual(await migrate(pool, { directory }), [...names, next])
  await assert.rejects(
    migrate(pool),
    new RegExp(
      `schema "osb" is at version ${names.length + 1} \\(${next}\\), but this program knows only ${names.length}`
    )
  )
  assert.ok((await tableNames(pool)).includes('next'))
})

test('migrate: a changed file is refused, other line ends are not a change', async (t) => {
  const { pool } = await freshDatabase(t)
  const directory = await emptyDirectory(t)
  await writeFile(join(directory, FIRST), 'CREATE TABLE a (\n  a int\n);\n')
  await migrate(pool, { directory })
  await writeFile(join(directory, FIRST), 'CREATE TABLE a (\r\n  a int\r\n);\r\n')
  assert.deepEqual(await migrate(pool, { directory }), [])
  await writeFile(join(directory, FIRST), 'CREATE TABLE b (a int);')
  await assert.rejects(migrate(pool, { directory }), /0001_initial\.sql.* must never be changed/)
})

test('migrate: a migration that fails keeps nothing, and the next try goes on from there', async (t) => {
  const { pool } = await freshDatabase(t)
  const directory = await copyOfMigrations(t)
  await writeFile(join(directory, next), 'CREATE TABLE next (a int); SELECT 1 / 0;')
  await assert.rejects(
    migrate(pool, { directory }),
    new RegExp(`${next} failed, and nothing of it was kept: division by zero`)
  )
  assert.ok(!(await tableNames(pool)).includes('next'))
  await writeFile(join(directory, next), 'CREATE TABLE next (a int);')
  assert.deepEqual(await migrate(pool, { directory }), [next])
})

test('migrate: files with a gap or a strange name are refused', async (t) => {
  const { pool } = await freshDatabase(t)
  const directory = await copyOfMigrations(t)
  await writeFile(join(directory, gap), 'SELECT 1')
  await assert.rejects(migrate(pool, { directory }), new RegExp(`${gap} .* should have number ${names.length + 1}`))
  await rm(join(directory, gap))
  await writeFile(join(directory, '2.sql'), 'SELECT 1')
  await assert.rejects(migrate(pool, { directory }), /2\.sql .* must be named/)
})

test('migrate: a role that may create nothing can use what was migrated', async (t) => {
  const { pool, url } = await freshDatabase(t)
  await migrate(pool)
  await pool.query(`CREATE ROLE plain_${process.pid} LOGIN PASSWORD 'p';
    GRANT USAGE ON SCHEMA osb TO plain_${process.pid};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA osb TO plain_${process.pid}`)
  const plainUrl = Object.assign(new URL(url), { username: `plain_${process.pid}`, password: 'p' })
  const plain = new pg.Pool({ connectionString: plainUrl.href })
  t.after(() => plain.end())
  assert.deepEqual(await migrate(plain), [])
  const store = new PostgresStore(plain, { sealer: newSealer() })
  assert.equal(await store.start(provisionStart(), noEnqueue), 'started')
})

test('migrate: a database that is away gives Unavailable', async () => {
  const pool = new pg.Pool({ connectionString: 'postgres://u:p@127.0.0.1:1/d' })
  await assert.rejects(migrate(pool), Unavailable)
  await pool.end()
})

test('health: a database that was not migrated gives Unavailable', async (t) => {
  const { pool } = await freshDatabase(t)
  const store = new PostgresStore(pool, { sealer: newSealer() })
  await assert.rejects(store.health(), /has not been migrated/)
  await migrate(pool)
  await store.health()
})
