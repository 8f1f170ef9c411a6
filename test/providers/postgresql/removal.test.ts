import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import type { Client } from 'pg'
import { alarmsOf, keptLog } from './failures.ts'
import { OwnServer } from './own-server.ts'
import { type AdminKind, adminKinds, cleanUp, connect, Instance, leftovers, scalar, setUp, until } from './support.ts'
import { assertStripped, everyRole, type Roles, victimScene } from './victim.ts'

const own = new OwnServer({ max_prepared_transactions: '10' })
const further = process.env.TEST_POSTGRESQL_ADMIN_URL
const url = () => further ?? own.adminUrl

before(() => (further === undefined ? own.start() : undefined))
after(() => (further === undefined ? own.remove() : undefined))

const scene = (t: TestContext, admin: AdminKind) => victimScene(t, admin, url())

/** What another tenant does to keep the roles of a victim from being dropped. */
type Attack = (attacker: Client, victim: Roles, reader: () => Promise<Client>) => Promise<unknown>

const attacks: Record<string, Attack> = {
  'an open transaction with grants': async (attacker, victim) => {
    await attacker.query('CREATE TABLE bait (id int); BEGIN')
    for (const role of everyRole(victim)) await attacker.query(`GRANT SELECT ON bait TO ${role}`)
  },
  'an open transaction with grants, and grants before': async (attacker, victim) => {
    await attacker.query('CREATE TABLE bait (id int)')
    for (const role of everyRole(victim)) await attacker.query(`GRANT SELECT ON bait TO ${role}`)
    await attacker.query('BEGIN; LOCK TABLE bait')
    for (const role of everyRole(victim)) await attacker.query(`GRANT ALL ON bait TO ${role}`)
  },
  'a prepared transaction with grants': async (attacker, victim) => {
    await attacker.query('CREATE TABLE bait (id int); BEGIN')
    for (const role of everyRole(victim)) await attacker.query(`GRANT SELECT ON bait TO ${role}`)
    await attacker.query(`PREPARE TRANSACTION 'bait of ${victim.login}'`)
  },
  'large objects': async (attacker, victim) => {
    for (const role of everyRole(victim)) {
      await attacker.query(`DO $$ DECLARE id oid := lo_create(0);
        BEGIN EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO ${role}', id); END $$`)
    }
  },
  'a policy and default privileges': async (attacker, victim) => {
    await attacker.query('CREATE TABLE bait (id int)')
    for (const role of everyRole(victim)) {
      await attacker.query(`CREATE POLICY p_${role} ON bait TO ${role} USING (true)`)
      await attacker.query(`ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ${role}`)
    }
    await attacker.query('BEGIN; LOCK TABLE bait')
  },
  'an open change of settings in its database': (attacker, { database }) =>
    attacker.query(`SET ROLE NONE; BEGIN; ALTER ROLE CURRENT_USER IN DATABASE ${database} SET work_mem = '5MB'`)
}

