import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { dropLeftRoles } from '../../../src/providers/postgresql/left-roles.ts'
import { AdminServer } from '../../../src/providers/postgresql/server.ts'
import { alarmsOf, assertDiscreet, keptLog } from './failures.ts'
import { OwnServer } from './own-server.ts'
import { type AdminKind, adminKinds, cleanUp, connect, instanceOf, leftovers, scalar } from './support.ts'
import { assertStripped, everyRole, type Roles, victimScene } from './victim.ts'

const own = new OwnServer({ max_prepared_transactions: '10' })
const further = process.env.TEST_POSTGRESQL_ADMIN_URL
const url = () => further ?? own.adminUrl

before(() => (further === undefined ? own.start() : undefined))
after(() => (further === undefined ? own.remove() : undefined))
const scene = (t: TestContext, admin: AdminKind) => victimScene(t, admin, url())

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
  const resisting = await connect(t, await victim.uri('b'))
  const inside = await connect(t, second)
  await sql(`ALTER ROLE ${roles.login} SUPERUSER`)
  cleanUp(t, () => sql(`ALTER ROLE ${roles.login} NOSUPERUSER`).catch(() => undefined))
  const { log, lines } = keptLog()
  await assert.rejects(victim.deprovision({ log }), { name: 'Unavailable' })
  assert.ok(alarmsOf(lines).length > 0)
  await assert.rejects(connect(t, second), { code: '28P01' })
  await assert.rejects(inside.query('SELECT 1'))
  assert.equal(await scalar(resisting, 'SELECT 1'), 1)
  await resisting.end()
  await assert.rejects(victim.deprovision({ log }), { name: 'Unavailable' })
  assert.deepEqual(await sql('SELECT FROM pg_database WHERE datname = $1', [roles.database]), [])
  await sql(`ALTER ROLE ${roles.login} NOSUPERUSER`)
  await victim.deprovision()
  assert.deepEqual(await leftovers(sql, victim.token), [])
})

test('watch: roles that an attacker has made expensive to drop do not keep the next round from its work', async (t) => {
  const { victim, roles, adminUrl, sql } = await scene(t, 'superuser')
  await sql(`CREATE DATABASE holder_${victim.token} OWNER ${roles.owner}`)
  cleanUp(t, () => sql(`DROP DATABASE IF EXISTS holder_${victim.token}`))
  await victim.deprovision()
  await sql(`DROP DATABASE holder_${victim.token}`)
  const server = new AdminServer({ adminUrl })
  cleanUp(t, () => server.close())
  const upkeep = { log: keptLog().log, signal: new AbortController().signal }
  await dropLeftRoles(server, upkeep, 0)
  assert.deepEqual(await leftovers(sql, victim.token), [roles.owner])
  await dropLeftRoles(server, upkeep)
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
