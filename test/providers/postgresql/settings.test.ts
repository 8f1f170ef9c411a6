import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../../src/embedded-postgres/index.ts'
import { adminKinds, connect, Instance, instanceOf, leftovers, scalar, setUp } from './support.ts'

let dataDir: string
let server: EmbeddedPostgres

before(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'osb-test-settings-'))
  const settings = {
    fsync: 'off',
    log_statement: 'all',
    log_min_error_statement: 'error',
    max_prepared_transactions: '5'
  }
  server = await startEmbeddedPostgres({ dataDir, settings })
})

after(async () => {
  await server.stop()
  await rm(dataDir, { recursive: true, force: true })
})

for (const admin of adminKinds) {
  test(`[row 17] deprovision: ${admin} rolls prepared transactions back`, async (t) => {
    const { provider, sql } = await setUp(t, { admin, url: server.adminUrl })
    const instance = new Instance(provider)
    await instance.provision()
    const client = await connect(t, await instance.uri('b'))
    await client.query('BEGIN; CREATE TABLE half (id int)')
    await client.query(`PREPARE TRANSACTION 'it''s\\half done'`)
    await client.query('SET ROLE NONE; BEGIN; CREATE TEMP TABLE x (id int); ROLLBACK; BEGIN; SELECT lo_create(1)')
    await client.query(`PREPARE TRANSACTION 'as the login'`)
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
    assert.deepEqual(await sql('SELECT gid FROM pg_prepared_xacts'), [])
  })
}

test('bind: the password is in no statement and no log', async (t) => {
  const { provider, sql } = await setUp(t, { url: server.adminUrl })
  const instance = await instanceOf(t, provider)
  const { credentials } = await instance.bind('b')
  const client = await connect(t, String(credentials?.uri))
  assert.equal(await scalar(client, 'SELECT 1'), 1)
  const password = String(credentials?.password)
  const queries = await sql('SELECT query FROM pg_stat_activity')
  assert.ok(!JSON.stringify(queries).includes(password))
  const log = await readFile(join(dataDir, 'postgres.log'), 'utf8')
  assert.match(log, /ALTER ROLE "osb_b_.*" LOGIN PASSWORD 'SCRAM-SHA-256\$4096/)
  assert.ok(!log.includes(password))
})
