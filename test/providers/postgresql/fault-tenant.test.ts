import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Client } from 'pg'
import { Rejected } from '../../../src/core/provider.ts'
import { alarmsOf, assertDiscreet, assertUnavailable, codesOf, keptLog, told } from './failures.ts'
import { OwnServer } from './own-server.ts'
import { adminKinds, cleanUp, connect, Instance, instanceOf, leftovers, scalar, setUp, until } from './support.ts'

const server = new OwnServer({ wal_level: 'logical', max_replication_slots: '4' })

before(() => server.start())
after(() => server.remove())

for (const admin of adminKinds) {
  test(`[row 9] provision: ${admin} is not kept by a session in the template`, async (t) => {
    const { provider, sql } = await setUp(t, { admin, url: server.adminUrl })
    const template = new URL(server.adminUrl)
    template.pathname = '/template1'
    const client = await connect(t, template.href)
    const instance = new Instance(provider)
    const { log, lines } = keptLog()
    await instance.provision({ log })
    assert.equal(await scalar(client, 'SELECT 1'), 1)
    assert.deepEqual(lines, [])
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })

  test(`[row 13] [row 15] deprovision: ${admin} removes an instance whose tenants come back again and again`, async (t) => {
    const { provider, sql } = await setUp(t, { admin, url: server.adminUrl })
    const instance = new Instance(provider)
    await instance.provision()
    const uris = [await instance.uri('a'), await instance.uri('b'), await instance.uri('c', { role: 'reader' })]
    let storming = true
    let entered = 0
    const storm = async (connectionString: string) => {
      while (storming) {
        const client = new Client({ connectionString })
        client.on('error', () => undefined)
        try {
          await client.connect()
          entered += 1
          await client.query('BEGIN; SELECT pg_sleep(10)')
        } catch {
          // Refused or thrown out; at once again
        } finally {
          await client.end()
        }
      }
    }
    const storms = uris.flatMap((uri) => [storm(uri), storm(uri)])
    cleanUp(t, () => {
      storming = false
    })
    const inside = async () =>
      (await sql('SELECT FROM pg_stat_activity WHERE datname = $1', [instance.database])).length
    await until(async () => (await inside()) >= storms.length)
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
    storming = false
    await Promise.all(storms)
    assert.ok(entered >= storms.length)
  })

  test(`[row 18] deprovision: ${admin} waits for a replication slot in use, and drops one that is not`, async (t) => {
    const { provider, adminUrl, sql } = await setUp(t, { admin, url: server.adminUrl })
    const instance = new Instance(provider)
    await instance.provision()
    const url = new URL(server.adminUrl)
    url.pathname = `/${instance.database}`
    const replica = await connect(t, url.href)
    await replica.query(`SELECT pg_create_logical_replication_slot('idle', 'pgoutput')`)
    await replica.query(`SELECT pg_create_logical_replication_slot('active', 'pgoutput', true)`)
    const lines = await assertUnavailable({ instance, adminUrl }, told.busy, (call) => instance.deprovision(call))
    assert.deepEqual(new Set(codesOf(lines)), new Set(['55006']))
    await replica.end()
    await instance.deprovision()
    assert.deepEqual(await sql('SELECT slot_name FROM pg_replication_slots'), [])
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })

  test(`[row 18] deprovision: ${admin} waits for the end of a subscription`, async (t) => {
    const { provider, adminUrl, sql } = await setUp(t, { admin, url: server.adminUrl })
    const instance = new Instance(provider)
    await instance.provision()
    const url = new URL(server.adminUrl)
    url.pathname = `/${instance.database}`
    const subscriber = await connect(t, url.href)
    await subscriber.query(
      `CREATE SUBSCRIPTION sub CONNECTION 'dbname=nowhere' PUBLICATION pub WITH (connect = false, slot_name = NONE)`
    )
    const lines = await assertUnavailable({ instance, adminUrl }, told.busy, (call) => instance.deprovision(call))
    assert.deepEqual(new Set(codesOf(lines)), new Set(['55006']))
    await subscriber.query('DROP SUBSCRIPTION sub')
    // Whom a plain admin could not throw out
    await subscriber.end()
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })

  test(`[row 22] unbind: ${admin} finds the login gone and is content`, async (t) => {
    const { provider, sql } = await setUp(t, { admin, url: server.adminUrl })
    const instance = await instanceOf(t, provider)
    const state = await instance.bind('b').then(() => instance.states.get('b'))
    const login = `osb_b_${instance.token}_${state?.suffix}`
    const url = new URL(server.adminUrl)
    url.pathname = `/${instance.database}`
    const root = await connect(t, url.href)
    await root.query(`DROP OWNED BY ${login}; DROP ROLE ${login}`)
    await root.end()
    const { log, lines } = keptLog()
    await instance.unbind('b', { log })
    if (state !== undefined) instance.states.set('b', state)
    await instance.unbind('b', { log })
    assert.deepEqual(lines, [])
    assert.equal((await leftovers(sql, instance.token)).length, 3)
  })

  test(`[row 26] bind: ${admin} gives a tenant that changed its password one that works, and it alone`, async (t) => {
    const { provider } = await setUp(t, { admin, url: server.adminUrl })
    const instance = await instanceOf(t, provider)
    const uri = await instance.uri('b')
    const client = await connect(t, uri)
    await client.query(`SET ROLE NONE; ALTER ROLE CURRENT_USER PASSWORD 'its own'`)
    await assert.rejects(connect(t, uri), { code: '28P01' })
    const again = await instance.uri('b')
    assert.notEqual(again, uri)
    await connect(t, again)
    await assert.rejects(connect(t, uri), { code: '28P01' })
    await client.query(`ALTER ROLE CURRENT_USER PASSWORD 'its own'`)
    const changed = new URL(uri)
    changed.password = 'its own'
    await connect(t, changed.href)
    await instance.unbind('b')
    await assert.rejects(connect(t, changed.href), { code: '28P01' })
  })

  test(`[row 27] life: ${admin} is not touched by what a tenant sets, and limits of connections hold`, async (t) => {
    const { provider, sql } = await setUp(t, { admin, url: server.adminUrl })
    const instance = new Instance(provider)
    instance.options = { connection_limit: 2, statement_timeout: '90s' }
    await instance.provision()
    const uri = await instance.uri('b')
    const client = await connect(t, uri)
    assert.equal(await scalar(client, 'SHOW statement_timeout'), '90s')
    await client.query('SET ROLE NONE')
    for (const setting of [
      'statement_timeout = 1',
      'lock_timeout = 1',
      `search_path = 'nowhere'`,
      'default_transaction_read_only = on',
      `role = 'none'`
    ]) {
      await client.query(`ALTER ROLE CURRENT_USER SET ${setting}`)
      await client.query(`ALTER ROLE CURRENT_USER IN DATABASE ${instance.database} SET ${setting}`)
    }
    for (const limit of ['CONNECTION LIMIT -1', `VALID UNTIL '2000-01-01'`]) {
      await assert.rejects(client.query(`ALTER ROLE CURRENT_USER ${limit}`), { code: '42501' })
    }
    await assert.rejects(client.query(`ALTER DATABASE ${instance.database} CONNECTION LIMIT -1`), { code: '42501' })
    await connect(t, uri)
    await assert.rejects(connect(t, uri), { code: '53300' })
    await instance.bind('c')
    await instance.update({ connection_limit: 3 })
    await instance.unbind('b')
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })

  test(`[row 23] bind and update: ${admin} says clearly that the database is gone, and the delete works`, async (t) => {
    const { provider, adminUrl, sql } = await setUp(t, { admin, url: server.adminUrl })
    const instance = new Instance(provider)
    await instance.provision()
    await instance.bind('b')
    await sql(`DROP DATABASE ${instance.database} WITH (FORCE)`)
    const { log, lines } = keptLog()
    for (const work of [() => instance.bind('c', {}, { log }), () => instance.update({}, { log })]) {
      await assert.rejects(work, (error) => {
        assert.ok(error instanceof Rejected)
        assert.deepEqual(
          [error.status, error.message],
          [500, 'The database of this service instance no longer exists.']
        )
        return true
      })
    }
    assertDiscreet(lines, { instance, adminUrl })
    await instance.unbind('c')
    await instance.unbind('b')
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })
}