for (const admin of adminKinds) {
  for (const [name, attack] of Object.entries(attacks)) {
    test(`unbind and deprovision: with ${admin}, ${name} of another tenant is in nobody's way`, async (t) => {
      const { victim, roles, attacker, reader, sql } = await scene(t, admin)
      await attack(attacker, roles, reader)
      const { log, lines } = keptLog()
      await victim.unbind('b', { log })
      assert.deepEqual(await sql('SELECT FROM pg_roles WHERE rolname = $1', [roles.login]), [])
      await victim.deprovision({ log })
      assert.deepEqual(await leftovers(sql, victim.token), [])
      assert.deepEqual(alarmsOf(lines), [])
    })
  }

  test(`bind and unbind: with ${admin}, a tenant that keeps connections from the database is in nobody's way`, async (t) => {
    const { victim, roles, other, attacker } = await scene(t, admin)
    const stray = await connect(t, await victim.uri('stray'))
    await stray.query('SET ROLE NONE; CREATE SCHEMA mine; CREATE TABLE mine.kept (id int)')
    await jam(t, { attacker, uri: await other.uri('second'), database: roles.database })
    const client = await connect(t, await victim.uri('heir'))
    await client.query('DROP TABLE mine.kept')
    await jam(t, { attacker, uri: await other.uri('third'), database: roles.database })
    await victim.unbind('stray')
  })

  test(`deprovision: with ${admin}, holders of a binding do not keep the backup from being made`, async (t) => {
    const { provider, sql } = await setUp(t, { admin, url: url(), backupCommand: 'exit 0' })
    const instance = new Instance(provider)
    await instance.provision()
    const [one, two] = [await connect(t, await instance.uri('one')), await connect(t, await instance.uri('two'))]
    await one.query('CREATE TABLE held (id int); BEGIN; LOCK TABLE held')
    await one.query(`PREPARE TRANSACTION 'backup of ${instance.database}'`)
    await one.query(`SET ROLE NONE; BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'x'`)
    await two.query(`SET ROLE NONE; BEGIN; GRANT CONNECT ON DATABASE ${instance.database} TO CURRENT_USER`)
    const { log, lines } = keptLog()
    await instance.deprovision({ log })
    assert.deepEqual(await leftovers(sql, instance.token), [])
    assert.deepEqual(lines, [])
    assert.equal(instance.states.get(instance.id)?.backedUp, true)
  })

  test(`deprovision: with ${admin}, open transactions of its own bindings are in nobody's way`, async (t) => {
    const { victim, roles, sql } = await scene(t, admin)
    const [one, two] = [await connect(t, await victim.uri('one')), await connect(t, await victim.uri('two'))]
    await one.query('CREATE TABLE kept (id int); SET ROLE NONE; CREATE SCHEMA mine; CREATE TABLE mine.held (id int)')
    await two.query(`BEGIN; LOCK TABLE kept; GRANT SELECT ON kept TO ${roles.login}; SELECT FROM mine.held`)
    const { log, lines } = keptLog()
    await victim.deprovision({ log })
    assert.deepEqual(await leftovers(sql, victim.token), [])
    assert.deepEqual(lines, [])
  })

  test(`unbind and deprovision: with ${admin}, a tenant that grants all the time is in nobody's way`, async (t) => {
    const { victim, roles, attacker, sql } = await scene(t, admin)
    await attacker.query('CREATE TABLE bait (id int)')
    let granting = true
    const grants = async () => {
      while (granting) {
        for (const role of everyRole(roles)) {
          // Refused when the role is gone
          await attacker.query(`GRANT SELECT ON bait TO ${role}`).catch(() => undefined)
          await attacker.query(`REVOKE SELECT ON bait FROM ${role}`).catch(() => undefined)
        }
      }
    }
    const granted = grants()
    cleanUp(t, () => {
      granting = false
      return granted
    })
    await victim.unbind('b')
    await victim.deprovision()
    granting = false
    await granted
    await victim.watch()
    assert.deepEqual(await leftovers(sql, victim.token), [])
  })

  test(`unbind and deprovision: with ${admin}, a right that a tenant passed on is in nobody's way`, async (t) => {
    const { victim, roles, attacker, reader, sql } = await scene(t, admin)
    // Its grantor is not the owner, so that DROP OWNED does not revoke it
    const passer = await reader()
    const name = await scalar(passer, 'SELECT session_user')
    await attacker.query(`CREATE TABLE bait (id int); GRANT SELECT ON bait TO ${name} WITH GRANT OPTION`)
    for (const role of everyRole(roles)) await passer.query(`BEGIN READ WRITE; GRANT SELECT ON bait TO ${role}; COMMIT`)
    const { log } = keptLog()
    await victim.unbind('b', { log })
    await victim.deprovision({ log })
    await assertStripped(sql, everyRole(roles))
    await attacker.query('DROP TABLE bait')
    await victim.watch()
    assert.deepEqual(await leftovers(sql, victim.token), [])
  })
}

/** Queues for the lock of a database that is not the tenant's, behind one that it has itself. */
async function jam(
  t: TestContext,
  { attacker, uri, database }: { attacker: Client; uri: string; database: string }
): Promise<void> {
  await attacker.query(
    `ROLLBACK; SET ROLE NONE; BEGIN; ALTER ROLE CURRENT_USER IN DATABASE ${database} SET work_mem = '5MB'`
  )
  const dropper = await connect(t, uri)
  const pid = await scalar(dropper, 'SELECT pg_backend_pid()')
  dropper.query(`DROP DATABASE ${database}`).catch(() => undefined)
  await until(
    async () => (await scalar(attacker, `SELECT count(*)::int FROM pg_locks WHERE pid = ${pid} AND NOT granted`)) === 1
  )
}
