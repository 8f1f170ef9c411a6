import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { Unavailable } from '../../../src/core/provider.ts'
import { alarmsOf, keptLog } from './failures.ts'
import { acts, eventually, guarded, rulesAgainst, Tenant } from './guard-scene.ts'
import { OwnServer } from './own-server.ts'
import {
  type AdminKind,
  adminKinds,
  cleanUp,
  connect,
  Instance,
  instanceOf,
  leftovers,
  plainAdmin,
  scalar,
  setUp
} from './support.ts'

const server = new OwnServer({ max_prepared_transactions: '10' })

before(() => server.start())
after(() => server.remove())

/** The role of a binding, and the role in which its holder prepares a transaction. */
const cases = [
  ['reader', 'r'],
  ['owner', 'o']
] as const

for (const admin of adminKinds) {
  for (const guard of [false, true]) {
    for (const [role, letter] of cases) {
      const what = `with ${admin} and ${guard ? 'a' : 'no'} guard, a transaction that was prepared as the ${role}`

      test(`unbind: ${what} does not keep the binding alive`, async (t) => {
        const { instance, login, sql, prepared } = await resisting(t, { admin, guard, role, letter })
        await instance.unbind('b')
        assert.deepEqual(await sql('SELECT FROM pg_roles WHERE rolname = $1', [login]), [])
        assert.deepEqual(await prepared(), [])
        await instance.deprovision()
        assert.deepEqual(await leftovers(sql, instance.token), [])
      })

      test(`deprovision: ${what} does not keep the instance alive`, async (t) => {
        const { instance, sql, prepared } = await resisting(t, { admin, guard, role, letter })
        await instance.deprovision()
        assert.deepEqual(await leftovers(sql, instance.token), [])
        assert.deepEqual(await prepared(), [])
      })
    }
  }

  test(`blocks-broker: with ${admin}, a transaction that a login without rights has prepared as the reader is rolled back`, async (t) => {
    const { mine, lines, sql } = await guarded(t, { admin, url: server.adminUrl })
    const { login, reader } = await preparedAsReader(t, mine)
    const grantor = admin === 'superuser' ? 'postgres' : plainAdmin
    await sql(`REVOKE ${reader} FROM ${login} GRANTED BY ${grantor}`)
    await changeAsBroker(t, login)
    assert.deepEqual(await sql('SELECT gid FROM pg_prepared_xacts WHERE database = $1', [mine.database]), [])
    await eventually(() => acts(lines).length > 0, 'the log has it')
    assert.deepEqual(rulesAgainst(lines, reader), ['blocks-broker'])
  })

  test(`unbind: with ${admin}, a transaction that another binding has prepared as the owner stays`, async (t) => {
    const { provider } = await setUp(t, { admin, url: server.adminUrl })
    const instance = await instanceOf(t, provider)
    await instance.bind('b')
    const other = await connect(t, await instance.uri('other'))
    await other.query('BEGIN; CREATE TABLE kept (id int)')
    await other.query(`PREPARE TRANSACTION 'honest'`)
    await instance.unbind('b')
    await other.query(`COMMIT PREPARED 'honest'`)
    await other.query('SELECT FROM kept')
  })

  for (const [guard, locked] of [
    [false, false],
    [true, false],
    [false, true],
    [true, true]
  ]) {
    const what = `with ${admin} and ${guard ? 'a' : 'no'} guard`
    const where = `a database without free connections${locked ? ' and with a locked row' : ''}`
    test(`deprovision: ${what}, a prepared transaction in ${where} is in nobody's way`, async (t) => {
      const { provider, sql } = await setUp(t, { admin, url: server.adminUrl })
      if (guard) await provider.start?.({ log: keptLog().log, audit: async () => undefined })
      const victim = await instanceOf(t, provider)
      const attacker = await instanceOf(t, provider, { connection_limit: 3, database_connection_limit: 3 })
      const uri = await attacker.uri('b')
      const client = await connect(t, uri)
      await client.query(
        `SET ROLE NONE; BEGIN; ALTER ROLE CURRENT_USER IN DATABASE ${victim.database} SET work_mem = '5MB'`
      )
      // Only a warning, but it writes the row of the database.
      if (locked) await client.query(`GRANT CONNECT ON DATABASE ${attacker.database} TO CURRENT_USER`)
      await client.query(`PREPARE TRANSACTION 'hostile'`)
      await connect(t, uri)
      await connect(t, uri)
      await victim.deprovision()
      assert.deepEqual(await leftovers(sql, victim.token), [])
      const [row] = await sql('SELECT datconnlimit AS "limit" FROM pg_database WHERE datname = $1', [attacker.database])
      assert.equal(row?.limit, 3)
      if (!locked) assert.equal(await scalar(client, 'SELECT 1'), 1)
    })
  }
}