test('[row 16] deprovision: a superuser whose session an admin may not end is an alarm, until it leaves', async (t) => {
  const { provider, adminUrl, sql } = await setUp(t, { admin: 'CREATEDB CREATEROLE', url: server.adminUrl })
  const instance = new Instance(provider)
  await instance.provision()
  await instance.bind('b')
  const url = new URL(server.adminUrl)
  url.pathname = `/${instance.database}`
  const operator = await connect(t, url.href)
  const lines = await assertUnavailable({ instance, adminUrl }, told.forbidden, (call) => instance.deprovision(call))
  assert.deepEqual([codesOf(lines), alarmsOf(lines).length], [['42501'], 1])
  assert.equal(await scalar(operator, 'SELECT 1'), 1)
  await operator.end()
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('[row 10] provision: of an instance that another login made is rejected, and leaves it alone', async (t) => {
  const { provider, sql } = await setUp(t, { url: server.adminUrl })
  const theirs = await instanceOf(t, provider)
  const before = await leftovers(sql, theirs.token)
  const { provider: other, adminUrl } = await setUp(t, { admin: 'CREATEDB CREATEROLE', url: server.adminUrl })
  const instance = new Instance(other)
  instance.states.set(instance.id, { token: theirs.token })
  const { log, lines } = keptLog()
  await assert.rejects(instance.provision({ log }), (error) => {
    assert.ok(error instanceof Rejected)
    assert.deepEqual(
      [error.status, error.message],
      [500, 'The database of this service instance belongs to another login than the broker uses now.']
    )
    return true
  })
  assertDiscreet(lines, { instance, adminUrl })
  assert.deepEqual(await leftovers(sql, theirs.token), before)
  const client = await connect(t, await theirs.uri('b'))
  assert.equal(await scalar(client, 'SELECT 1'), 1)
})
