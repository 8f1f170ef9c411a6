import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import pg from 'pg'
import { testPostgres } from '../helper/postgres.ts'
import { query, scene } from '../server/broker-process.ts'
import { migrateTo } from '../stores/postgres/older-schema.ts'
import { until } from '../stores/records.ts'

const migrations = readdirSync(new URL('../../migrations', import.meta.url))
  .filter((name) => name.endsWith('.sql'))
  .sort()

test('osb migrate: an empty database gets every migration, a second run nothing', async (t) => {
  const url = await (await testPostgres()).createDatabase()
  const first = await migrate(t, url)
  assert.deepEqual(first.end, { code: 0, signal: null })
  assert.equal(first.stdout, `applied ${migrations.join(', ')}\n`)
  assert.equal(first.stderr, '')
  assert.deepEqual(await query(url, 'SELECT count(*)::int AS n FROM osb.service_instances'), [{ n: 0 }])

  const second = await migrate(t, url)
  assert.deepEqual(second.end, { code: 0, signal: null })
  assert.equal(second.stdout, 'nothing to migrate\n')
})

test('osb migrate: two at once apply everything once', async (t) => {
  const url = await (await testPostgres()).createDatabase()
  const both = await Promise.all([migrate(t, url), migrate(t, url)])
  for (const { end } of both) assert.deepEqual(end, { code: 0, signal: null })
  // Each file is a transaction of its own, so that they may take turns
  const applied = both.flatMap(({ stdout }) => stdout.match(/\d{4}_\w+\.sql/g) ?? [])
  assert.deepEqual(applied.sort(), migrations)
})

test('osb migrate: without DATABASE_URL ends with 1 and one line that says what to set', async (t) => {
  for (const url of [undefined, '']) {
    const { end, stderr } = await migrate(t, url)
    assert.deepEqual(end, { code: 1, signal: null })
    assert.equal(stderr, "Set DATABASE_URL to the PostgreSQL database of the broker's own state.\n")
  }
})

test('osb migrate: an unreachable database ends with 1 and one line without its password', async (t) => {
  const { end, stdout, stderr } = await migrate(t, 'postgresql://broker:hush-password@127.0.0.1:1/broker')
  assert.deepEqual(end, { code: 1, signal: null })
  assert.equal(stderr, 'DATABASE_URL: the database cannot be used: connect ECONNREFUSED 127.0.0.1:1.\n')
  assert.ok(!(stdout + stderr).includes('hush-password'))
})

test('osb migrate: a wrong password ends with 1 and one line without it', async (t) => {
  const url = new URL(await (await testPostgres()).createDatabase())
  url.password = 'hush-password'
  const { end, stderr } = await migrate(t, url.href)
  assert.deepEqual(end, { code: 1, signal: null })
  assert.match(stderr, /^[^\n]*password authentication failed[^\n]*\n$/)
  assert.doesNotMatch(stderr, /hush-password/)
})

test('osb migrate: it says what it waits for, and goes on when that has ended', async (t) => {
  const url = await (await testPostgres()).createDatabase()
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  t.after(() => pool.end())
  await migrateTo(t, pool, 6)
  const dump = new pg.Client({ connectionString: url, application_name: 'pg_dump' })
  await dump.connect()
  await dump.query('BEGIN; LOCK TABLE osb.service_instances IN ACCESS EXCLUSIVE MODE')
  const program = scene(t).run(['migrate'], { DATABASE_URL: url })
  await until('it says what it waits for', async () =>
    /waits for the locks of tables.*"application":"pg_dump"/.test(program.stderr)
  )
  await dump.end()
  assert.deepEqual(await program.ended, { code: 0, signal: null })
  assert.match(program.stdout, /^applied \d{4}_/)
})

async function migrate(t: TestContext, url: string | undefined) {
  const { run } = scene(t)
  const program = run(['migrate'], url === undefined ? {} : { DATABASE_URL: url })
  const end = await program.ended
  return { end, stdout: program.stdout, stderr: program.stderr }
}
