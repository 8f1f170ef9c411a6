import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { type AdminKind, cleanUp, connect, Instance, instanceOf, type Scene, setUp } from './support.ts'

/** What an instance and a binding of it are called on the server. */
export interface Roles {
  readonly login: string
  readonly owner: string
  readonly reader: string
  readonly database: string
}

/** All that a removal drops beside the database. */
export const everyRole = ({ login, owner, reader }: Roles) => [login, owner, reader]

/** A victim with a binding, and another tenant with a session. */
export async function victimScene(t: TestContext, admin: AdminKind, url: string) {
  const { provider, adminUrl, sql } = await setUp(t, { admin, url })
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
export async function assertStripped(sql: Scene['sql'], roles: readonly string[]): Promise<void> {
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
