import assert from 'node:assert/strict'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Rejected, Unavailable } from '../../../src/core/provider.ts'
import { startEmbeddedPostgres } from '../../../src/embedded-postgres/index.ts'
import { postgresqlProvider } from '../../../src/providers/postgresql/index.ts'
import { removeServer } from '../../helper/postgres.ts'
import { cleanUp, connect, Instance, instanceOf, leftovers, scalar, setUp, superuserUrl } from './support.ts'

/** A server of the test's own. */
async function anotherServer(t: TestContext, settings: Record<string, string> = {}) {
  const dataDir = mkdtempSync(join(tmpdir(), `osb-test-postgres-${process.pid}-`))
  const server = await startEmbeddedPostgres({ dataDir, settings: { fsync: 'off', ...settings } })
  cleanUp(t, async () => {
    await server.stop()
    removeServer(dataDir)
  })
  return server
}

const nowhere = 'postgresql://a:b@127.0.0.1:1/postgres'

test('servers: a new instance goes to the emptiest of its plan that has room, and stays there', async (t) => {
  const [blue, green] = [await anotherServer(t), await anotherServer(t)]
  const { sql: onBlue } = await setUp(t, { url: blue.adminUrl })
  const { sql: onGreen } = await setUp(t, { url: green.adminUrl })
  const provider = postgresqlProvider({
    servers: {
      blue: { adminUrl: blue.adminUrl, maxDatabases: 4, publicHost: 'blue.example' },
      green: { adminUrl: green.adminUrl, maxDatabases: 2 },
      down: { adminUrl: nowhere }
    }
  })
  cleanUp(t, () => provider.stop?.())
  await provider.start?.()
  const made: Instance[] = []
  const serverOfNext = async (servers?: string[]) => {
    const instance = new Instance(provider)
    if (servers !== undefined) instance.options = { servers }
    cleanUp(t, () => instance.deprovision())
    await instance.provision()
    made.push(instance)
    return instance.states.get(instance.id)?.server
  }
  const order: unknown[] = []
  for (let count = 0; count < 6; count++) order.push(await serverOfNext(['blue', 'green']))
  // 0/4 and 0/2, 1/4 and 0/2, 1/4 and 1/2, 2/4 and 1/2, …
  assert.deepEqual(order, ['blue', 'green', 'blue', 'blue', 'green', 'blue'])
  await assert.rejects(serverOfNext(), (error) => {
    return (
      error instanceof Unavailable &&
      error.message === 'The database servers of the plan have no room for another database.'
    )
  })
  await assert.rejects(serverOfNext(['down']), /^Unavailable: The database server cannot be reached at the moment\.$/)

  const [first, second] = made
  assert.ok(first !== undefined && second !== undefined)
  const { credentials } = await first.bind('b')
  assert.equal(credentials?.host, 'blue.example')
  const client = await connect(t, await second.uri('b'))
  assert.equal(await scalar(client, 'SHOW port'), new URL(green.adminUrl).port)
  assert.equal((await leftovers(onGreen, second.token)).length, 4)
  assert.equal((await leftovers(onBlue, first.token)).length, 4)
  assert.equal((await leftovers(onBlue, second.token)).length, 0)

  const believed = made.flatMap((instance) =>
    [...instance.states].flatMap(([id, state]) => {
      return provider.inventory?.namesOf(id === instance.id ? 'instance' : 'binding', state) ?? []
    })
  )
  await assert.rejects(async () => provider.inventory?.list(), 'a server that is down cannot be compared')
  const both = postgresqlProvider({
    servers: { blue: { adminUrl: blue.adminUrl }, green: { adminUrl: green.adminUrl } }
  })
  cleanUp(t, () => both.stop?.())
  const listed = (await both.inventory?.list()) ?? []
  assert.deepEqual(
    believed.filter((name) => !listed.includes(name)),
    []
  )
  assert.ok(believed.includes(`green: database ${second.database}`))

  await assert.rejects(
    second.update({ servers: ['blue'] }),
    (error) => error instanceof Rejected && error.status === 422
  )
  await second.update({ servers: ['green'], connection_limit: 3 })
  await second.deprovision()
  assert.deepEqual(await leftovers(onGreen, second.token), [])
})

