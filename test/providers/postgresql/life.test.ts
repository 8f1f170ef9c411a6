import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { Rejected } from '../../../src/core/provider.ts'
import { adminKinds, connect, Instance, instanceOf, leftovers, scalar, setUp } from './support.ts'

const run = promisify(execFile)

for (const admin of adminKinds) {
  test(`life: ${admin} makes an instance, its bindings share the objects, and nothing is left`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const instance = new Instance(provider)
    await instance.provision()

    const first = await connect(t, await instance.uri('first'))
    await first.query('CREATE TABLE notes (id serial PRIMARY KEY, body text)')
    await first.query(`INSERT INTO notes (body) VALUES ('one'), ('two')`)
    const second = await connect(t, await instance.uri('second'))
    await second.query('ALTER TABLE notes ADD COLUMN seen boolean')
    await second.query('CREATE SCHEMA more; CREATE TABLE more.things (id int); CREATE TABLE doomed (id int)')
    await first.query('DROP TABLE doomed')

    const reader = await connect(t, await instance.uri('reader', { role: 'reader' }))
    assert.equal(await scalar(reader, 'SELECT count(*)::int FROM notes'), 2)
    assert.equal(await scalar(reader, 'SELECT count(*)::int FROM more.things'), 0)
    assert.equal(await scalar(reader, 'SHOW default_transaction_read_only'), 'on')
    await assert.rejects(reader.query(`INSERT INTO notes (body) VALUES ('no')`), { code: '25006' })
    await reader.query('SET default_transaction_read_only = off')
    for (const attempt of [
      `INSERT INTO notes (body) VALUES ('no')`,
      'DROP TABLE notes',
      'CREATE TABLE mine (id int)'
    ]) {
      await assert.rejects(reader.query(attempt), { code: '42501' })
    }

    const uri = String((await instance.bind('first')).credentials?.uri)
    await instance.unbind('first')
    await assert.rejects(connect(t, uri), { code: '28P01' })
    await assert.rejects(first.query('SELECT 1'))
    assert.equal(await scalar(second, 'SELECT count(*)::int FROM notes'), 2)
    assert.equal(
      await scalar(second, `SELECT tableowner FROM pg_tables WHERE tablename = 'notes'`),
      `osb_o_${instance.token}`
    )
    await instance.unbind('second')
    await instance.unbind('reader')
    assert.equal((await leftovers(sql, instance.token)).length, 3)
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
    await instance.deprovision()
  })

  test(`[row 13] [row 15] deprovision: ${admin} removes bindings that are left and in use`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const instance = new Instance(provider)
    await instance.provision()
    const clients = [await connect(t, await instance.uri('a')), await connect(t, await instance.uri('b'))]
    await clients[0]?.query('CREATE TABLE held (id int); BEGIN; LOCK TABLE held')
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })

  test(`[row 19] unbind: ${admin} hands objects made without the role to the owner`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider)
    const stray = await connect(t, await instance.uri('stray'))
    await stray.query('SET ROLE NONE')
    await stray.query(`CREATE SCHEMA mine; CREATE TABLE mine.kept (id int); SELECT lo_create(4711)`)
    const other = await connect(t, await instance.uri('healed'))
    await other.query('DROP TABLE mine.kept')
    await stray.query(
      `CREATE TABLE mine.kept2 (id int); CREATE FUNCTION mine.f() RETURNS int LANGUAGE sql AS 'SELECT 1'`
    )
    await instance.unbind('stray')
    await other.query('DROP FUNCTION mine.f(); DROP TABLE mine.kept2; DROP SCHEMA mine; SELECT lo_unlink(4711)')
  })
}

test('update: the new plan is what sessions get, and what bindings are limited to', async (t) => {
  const { provider, sql } = await setUp(t)
  const instance = await instanceOf(t, provider, { connection_limit: 3 })
  const uri = await instance.uri('b')
  await instance.update({ connection_limit: 7, statement_timeout: '90s', work_mem: '8MB' })
  const client = await connect(t, uri)
  assert.equal(await scalar(client, 'SHOW statement_timeout'), '90s')
  assert.equal(await scalar(client, 'SHOW idle_in_transaction_session_timeout'), '1min')
  assert.equal(await scalar(client, 'SHOW work_mem'), '8MB')
  const limits = await sql(
    `SELECT datconnlimit AS n FROM pg_database WHERE datname = $1
     UNION ALL SELECT rolconnlimit FROM pg_roles WHERE starts_with(rolname, $2)`,
    [instance.database, `osb_b_${instance.token}_`]
  )
  assert.deepEqual(limits, [{ n: 14 }, { n: 7 }])
})