test('a plain admin that may not act as the reader says so once, and rolls back as soon as it may', async (t) => {
  const { mine, lines, sql } = await guarded(t, { admin: 'CREATEDB CREATEROLE', url: server.adminUrl })
  const [row] = await sql(`SELECT current_setting('server_version_num')::int >= 160000 AS modern`)
  if (row?.modern !== true) return t.skip('Before PostgreSQL 16, CREATEROLE is enough to become a member.')
  const { login, reader } = await preparedAsReader(t, mine)
  await sql(`REVOKE ${reader} FROM ${plainAdmin} CASCADE`)
  const changed = changeAsBroker(t, login)
  await eventually(() => lines.some(({ level }) => level === 'error'), 'the log has it')
  await sql(`GRANT ${reader} TO ${plainAdmin} WITH ADMIN OPTION`)
  await changed
  const alarms = lines.filter(({ level }) => level === 'error')
  assert.equal(alarms.length, 1)
  assert.match(alarms[0]?.message ?? '', /may not roll back a prepared transaction.*with ADMIN OPTION/)
  assert.doesNotMatch(alarms[0]?.message ?? '', /pg_signal_backend/)
})

test('deprovision: a transaction that an administrator has prepared keeps the database, and the database is closed', async (t) => {
  const { provider, sql } = await setUp(t, { admin: 'CREATEDB CREATEROLE', url: server.adminUrl })
  const instance = new Instance(provider)
  await instance.provision()
  const inside = new URL(server.adminUrl)
  inside.pathname = `/${instance.database}`
  const operator = await connect(t, inside.href)
  await operator.query(`BEGIN; CREATE TABLE kept (id int); PREPARE TRANSACTION 'of the operator'`)
  const { log, lines } = keptLog()
  await assert.rejects(instance.deprovision({ log }), Unavailable)
  assert.match(JSON.stringify(alarmsOf(lines)), /permission denied to set role/)
  const [row] = await sql('SELECT datallowconn AS open FROM pg_database WHERE datname = $1', [instance.database])
  assert.equal(row?.open, false)
  await operator.query(`ROLLBACK PREPARED 'of the operator'`)
  await operator.end()
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

/** A reader that has prepared a transaction with a lock on the row of its login. */
async function preparedAsReader(t: TestContext, instance: Instance) {
  const tenant = await Tenant.on(t, await instance.uri('b', { role: 'reader' }))
  await prepare(tenant, instance, 'r')
  return { login: tenant.login, reader: `osb_r_${instance.token}` }
}

/** Changes the row of a login as a statement of the broker does. Only the guard can unblock it. */
async function changeAsBroker(t: TestContext, login: string): Promise<void> {
  const session = await connect(t, server.adminUrl)
  await session.query(`SET application_name = 'osb:test'; SET lock_timeout = '20s'`)
  await session.query(`ALTER ROLE ${login} CONNECTION LIMIT 5`)
}

/** An instance, and a binding with a holder that has prepared a transaction with a lock on the row of the login. */
async function resisting(
  t: TestContext,
  { admin, guard, role, letter }: { admin: AdminKind; guard: boolean; role: string; letter: 'o' | 'r' }
) {
  const { provider, sql } = await setUp(t, { admin, url: server.adminUrl })
  if (guard) await provider.start?.({ log: keptLog().log, audit: async () => undefined })
  const instance = new Instance(provider)
  cleanUp(t, () => instance.deprovision())
  await instance.provision()
  const tenant = await Tenant.on(t, await instance.uri('b', { role }))
  await prepare(tenant, instance, letter)
  const prepared = () => sql('SELECT gid FROM pg_prepared_xacts WHERE database = $1', [instance.database])
  assert.equal((await prepared()).length, 1)
  return { instance, sql, prepared, login: tenant.login }
}

async function prepare(tenant: Tenant, { database, token }: Instance, letter: 'o' | 'r'): Promise<void> {
  await tenant.run(
    'SET default_transaction_read_only = off',
    'SET ROLE NONE',
    'BEGIN',
    `ALTER ROLE CURRENT_USER PASSWORD 'x'`,
    `SET ROLE osb_${letter}_${token}`,
    `PREPARE TRANSACTION '${database}'`
  )
}
