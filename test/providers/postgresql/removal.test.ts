import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import type { Client } from 'pg'
import { alarmsOf, assertDiscreet, keptLog } from './failures.ts'
import { OwnServer } from './own-server.ts'
import {
  type AdminKind,
  adminKinds,
  cleanUp,
  connect,
  Instance,
  instanceOf,
  leftovers,
  type Scene,
  scalar,
  setUp
} from './support.ts'

const own = new OwnServer({ max_prepared_transactions: '10' })
const further = process.env.TEST_POSTGRESQL_ADMIN_URL
const url = () => further ?? own.adminUrl

before(() => (further === undefined ? own.start() : undefined))
after(() => (further === undefined ? own.remove() : undefined))

interface Roles {
  readonly login: string
  readonly owner: string
  readonly reader: string
  readonly database: string
}

/** What another tenant does to keep the roles of a victim from being dropped. */
type Attack = (attacker: Client, victim: Roles, reader: () => Promise<Client>) => Promise<unknown>

const everyRole = ({ login, owner, reader }: Roles) => [login, owner, reader]

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

  test(`unbind and deprovision: with ${admin}, grants in closed databases leave roles to the watch`, async (t) => {
    const { victim, other, roles, attacker, sql } = await scene(t, admin)
    const invalid = await instanceOf(t, other.provider)
    await attacker.query('SELECT lo_create(4711)')
    const inside = await connect(t, await invalid.uri('b'))
    await inside.query('SELECT lo_create(4711)')
    for (const role of everyRole(roles)) {
      for (const client of [attacker, inside]) await client.query(`GRANT SELECT ON LARGE OBJECT 4711 TO ${role}`)
    }
    await inside.end()
    await attacker.end()
    await sql(`ALTER DATABASE ${other.database} ALLOW_CONNECTIONS false`)
    await sql('UPDATE pg_database SET datconnlimit = -2 WHERE datname = $1', [invalid.database])
    const { log, lines } = keptLog()
    await victim.unbind('b', { log })
    await victim.deprovision({ log })
    assert.deepEqual((await leftovers(sql, victim.token)).sort(), everyRole(roles).sort())
    await assertStripped(sql, everyRole(roles))
    assert.deepEqual(alarmsOf(lines), [])
    assert.match(JSON.stringify(lines), /object in database osb_d_/)
    // A repeated removal converges
    await victim.deprovision({ log })
    await other.watch()
    assert.deepEqual((await leftovers(sql, victim.token)).sort(), everyRole(roles).sort())

    await sql(`ALTER DATABASE ${other.database} ALLOW_CONNECTIONS true`)
    await invalid.deprovision()
    await other.watch()
    assert.deepEqual(await leftovers(sql, victim.token), [])
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

/** What a superuser grants to the login of a binding, and how it takes it back. */
interface Favour {
  readonly grant: (roles: Roles) => string
  readonly revoke: (roles: Roles) => string
  /** In the database of the instance instead of the maintenance database. */
  readonly inside?: boolean
}

const favours: Record<string, Favour> = {
  'a table': {
    grant: ({ login }) => `CREATE SCHEMA dba; CREATE TABLE dba.t (id int); GRANT SELECT ON dba.t TO ${login}`,
    revoke: () => 'DROP TABLE dba.t; DROP SCHEMA dba',
    inside: true
  },
  'a function of an extension': {
    grant: ({ login }) =>
      `CREATE EXTENSION pg_stat_statements; GRANT EXECUTE ON FUNCTION pg_stat_statements_reset TO ${login}`,
    revoke: () => 'DROP EXTENSION pg_stat_statements',
    inside: true
  },
  'a foreign server': {
    grant: ({ login }) =>
      `CREATE FOREIGN DATA WRAPPER fdw; CREATE SERVER far FOREIGN DATA WRAPPER fdw; GRANT USAGE ON FOREIGN SERVER far TO ${login}`,
    revoke: () => 'DROP SERVER far; DROP FOREIGN DATA WRAPPER fdw',
    inside: true
  },
  'another database': {
    grant: ({ login }) => `GRANT CONNECT ON DATABASE postgres TO ${login}`,
    revoke: ({ login }) => `REVOKE CONNECT ON DATABASE postgres FROM ${login}`
  },
  'a tablespace': {
    grant: ({ login }) => `GRANT CREATE ON TABLESPACE pg_default TO ${login}`,
    revoke: ({ login }) => `REVOKE CREATE ON TABLESPACE pg_default FROM ${login}`
  },
  'a parameter': {
    grant: ({ login }) => `GRANT SET ON PARAMETER temp_file_limit TO ${login}`,
    revoke: ({ login }) => `REVOKE SET ON PARAMETER temp_file_limit FROM ${login}`
  },
  "membership in the administrator's role": {
    grant: ({ login }) => `CREATE ROLE dba_${login}; GRANT dba_${login} TO ${login} WITH ADMIN OPTION`,
    revoke: ({ login }) => `DROP ROLE dba_${login}`
  },
  "a member of the administrator's": {
    grant: ({ login }) => `CREATE ROLE dba_${login}; GRANT ${login} TO dba_${login} WITH ADMIN OPTION`,
    revoke: ({ login }) => `DROP ROLE dba_${login}`
  }
}

for (const admin of adminKinds) {
  for (const [name, { grant, revoke, inside = false }] of Object.entries(favours)) {
    test(`unbind and deprovision: with ${admin}, a superuser had granted ${name}`, async (t) => {
      const { victim, roles, adminUrl, sql } = await scene(t, admin)
      const place = new URL(url())
      if (inside) place.pathname = `/${roles.database}`
      const operator = await connect(t, place.href)
      await operator.query(grant(roles))
      if (inside) await operator.end()
      const { log, lines } = keptLog()
      const uri = new URL(await victim.uri('b'))
      await victim.unbind('b', { log })
      await assert.rejects(connect(t, uri.href), { code: '28P01' })
      const left = await sql('SELECT rolname FROM pg_roles WHERE rolname = $1', [roles.login])
      if (left.length > 0) {
        assert.equal(admin, 'CREATEDB CREATEROLE', 'a superuser can drop it')
        await assertStripped(sql, [roles.login])
        const [alarm, ...more] = alarmsOf(lines)
        assert.deepEqual(more, [])
        assert.match(JSON.stringify(alarm?.fields), /"detail":".*(privileges for|object)/)
      } else assert.deepEqual(alarmsOf(lines), [])
      assertDiscreet(lines, { instance: victim, adminUrl })
      await victim.bind('c')
      await victim.deprovision({ log })
      if (inside) assert.deepEqual(await leftovers(sql, victim.token), [])
      else if (left.length > 0 || !revoke(roles).startsWith('REVOKE')) await sql(revoke(roles))
      await victim.watch()
      assert.deepEqual(await leftovers(sql, victim.token), [])
    })
  }
}

test('deprovision: a login that resists does not keep the others from being shut out', async (t) => {
  const { victim, roles, sql } = await scene(t, 'CREATEDB CREATEROLE')
  const second = await victim.uri('z')
  await sql(`ALTER ROLE ${roles.login} SUPERUSER`)
  cleanUp(t, () => sql(`ALTER ROLE ${roles.login} NOSUPERUSER`).catch(() => undefined))
  const { log, lines } = keptLog()
  await assert.rejects(victim.deprovision({ log }), { name: 'Unavailable' })
  assert.ok(alarmsOf(lines).length > 0)
  await assert.rejects(connect(t, second), { code: '28P01' })
  assert.deepEqual(await sql('SELECT FROM pg_database WHERE datname = $1', [roles.database]), [])
  await sql(`ALTER ROLE ${roles.login} NOSUPERUSER`)
  await victim.deprovision()
  assert.deepEqual(await leftovers(sql, victim.token), [])
})

test('provision: a role that a removal has left is taken up again by a repeated provision', async (t) => {
  const { victim, roles, sql } = await scene(t, 'superuser')
  await sql(`CREATE DATABASE holder_${victim.token} OWNER ${roles.owner}`)
  cleanUp(t, () => sql(`DROP DATABASE IF EXISTS holder_${victim.token}`))
  await victim.unbind('b')
  await victim.deprovision()
  await assertStripped(sql, [roles.owner])
  await victim.provision()
  await connect(t, await victim.uri('again'))
  await victim.watch()
  await sql(`DROP DATABASE holder_${victim.token}`)
  await victim.watch()
  assert.deepEqual((await leftovers(sql, victim.token)).length, 4)
})

/** A victim with a binding, and another tenant with a session. */
async function scene(t: TestContext, admin: AdminKind) {
  const { provider, adminUrl, sql } = await setUp(t, { admin, url: url() })
  const victim = new Instance(provider)
  cleanUp(t, () => victim.deprovision())
  await victim.provision()
  await victim.bind('b')
  const other = await instanceOf(t, provider)
  const roles: Roles = {
    login: `osb_b_${victim.token}_${victim.states.get('b')?.suffix}`,
    owner: `osb_o_${victim.token}`,
    reader: `osb_r_${victim.token}`,
    database: victim.database
  }
  const attacker = await connect(t, await other.uri('b'))
  const reader = async () => connect(t, await other.uri('r', { role: 'reader' }))
  return { victim, other, roles, attacker, reader, adminUrl, sql }
}

/** Roles that stay have nothing that the broker can take, and carry the mark. */
async function assertStripped(sql: Scene['sql'], roles: readonly string[]): Promise<void> {
  const rows = await sql(
    `SELECT rolname::text AS role, rolcanlogin AS login, rolpassword AS password, rolvaliduntil::text AS until,
            CASE WHEN rolname LIKE 'osb\\_b\\_%' THEN rolconnlimit ELSE 0 END AS "limit",
            ARRAY(SELECT g.rolname::text FROM pg_auth_members am JOIN pg_roles g ON g.oid = am.roleid
                  WHERE am.member = pg_authid.oid AND g.rolname ~ '^osb_[or]_') AS groups
     FROM pg_authid WHERE rolname = ANY ($1) ORDER BY rolname`,
    [roles]
  )
  const stripped = { login: false, password: null, until: '-infinity', limit: 0, groups: [] }
  assert.deepEqual(
    rows,
    [...roles].sort().map((role) => ({ role, ...stripped }))
  )
  assert.deepEqual(await sql('SELECT FROM pg_stat_activity WHERE usename = ANY ($1)', [roles]), [])
}
