import assert from 'node:assert/strict'
import { Socket } from 'node:net'
import { after, before, type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Client } from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { alone } from '../../../src/providers/postgresql/alone.ts'
import { faultOf } from '../../../src/providers/postgresql/faults.ts'
import { AdminServer } from '../../../src/providers/postgresql/server.ts'
import { keptLog, untilDone } from './failures.ts'
import { OwnServer } from './own-server.ts'
import {
  type AdminKind,
  adminKinds,
  cleanUp,
  connect,
  Instance,
  instanceOf,
  leftovers,
  scalar,
  setUp,
  until
} from './support.ts'

/** With prepared transactions, which a further major's server allows already. */
const own = new OwnServer({ max_prepared_transactions: '10' })
const further = process.env.TEST_POSTGRESQL_ADMIN_URL
const url = () => further ?? own.adminUrl

before(() => (further === undefined ? own.start() : undefined))
after(() => (further === undefined ? own.remove() : undefined))

/** From the request on, nobody is in, and nobody gets in, after this time. */
const REVOKED_MS = 5_000

/** What the holder of a binding does to keep it. It owns the session; `uri` opens further ones. */
type Resistance = (scene: { t: TestContext; client: Client; uri: string; database: string }) => Promise<unknown>

const resistances: Record<string, Resistance> = {
  'an open change of its password': ({ client }) =>
    client.query(`BEGIN READ WRITE; ALTER ROLE CURRENT_USER PASSWORD 'x'`),
  'an open change of its settings': ({ client }) => client.query(`BEGIN; ALTER ROLE CURRENT_USER SET work_mem = '5MB'`),
  'an open change of its settings in the database': ({ client, database }) =>
    client.query(`BEGIN; ALTER ROLE CURRENT_USER IN DATABASE ${database} SET work_mem = '5MB'`),
  'an open grant on its database': ({ client, database }) =>
    client.query(`BEGIN; GRANT CONNECT ON DATABASE ${database} TO CURRENT_USER`),
  'a statement that runs': async ({ t, client, uri }) => {
    await client.query(`BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'x'`)
    client.query('SELECT pg_sleep(900)').catch(() => undefined)
    const busy = await connect(t, uri)
    busy.query('SELECT count(*) FROM generate_series(1, 100000000000)').catch(() => undefined)
  },
  'an answer that it does not read': async ({ client }) => {
    await client.query(`BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'x'`)
    const stream: unknown = Reflect.get(Reflect.get(client, 'connection'), 'stream')
    assert.ok(stream instanceof Socket)
    client.query(`SELECT repeat('x', 1000000) FROM generate_series(1, 10000)`).catch(() => undefined)
    stream.pause()
  },
  'changes from connections that come back': async ({ t, uri }) => {
    const entered = await storm(t, {
      uri,
      count: 8,
      sql: `SET ROLE NONE; ALTER ROLE CURRENT_USER SET work_mem = '5MB'`
    })
    await until(async () => entered() >= 16 || nextTurn(false))
  },
  'passwords from connections that come back': async ({ t, uri }) => {
    const { password } = new URL(uri)
    const sql = `SET ROLE NONE; ALTER ROLE CURRENT_USER PASSWORD '${password}'`
    const entered = await storm(t, { uri, count: 8, sql: `${sql}; BEGIN; ${sql}; SELECT pg_sleep(0.05); COMMIT` })
    await until(async () => entered() >= 16 || nextTurn(false))
  },
  'a prepared transaction': async ({ client, database }) => {
    await client.query(`BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'x'; GRANT USAGE ON SCHEMA public TO SESSION_USER`)
    await client.query(`PREPARE TRANSACTION '${database}'`)
  },
  'connections to a database that is locked': async ({ t, client, uri, database }) => {
    await client.query(`BEGIN; ALTER ROLE CURRENT_USER IN DATABASE ${database} SET work_mem = '5MB'`)
    const dropper = await connect(t, uri)
    dropper.query(`DROP DATABASE ${database}`).catch(() => undefined)
    const watcher = await connect(t, url())
    await until(async () => (await waiting(watcher, database)) === 1)
    for (let count = 0; count < 3; count++) void enter(t, uri)
    await until(async () => (await waiting(watcher, database)) === 4)
  }
}

