import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { postgresqlProvider } from '../../../src/providers/postgresql/index.ts'
import { alarmsOf, assertUnavailable, codesOf, told, untilDone } from './failures.ts'
import { OwnServer } from './own-server.ts'
import { cleanUp, connect, Instance, leftovers, plainAdmin, scalar, setUp, until } from './support.ts'

/** Few connections, so that they can be used up; some are kept for those who may use them. */
const server = new OwnServer({ max_connections: '20', superuser_reserved_connections: '3', reserved_connections: '3' })
const sql = (statement: string, values?: unknown[]) => server.sql(statement, values)

before(() => server.start())
after(() => server.remove())

test('[row 1] every operation: while the server is down says so, and converges once it is back', async (t) => {
  const { instance, at } = await instanceAt(t)
  const gone = await connect(t, await instance.uri('gone'))
  await gone.query('CREATE TABLE kept (id int)')
  const made = new Instance(instance.provider)
  await server.stop(t)
  const { unreachable } = told
  await Promise.all([
    assertUnavailable({ ...at, instance: made }, unreachable, (call) => made.provision(call)),
    assertUnavailable(at, unreachable, (call) => instance.bind('b', {}, call)),
    assertUnavailable(at, unreachable, (call) => instance.unbind('gone', call)),
    assertUnavailable(at, unreachable, (call) => instance.update({ connection_limit: 4 }, call)),
    assertUnavailable(at, unreachable, (call) => instance.deprovision(call))
  ])
  await assert.rejects(async () => instance.provider.health?.())
  await server.start()
  await made.provision()
  await instance.update({ connection_limit: 4 })
  await instance.unbind('gone')
  const client = await connect(t, await instance.uri('b'))
  assert.equal(await scalar(client, 'SELECT count(*)::int FROM kept'), 0)
  assert.equal((await leftovers(sql, instance.token)).length, 4)
  for (const each of [made, instance]) {
    await each.deprovision()
    // One that never got as far as its state has made nothing
    assert.deepEqual(await leftovers(sql, each.token), [])
  }
})

test('[row 2] every operation: while the server shuts down says so, and converges after the start', async (t) => {
  const { instance, at } = await instanceAt(t)
  await instance.bind('gone')
  // Open sessions keep a server that ends in the patient way from ending
  await connect(t, server.adminUrl)
  const fresh = new Instance(providerAt(t, server.adminUrl))
  process.kill(server.pid, 'SIGTERM')
  await until(async () => !(await server.answers()))
  const refusals = await Promise.all([
    assertUnavailable({ ...at, instance: fresh }, told.unreachable, (call) => fresh.provision(call)),
    assertUnavailable(at, told.unreachable, (call) => instance.bind('b', {}, call)),
    assertUnavailable(at, told.unreachable, (call) => instance.unbind('gone', call))
  ])
  for (const lines of refusals) assert.deepEqual(new Set(codesOf(lines)), new Set(['57P03']))
  process.kill(server.pid, 'SIGINT')
  await untilDone({ ...at, instance: fresh }, (call) => fresh.provision(call))
  await untilDone(at, (call) => instance.bind('b', {}, call))
  await untilDone(at, (call) => instance.unbind('gone', call))
  for (const each of [fresh, instance]) {
    await each.deprovision()
    assert.deepEqual(await leftovers(sql, each.token), [])
  }
})

