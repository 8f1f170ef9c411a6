import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client, escapeLiteral } from 'pg'
import { Rejected, StaleAttempt, Unavailable } from '../../../src/core/provider.ts'
import { assertUnavailable, told } from './failures.ts'
import {
  adminKinds,
  cleanUp,
  connect,
  Instance,
  instanceOf,
  leftovers,
  plainAdmin,
  type Scene,
  scalar,
  setUp,
  until
} from './support.ts'

for (const admin of adminKinds) {
  test(`[row 5] bind and unbind: with ${admin}, a database at its connection limit is no obstacle`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, { connection_limit: 2, database_connection_limit: 2 })
    const uri = await instance.uri('busy')
    const clients = [await connect(t, uri), await connect(t, uri)]
    await clients[0]?.query('CREATE TABLE kept (id int)')
    await assert.rejects(connect(t, uri), { code: '53300' })
    await instance.bind('extra')
    await instance.unbind('extra')
    const limit = await sql('SELECT datconnlimit FROM pg_database WHERE datname = $1', [instance.database])
    assert.deepEqual(limit, [{ datconnlimit: 2 }])
    for (const client of clients) assert.equal(await scalar(client, 'SELECT count(*)::int FROM kept'), 0)
  })
}

test('abort: a waiting statement ends at once, on the server too, and a later delete cleans up', async (t) => {
  const { provider, sql } = await setUp(t)
  const instance = await instanceOf(t, provider)
  const stray = await connect(t, await instance.uri('stray'))
  const holder = await connect(t, await instance.uri('holder'))
  await stray.query('SET ROLE NONE; CREATE SCHEMA mine; CREATE TABLE mine.held (id int)')
  await holder.query('BEGIN; SELECT FROM mine.held')
  const controller = new AbortController()
  const halted = instance.unbind('stray', { signal: controller.signal })
  const waiting = async () => (await sessions(sql, instance.token, `AND wait_event_type = 'Lock'`)).length > 0
  await until(waiting)
  const began = performance.now()
  controller.abort(new Error('halted'))
  await assert.rejects(halted, { message: 'halted' })
  assert.ok(performance.now() - began < 1000)
  await until(async () => (await sessions(sql, instance.token)).length === 0)
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('[row 21] unbind: a lock that another binding holds is reported, and leaves the login disabled', async (t) => {
  const { provider, adminUrl } = await setUp(t)
  const instance = await instanceOf(t, provider)
  const uri = await instance.uri('stray')
  const stray = await connect(t, uri)
  const holder = await connect(t, await instance.uri('holder'))
  await stray.query('SET ROLE NONE; CREATE SCHEMA mine; CREATE TABLE mine.held (id int)')
  await holder.query('BEGIN; SELECT FROM mine.held')
  await assertUnavailable({ instance, adminUrl }, told.locked, (call) => instance.unbind('stray', call))
  await assert.rejects(connect(t, uri), { code: '28P01' })
  await holder.query('COMMIT')
  await instance.unbind('stray')
  await holder.query('DROP TABLE mine.held')
})

test('[row 14] abort: between any two statements of a provision stops it, and the delete leaves nothing', async (t) => {
  const { provider, sql } = await setUp(t)
  const original = Client.prototype.query
  let controller = new AbortController()
  let left = 0
  t.mock.method(Client.prototype, 'query', function (this: Client, ...args: unknown[]) {
    left -= 1
    if (left === 0) controller.abort(new Error('halted'))
    return Reflect.apply(original, this, args)
  })
  for (const at of [2, 5, 8, 9, 12, 20]) {
    const instance = new Instance(provider)
    controller = new AbortController()
    await provider.health?.()
    left = at
    await assert.rejects(instance.provision({ signal: controller.signal }), { message: 'halted' })
    left = 0
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [], `statement ${at}`)
  }
})

test('[row 12] takeover: a newer attempt ends the sessions of the older, which then stops', async (t) => {
  const { provider, adminUrl, sql } = await setUp(t)
  const instance = await instanceOf(t, provider)
  const url = new URL(adminUrl)
  url.searchParams.set('application_name', `osb:${instance.token}`)
  const frozen = await connect(t, url.href)
  const pid = await scalar(frozen, 'SELECT pg_backend_pid()')
  await instance.update({ connection_limit: 5 })
  assert.deepEqual(await sql('SELECT FROM pg_stat_activity WHERE pid = $1', [pid]), [])

  const refuse = () => {
    throw new StaleAttempt('o')
  }
  await assert.rejects(instance.update({ connection_limit: 6 }, { onSave: refuse }), StaleAttempt)
  const limit = await sql('SELECT datconnlimit FROM pg_database WHERE datname = $1', [instance.database])
  assert.deepEqual(limit, [{ datconnlimit: 10 }])
})

test('takeover: only the same subject and the same login are ended', async (t) => {
  const { provider, adminUrl } = await setUp(t)
  const instance = await instanceOf(t, provider)
  const name = async (applicationName: string, from: string) => {
    const url = new URL(from)
    url.searchParams.set('application_name', applicationName)
    return connect(t, url.href)
  }
  const ofBinding = await name(`osb:${instance.token}_aaaaaaaaaa`, adminUrl)
  const ofTenant = await name(`osb:${instance.token}`, await instance.uri('b'))
  await instance.update({})
  assert.equal(await scalar(ofBinding, 'SELECT 1'), 1)
  assert.equal(await scalar(ofTenant, 'SELECT 1'), 1)
  await instance.deprovision()
  await assert.rejects(ofBinding.query('SELECT 1'))
})

test('[row 10] provision: a name that belongs to somebody else is left alone, and another chosen', async (t) => {
  const { provider, sql } = await setUp(t)
  const { sql: other } = await setUp(t, { admin: 'CREATEDB CREATEROLE' })
  const instance = new Instance(provider)
  instance.states.set(instance.id, { token: 'abcdefghijklmnopqrst' })
  await other(`CREATE DATABASE osb_d_abcdefghijklmnopqrst OWNER ${plainAdmin}`)
  cleanUp(t, () => other('DROP DATABASE osb_d_abcdefghijklmnopqrst'))
  const unmade = new Instance(provider)
  unmade.states.set(unmade.id, { token: 'abcdefghijklmnopqrst' })
  await unmade.deprovision()
  await instance.provision()
  assert.notEqual(instance.token, 'abcdefghijklmnopqrst')
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
  assert.deepEqual(await leftovers(sql, 'abcdefghijklmnopqrst'), ['osb_d_abcdefghijklmnopqrst'])
})

test('[row 8] deprovision: a database whose drop was interrupted is dropped', async (t) => {
  const { provider, sql } = await setUp(t)
  const instance = new Instance(provider)
  await instance.provision()
  await instance.bind('b')
  await sql('UPDATE pg_database SET datconnlimit = -2 WHERE datname = $1', [instance.database])
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('unbind: in a database that is closed revokes the login and leaves it to the removal', async (t) => {
  const { provider, sql } = await setUp(t)
  const instance = new Instance(provider)
  await instance.provision()
  const uri = await instance.uri('b')
  await sql(`ALTER DATABASE ${instance.database} ALLOW_CONNECTIONS false`)
  await instance.unbind('b')
  await assert.rejects(instance.bind('c'), (error) => error instanceof Rejected && error.status === 500)
  await sql(`ALTER DATABASE ${instance.database} ALLOW_CONNECTIONS true`)
  await assert.rejects(connect(t, uri), { code: '28P01' })
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('[row 1] start: an unreachable server is waited for, and tasks say so without naming it', async (t) => {
  const { provider } = await setUp(t, { adminUrl: 'postgresql://admin:secret@127.0.0.1:1/postgres' })
  await provider.start?.()
  await assert.rejects(async () => provider.health?.())
  const lines: object[] = []
  const log = { debug() {}, info() {}, warn: (fields: object) => lines.push(fields), error() {} }
  await assert.rejects(new Instance(provider).provision({ log }), (error) => {
    return error instanceof Unavailable && error.message === 'The database server cannot be reached at the moment.'
  })
  assert.equal(lines.length, 4)
  assert.doesNotMatch(JSON.stringify(lines), /secret/)
})

test('[row 3] start, provision: a refused admin login ends the start; later it is an alarm, and for the user a passing fault', async (t) => {
  const { adminUrl } = await setUp(t)
  const wrong = new URL(adminUrl)
  wrong.password = 'wrong'
  const { provider } = await setUp(t, { adminUrl: () => wrong.href })
  await assert.rejects(async () => provider.start?.(), {
    name: 'ConnectionRefused',
    message: 'postgresql.adminUrl: password authentication failed for user "postgres"'
  })
  const alarms: (string | undefined)[] = []
  const log = { debug() {}, info() {}, warn() {}, error: (_: object, message?: string) => alarms.push(message) }
  await assert.rejects(new Instance(provider).provision({ log }), Unavailable)
  assert.equal(alarms.length, 1)
})

test('start: an admin without the rights is refused', async (t) => {
  const { adminUrl, sql } = await setUp(t)
  await sql(`CREATE ROLE powerless LOGIN PASSWORD 'x'; GRANT CONNECT ON DATABASE postgres TO powerless`)
  cleanUp(t, () => sql('DROP OWNED BY powerless; DROP ROLE powerless'))
  const url = new URL(adminUrl)
  url.username = 'powerless'
  url.password = 'x'
  const { provider } = await setUp(t, { adminUrl: url.href })
  await assert.rejects(async () => provider.start?.(), /CREATEDB and CREATEROLE/)
})

test('[row 2] server: connections that the server ends are replaced', async (t) => {
  const { provider, sql } = await setUp(t)
  const instance = await instanceOf(t, provider)
  await sql(
    `SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE application_name = ${escapeLiteral('osb')}`
  )
  await instance.bind('b')
  await provider.health?.()
})

async function sessions(sql: Scene['sql'], token: string, condition = ''): Promise<unknown[]> {
  return sql(`SELECT pid FROM pg_stat_activity WHERE starts_with(application_name, $1) ${condition}`, [`osb:${token}`])
}