for (const admin of adminKinds) {
  for (const [name, resist] of Object.entries(resistances)) {
    test(`unbind: with ${admin}, ${name} does not keep a binding alive`, async (t) => {
      const { instance, login, id, uri, sql } = await scene(t, { admin, resist })
      const began = performance.now()
      await instance.unbind('b')
      await assertRevoked({ sql, uri, id, began })
      assert.deepEqual(await sql('SELECT FROM pg_roles WHERE rolname = $1', [login]), [])
      await instance.deprovision()
      assert.deepEqual(await leftovers(sql, instance.token), [])
    })

    test(`deprovision: with ${admin}, ${name} does not keep an instance alive`, async (t) => {
      const { instance, id, uri, sql } = await scene(t, { admin, resist })
      const began = performance.now()
      await instance.deprovision()
      await assertRevoked({ sql, uri, id, began })
      assert.deepEqual(await leftovers(sql, instance.token), [])
    })
  }

  test(`unbind: with ${admin}, a reader cannot keep its binding alive`, async (t) => {
    const resist = resistances['an open change of its password'] ?? assert.fail()
    const { instance, id, uri, sql } = await scene(t, { admin, resist, role: 'reader' })
    const began = performance.now()
    await instance.unbind('b')
    await assertRevoked({ sql, uri, id, began })
  })

  test(`unbind: with ${admin}, another binding does not keep connections for later`, async (t) => {
    const { instance, database, id, uri, sql } = await scene(t, { admin, resist: async () => undefined })
    const sibling = await instance.uri('sibling')
    const holder = await connect(t, sibling)
    await holder.query(`SET ROLE NONE; BEGIN; ALTER ROLE CURRENT_USER IN DATABASE ${database} SET work_mem = '5MB'`)
    const dropper = await connect(t, sibling)
    dropper.query(`DROP DATABASE ${database}`).catch(() => undefined)
    const watcher = await connect(t, url())
    await until(async () => (await waiting(watcher, database)) === 1)
    // They have passed the check of their role
    for (let count = 0; count < 3; count++) void enter(t, uri)
    await until(async () => (await waiting(watcher, database)) === 4)
    const began = performance.now()
    await instance.unbind('b')
    await assertRevoked({ sql, uri, id, began })
    assert.equal(await waiting(watcher, database), 0)
    assert.equal(await scalar(holder, 'SELECT 1'), 1)
  })

  test(`unbind: with ${admin}, upkeep that a tenant slows down is ended, and fails as passing`, async (t) => {
    const { instance, adminUrl, id, uri, sql } = await scene(t, { admin, resist: async () => undefined })
    const server = new AdminServer({ adminUrl })
    cleanUp(t, () => server.close())
    const { log } = keptLog()
    const slow = Promise.withResolvers<void>()
    const upkeep = alone(
      server,
      { log, signal: new AbortController().signal },
      {
        token: instance.token,
        run: (maintenance) => {
          slow.resolve()
          return maintenance.query('SELECT pg_sleep(900)')
        }
      }
    )
    const ended = assert.rejects(upkeep, (error) => faultOf(error) !== undefined && faultOf(error)?.alarm === false)
    await slow.promise
    const began = performance.now()
    await instance.unbind('b')
    await assertRevoked({ sql, uri, id, began })
    await ended
  })
}

test('unbind: a lock of a superuser is waited for, and its session is left alone', async (t) => {
  const { instance, login, uri, sql } = await scene(t, { admin: 'superuser', resist: async () => undefined })
  const operator = await connect(t, url())
  await operator.query(`BEGIN; ALTER ROLE ${login} SET work_mem = '5MB'; COMMENT ON ROLE ${login} IS 'kept'`)
  await operator.query(`ALTER ROLE ${login} CONNECTION LIMIT 3`)
  await assert.rejects(instance.unbind('b'), Unavailable)
  assert.equal(await scalar(operator, 'SELECT 1'), 1)
  await operator.query('COMMIT')
  await instance.unbind('b')
  await assert.rejects(connect(t, uri), { code: '28P01' })
  assert.deepEqual(await sql('SELECT FROM pg_roles WHERE rolname = $1', [login]), [])
})

test('unbind: a tenant that got into the maintenance database holds the lock of the instance in vain', async (t) => {
  const { instance, login, id, uri, sql } = await scene(t, { admin: 'superuser', resist: async () => undefined })
  await sql(`GRANT CONNECT ON DATABASE postgres TO ${login}`)
  const other = new URL(uri)
  other.pathname = '/postgres'
  const holder = await connect(t, other.href)
  await holder.query(`SELECT pg_advisory_lock(hashtextextended('osb:${instance.token}', 0))`)
  const began = performance.now()
  await instance.unbind('b')
  await assertRevoked({ sql, uri, id, began })
  assert.deepEqual(await sql('SELECT FROM pg_roles WHERE rolname = $1', [login]), [])
})