test('[row 2] unbind: a shutdown that ends its waiting statement is survived', async (t) => {
  const { instance, at } = await instanceAt(t)
  const stray = await connect(t, await instance.uri('stray'))
  const holder = await connect(t, await instance.uri('holder'))
  await stray.query('SET ROLE NONE; CREATE SCHEMA mine; CREATE TABLE mine.held (id int)')
  await holder.query('BEGIN; SELECT FROM mine.held')
  const unbound = untilDone(at, (call) => instance.unbind('stray', call))
  await until(async () => (await sql(`SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'`)).length > 0)
  process.kill(server.pid, 'SIGINT')
  assert.equal(codesOf(await unbound)[0], '57P01')
  const heir = await connect(t, await instance.uri('heir'))
  assert.equal(await scalar(heir, 'SELECT count(*)::int FROM mine.held'), 0)
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('[row 2] every operation: while the server recovers from a crash says so, and converges after it', async (t) => {
  const { instance, at } = await instanceAt(t)
  await instance.bind('gone')
  const killed = await connect(t, server.adminUrl)
  const pid = Number(await scalar(killed, 'SELECT pg_backend_pid()'))
  // The server waits some seconds for this one before it recovers
  const thaw = await server.freeze(t)
  process.kill(pid, 'SIGKILL')
  const refusals = await Promise.all([
    assertUnavailable(at, told.unreachable, (call) => instance.update({ connection_limit: 4 }, call)),
    assertUnavailable(at, told.unreachable, (call) => instance.bind('b', {}, call)),
    assertUnavailable(at, told.unreachable, (call) => instance.unbind('gone', call))
  ])
  for (const lines of refusals) assert.ok(codesOf(lines).includes('57P03'), JSON.stringify(lines))
  thaw()
  await until(() => server.answers())
  await untilDone(at, (call) => instance.unbind('gone', call))
  await untilDone(at, (call) => instance.bind('b', {}, call))
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

for (const [what, lock, unlock, code] of [
  ['whose account is locked', 'NOLOGIN', 'LOGIN', '28000'],
  ['whose password was changed', `PASSWORD 'another'`, `PASSWORD 'plain'`, '28P01']
] as const) {
  test(`[row 3] every operation: an admin ${what} is an alarm at once, and all converges after it`, async (t) => {
    const { instance, at } = await instanceAt(t, 'CREATEDB CREATEROLE')
    await instance.bind('gone')
    const fresh = new Instance(providerAt(t, at.adminUrl))
    cleanUp(t, () => sql(`ALTER ROLE ${plainAdmin} ${unlock}`))
    await sql(`ALTER ROLE ${plainAdmin} ${lock}`)
    // Its open connections stay; what needs another is refused
    const refusals = [
      await assertUnavailable({ ...at, instance: fresh }, told.refused, (call) => fresh.provision(call)),
      await assertUnavailable(at, told.refused, (call) => instance.bind('b', {}, call))
    ]
    await sql(`SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE usename = '${plainAdmin}'`)
    refusals.push(
      await assertUnavailable(at, told.refused, (call) => instance.unbind('gone', call)),
      await assertUnavailable(at, told.refused, (call) => instance.update({}, call)),
      await assertUnavailable(at, told.refused, (call) => instance.deprovision(call))
    )
    for (const lines of refusals) {
      // One try: more would lock an account for longer
      assert.deepEqual([alarmsOf(lines).length, lines.length, codesOf(lines)], [1, 1, [code]])
    }
    await sql(`ALTER ROLE ${plainAdmin} ${unlock}`)
    await fresh.provision()
    await connect(t, await instance.uri('b')).then((client) => client.end())
    await instance.unbind('gone')
    for (const each of [fresh, instance]) {
      await each.deprovision()
      assert.deepEqual(await leftovers(sql, each.token), [])
    }
  })
}

test('[row 4] every operation: a full server is told, the limit stays as it was, and all converges after it', async (t) => {
  const { instance, at } = await instanceAt(t, 'CREATEDB CREATEROLE')
  await instance.bind('gone')
  const fresh = new Instance(providerAt(t, at.adminUrl))
  const leave = await crowd(t)
  const full = await assertUnavailable({ ...at, instance: fresh }, told.full, (call) => fresh.provision(call))
  assert.deepEqual(codesOf(full), ['53300', '53300', '53300', '53300'])
  await assertUnavailable(at, told.full, (call) => instance.bind('b', {}, call))
  assert.deepEqual(await limitOf(instance), [{ datconnlimit: 20 }])
  // The connection that the broker keeps is enough for what needs no other
  await instance.update({ connection_limit: 4 })
  await leave()
  await fresh.provision()
  const client = await connect(t, await instance.uri('b'))
  assert.equal(await scalar(client, 'SELECT 1'), 1)
  assert.deepEqual(await limitOf(instance), [{ datconnlimit: 8 }])
  for (const each of [fresh, instance]) {
    await each.deprovision()
    assert.deepEqual(await leftovers(sql, each.token), [])
  }
})

test('[row 4] unbind and deprovision: an admin with reserved connections works on a full server', async (t) => {
  const { instance, at } = await instanceAt(t, 'CREATEDB CREATEROLE')
  await instance.bind('gone')
  await sql(`GRANT pg_use_reserved_connections TO ${plainAdmin}`)
  cleanUp(t, () => sql(`REVOKE pg_use_reserved_connections FROM ${plainAdmin}`))
  await crowd(t)
  await instance.unbind('gone')
  // The trial of the new credentials is the tenant's own, who has to wait
  await assertUnavailable(at, told.full, (call) => instance.bind('b', {}, call))
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('[row 4] provision: an admin with reserved connections makes a database on a full server', async (t) => {
  const { instance } = await instanceAt(t, 'CREATEDB CREATEROLE')
  const fresh = new Instance(instance.provider)
  await sql(`GRANT pg_use_reserved_connections TO ${plainAdmin}`)
  cleanUp(t, () => sql(`REVOKE pg_use_reserved_connections FROM ${plainAdmin}`))
  await crowd(t)
  await fresh.provision()
  await fresh.deprovision()
  assert.deepEqual(await leftovers(sql, fresh.token), [])
})

function limitOf({ database }: Instance) {
  return sql('SELECT datconnlimit FROM pg_database WHERE datname = $1', [database])
}

/** A provisioned instance, with what assertions have to know of it. */
async function instanceAt(t: TestContext, admin: 'superuser' | 'CREATEDB CREATEROLE' = 'superuser') {
  const { adminUrl } = await setUp(t, { admin, url: server.adminUrl })
  const instance = new Instance(providerAt(t, adminUrl))
  cleanUp(t, () => instance.deprovision())
  await instance.provision()
  return { instance, at: { instance, adminUrl } }
}

function providerAt(t: TestContext, adminUrl: string) {
  const provider = postgresqlProvider({ adminUrl })
  cleanUp(t, () => provider.stop?.())
  return provider
}

/** Strangers take every connection that they can get; answers how to make them leave. */
async function crowd(t: TestContext): Promise<() => Promise<unknown>> {
  await sql(`CREATE ROLE crowd LOGIN PASSWORD 'crowd'; GRANT CONNECT ON DATABASE postgres TO crowd`)
  cleanUp(t, () => sql('DROP OWNED BY crowd; DROP ROLE crowd'))
  const url = new URL(server.adminUrl)
  url.username = 'crowd'
  url.password = 'crowd'
  await assert.rejects(
    async () => {
      for (;;) await connect(t, url.href)
    },
    { code: '53300' }
  )
  const leave = () => sql(`SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE usename = 'crowd'`)
  cleanUp(t, leave)
  return leave
}