test('[row 25] bind: repeated with the saved state has the same login, another password, and none in its state', async (t) => {
  const { provider } = await setUp(t)
  const instance = await instanceOf(t, provider)
  const first = await instance.bind('b')
  const again = await instance.bind('b')
  const [before, after] = [first.credentials ?? {}, again.credentials ?? {}]
  assert.equal(after.username, before.username)
  assert.notEqual(after.password, before.password)
  assert.match(String(after.password), /^[A-Za-z0-9_-]{32,}$/)
  await connect(t, String(after.uri))
  await assert.rejects(connect(t, String(before.uri)), { code: '28P01' })
  const state = JSON.stringify(instance.states.get('b'))
  assert.match(state, /SCRAM-SHA-256/)
  for (const { password } of [before, after]) assert.ok(!state.includes(String(password)))
})

test('bind: unknown role or parameter is rejected with 400', async (t) => {
  const { provider } = await setUp(t)
  const instance = await instanceOf(t, provider)
  for (const parameters of [{ role: 'admin' }, { rol: 'reader' }]) {
    await assert.rejects(instance.bind('b', parameters), (error) => error instanceof Rejected && error.status === 400)
  }
})

test('[row 23] bind: a database that was dropped behind our back is rejected with 500', async (t) => {
  const { provider, sql } = await setUp(t)
  const instance = await instanceOf(t, provider)
  await sql(`DROP DATABASE ${instance.database}`)
  await assert.rejects(instance.bind('b'), (error) => error instanceof Rejected && error.status === 500)
  await assert.rejects(instance.update({}), (error) => error instanceof Rejected && error.status === 500)
})

test('removal: nothing saved means that nothing was made', async (t) => {
  const { provider } = await setUp(t, { adminUrl: 'postgresql://nobody@127.0.0.1:1/postgres' })
  const instance = new Instance(provider)
  await instance.unbind('b')
  await instance.deprovision()
})

test('credentials: every key is there, and psql and node-postgres connect with the uri', async (t) => {
  const { provider, adminUrl } = await setUp(t, { brokerName: 'ours' })
  const instance = await instanceOf(t, provider)
  const { credentials = {}, endpoints } = await instance.bind('b')
  const { hostname, port } = new URL(adminUrl)
  const { username, password } = credentials
  const place = `${hostname}:${port}/${instance.database}`
  assert.match(String(username), new RegExp(`^osb_b_${instance.token}_[a-z2-7]{10}$`))
  assert.deepEqual(credentials, {
    uri: `postgresql://${username}:${password}@${place}?sslmode=disable`,
    jdbcUrl: `jdbc:postgresql://${place}?user=${username}&password=${password}&sslmode=disable`,
    'jdbc-url': `jdbc:postgresql://${place}?sslmode=disable`,
    'r2dbc-url': `r2dbc:postgresql://${place}?sslMode=disable`,
    host: hostname,
    hostname,
    port: Number(port),
    username,
    user: username,
    password,
    database: instance.database,
    name: instance.database,
    dbname: instance.database,
    db: instance.database,
    sslmode: 'disable',
    type: 'postgresql',
    provider: 'ours',
    role: 'owner',
    read_only: false
  })
  assert.deepEqual(endpoints, [{ host: hostname, ports: [port], protocol: 'tcp' }])
  const client = await connect(t, String(credentials.uri))
  assert.equal(await scalar(client, 'SELECT current_user'), `osb_o_${instance.token}`)
  const answer = await run('psql', ['-XAtc', 'SELECT session_user', String(credentials.uri)]).catch((error) => {
    if (error.code === 'ENOENT') t.diagnostic('psql is not installed: only node-postgres was tried')
    else throw error
  })
  if (answer !== undefined) assert.equal(answer.stdout.trim(), username)
})