test('servers: an instance on one that is not configured any more is not lost, and not looked for elsewhere', async (t) => {
  const { sql } = await setUp(t)
  const adminUrl = await superuserUrl()
  const provider = postgresqlProvider({ servers: { old: { adminUrl } } })
  cleanUp(t, () => provider.stop?.())
  const instance = await instanceOf(t, provider)
  const renamed = postgresqlProvider({ servers: { new: { adminUrl } } })
  cleanUp(t, () => renamed.stop?.())
  const asked = new Instance(renamed)
  for (const [id, state] of instance.states) asked.states.set(id === instance.id ? asked.id : id, state)
  for (const work of [() => asked.bind('b'), () => asked.update({}), () => asked.deprovision()]) {
    await assert.rejects(work(), (error) => {
      return (
        error instanceof Unavailable &&
        error.message === 'The database server of this service instance is not configured.'
      )
    })
  }
  // The watch goes on with the other instances.
  await asked.watch()
  assert.equal((await leftovers(sql, instance.token)).length, 3)
})

test('servers: an instance of the time of one server is on the one called default', async (t) => {
  const { provider } = await setUp(t)
  const instance = await instanceOf(t, provider)
  const { server: _, ...state } = instance.states.get(instance.id) ?? {}
  instance.states.set(instance.id, state)
  const client = await connect(t, await instance.uri('b'))
  assert.equal(await scalar(client, 'SELECT current_database()'), instance.database)
})

test("provision: a name of the user's ends the name of the database, and cannot be changed", async (t) => {
  const { provider, sql } = await setUp(t)
  const instance = new Instance(provider)
  instance.parameters = { database: 'orders_2' }
  await instance.provision()
  assert.match(instance.database, /^osb_d_[a-z2-7]{20}_orders_2$/)
  const { credentials } = await instance.bind('b')
  assert.equal(credentials?.database, instance.database)
  const client = await connect(t, String(credentials?.uri))
  assert.equal(await scalar(client, 'SELECT current_database()'), instance.database)
  const listed = (await provider.inventory?.list()) ?? []
  const believed = [...instance.states].flatMap(([id, state]) =>
    provider.inventory?.namesOf(id === instance.id ? 'instance' : 'binding', state)
  )
  assert.ok(believed.every((name) => listed.includes(String(name))))
  instance.parameters = { database: 'other' }
  await assert.rejects(instance.update({}), (error) => error instanceof Rejected && error.status === 422)
  instance.parameters = { database: 'orders_2' }
  await instance.update({ connection_limit: 3 })
  await instance.unbind('b')
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
  for (const database of ['Orders', '2', 'a-b', 'a'.repeat(31), '', 7, null]) {
    const wrong = new Instance(provider)
    wrong.parameters = { database }
    await assert.rejects(wrong.provision(), (error) => error instanceof Rejected && error.status === 400)
    assert.equal(wrong.states.size, 0)
  }
})

test('inventory: what keeps a database from being dropped is listed', async (t) => {
  const server = await anotherServer(t, { wal_level: 'logical' })
  const { provider } = await setUp(t, { url: server.adminUrl })
  const instance = await instanceOf(t, provider)
  const url = new URL(server.adminUrl)
  url.pathname = `/${instance.database}`
  const inside = await connect(t, url.href)
  await inside.query(`SELECT pg_create_logical_replication_slot('left_behind', 'pgoutput')`)
  cleanUp(t, () => inside.query(`SELECT pg_drop_replication_slot('left_behind')`))
  const listed = (await provider.inventory?.list()) ?? []
  assert.ok(listed.includes(`replication slot left_behind of database ${instance.database}`))
  assert.deepEqual(
    listed.filter((name) => name.startsWith('directory')),
    []
  )
})

test('provision: no more maintenance connections are opened than the pool has', async (t) => {
  const { provider, sql } = await setUp(t, { poolSize: 2 })
  const instances = Array.from({ length: 6 }, () => new Instance(provider))
  const over = new AbortController()
  let most = 0
  const looking = (async () => {
    while (!over.signal.aborted) {
      const [row] = await sql(
        `SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = 'postgres'
         AND (application_name = 'osb' OR application_name LIKE 'osb:%' AND application_name <> 'osb:guard')`
      )
      most = Math.max(most, Number(row?.n))
    }
  })()
  await Promise.all(instances.map((instance) => instance.provision()))
  over.abort()
  await looking
  assert.equal(most, 2)
  for (const instance of instances) await instance.deprovision()
})