test('unbind: a lock of another binding on objects of the instance is waited for', async (t) => {
  const { provider } = await setUp(t, { url: url() })
  const instance = await instanceOf(t, provider)
  const stray = await connect(t, await instance.uri('stray'))
  const holder = await connect(t, await instance.uri('holder'))
  await stray.query('SET ROLE NONE; CREATE SCHEMA mine; CREATE TABLE mine.held (id int)')
  await holder.query('BEGIN; SELECT FROM mine.held')
  await assert.rejects(instance.unbind('stray'), Unavailable)
  assert.equal(await scalar(holder, 'SELECT count(*)::int FROM mine.held'), 0)
})

test('unbind: a prepared transaction of the instance on its objects is waited for, but not for ever', async (t) => {
  const { provider, adminUrl, sql } = await setUp(t, { admin: 'CREATEDB CREATEROLE', url: url() })
  const instance = await instanceOf(t, provider)
  const stray = await connect(t, await instance.uri('stray'))
  await stray.query('SET ROLE NONE; CREATE SCHEMA mine; CREATE TABLE mine.held (id int); RESET ROLE')
  await stray.query('BEGIN; SELECT FROM mine.held')
  await stray.query(`PREPARE TRANSACTION 'held in ${instance.database}'`)
  const prepared = () => sql('SELECT gid FROM pg_prepared_xacts WHERE database = $1', [instance.database])
  await assert.rejects(instance.unbind('stray'), Unavailable)
  assert.equal((await prepared()).length, 1)
  await untilDone({ instance, adminUrl }, (call) => instance.unbind('stray', call))
  assert.deepEqual(await prepared(), [])
})

/** An instance with a binding whose holder resists. */
async function scene(
  t: TestContext,
  { admin, resist, role = 'owner' }: { admin: AdminKind; resist: Resistance; role?: string }
) {
  const { provider, adminUrl, sql } = await setUp(t, { admin, url: url() })
  const instance = new Instance(provider)
  cleanUp(t, () => instance.deprovision())
  await instance.provision()
  const uri = await instance.uri('b', { role })
  const client = await connect(t, uri)
  const { database } = instance
  const login = String(await scalar(client, 'SELECT session_user'))
  const [row] = await sql('SELECT oid FROM pg_roles WHERE rolname = $1', [login])
  await client.query('SET ROLE NONE')
  await resist({ t, client, uri, database })
  return { instance, adminUrl, sql, uri, login, database, id: row?.oid }
}

/** The time since the request is not over, no session is left, and no new one is accepted, from then on. */
async function assertRevoked({
  sql,
  uri,
  id,
  began
}: {
  sql: (statement: string, values?: unknown[]) => Promise<unknown[]>
  uri: string
  id: unknown
  began: number
}): Promise<void> {
  const took = performance.now() - began
  assert.ok(took < REVOKED_MS, `took ${took} ms`)
  assert.deepEqual(await sql('SELECT pid, query FROM pg_stat_activity WHERE usesysid = $1', [id]), [])
  const client = new Client({ connectionString: uri })
  client.on('error', () => undefined)
  const refusal = await client.connect().then(
    () => 'none',
    (error) => String(error.code)
  )
  await client.end()
  // No such role or password, or no such database
  assert.match(refusal, /^28|^3D000$/)
  assert.deepEqual(await sql('SELECT pid, query FROM pg_stat_activity WHERE usesysid = $1', [id]), [])
}

/** Connects, works and hangs up again and again, until the test ends; answers how often it got in. */
async function storm(t: TestContext, { uri, count, sql }: { uri: string; count: number; sql: string }) {
  let storming = true
  let entered = 0
  const rage = async () => {
    while (storming) {
      const client = new Client({ connectionString: uri })
      client.on('error', () => undefined)
      try {
        await client.connect()
        entered += 1
        await client.query(sql)
      } catch {
        // Refused or thrown out; at once again
      }
      await client.end().catch(() => undefined)
    }
  }
  const raging = Array.from({ length: count }, rage)
  cleanUp(t, async () => {
    storming = false
    await Promise.all(raging)
  })
  return () => entered
}

/** A connection that may have to wait, and stays open. */
async function enter(t: TestContext, uri: string): Promise<void> {
  const client = new Client({ connectionString: uri })
  client.on('error', () => undefined)
  cleanUp(t, () => client.end())
  await client.connect().catch(() => undefined)
}

/** How many processes wait for the lock of a database. */
async function waiting(watcher: Client, database: string): Promise<number> {
  return Number(
    await scalar(
      watcher,
      `SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND NOT granted
         AND objid = (SELECT oid FROM pg_database WHERE datname = '${database}')`
    )
  )
}
