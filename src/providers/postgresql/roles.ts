import { type InstanceNames, NAME_PATTERNS } from './names.ts'
import type { Session } from './session.ts'
import { endSessionsOf } from './sessions.ts'

/** PostgreSQL 16 lets the members of a role neither act as it nor inherit from it unless the grant says so. */
const AS_MEMBER = `CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET TRUE' ELSE '' END`

/**
 * Makes an admin that is no superuser a member of the role, which it must be to hand over and drop the role's objects.
 * It stays one: joining and leaving for each operation would race between parallel operations.
 */
export async function joinRole(maintenance: Session, role: string): Promise<void> {
  await maintenance.generate(
    `SELECT format('GRANT %I TO %I%s', g.rolname, me.rolname, ${AS_MEMBER})
     FROM pg_roles g, pg_roles me
     WHERE g.rolname = $1 AND me.rolname = current_user AND NOT me.rolsuper
       AND NOT EXISTS (SELECT FROM pg_auth_members am WHERE am.roleid = g.oid AND am.member = me.oid
         AND (current_setting('server_version_num')::int < 160000 OR am.grantor = me.oid))`,
    [role]
  )
}

/** Creates the missing ones of some roles, without the right to log in. An existing role is no longer marked as removed. */
export async function createRoles(maintenance: Session, roles: readonly string[]): Promise<void> {
  await maintenance.generate(
    `SELECT format('ALTER ROLE %I VALID UNTIL ''infinity''', rolname) FROM pg_roles
     WHERE rolname = ANY ($1) AND rolvaliduntil = '-infinity'`,
    [roles]
  )
  await maintenance.generate(
    `SELECT format('CREATE ROLE %I NOLOGIN INHERIT', r) FROM unnest($1::text[]) AS r
     WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)`,
    [roles]
  )
}

/** `oid` of the existing ones of some roles, as text. */
export async function roleIds(maintenance: Session, roles: readonly string[]): Promise<string[]> {
  const rows = await maintenance.query<{ oid: string }>('SELECT oid::text FROM pg_roles WHERE rolname = ANY ($1)', [
    roles
  ])
  return rows.map(({ oid }) => oid)
}

/** Logins of an instance by name, never by membership: a DBA who joined the owner's group must not be dropped. */
export async function loginsOf(maintenance: Session, { loginPrefix }: InstanceNames): Promise<string[]> {
  const rows = await maintenance.query<{ rolname: string }>(
    'SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, $1) ORDER BY rolname',
    [loginPrefix]
  )
  return rows.map((row) => row.rolname)
}

/**
 * Makes an admin that is no superuser a member of the owners and logins with objects in a database. It may only revoke what
 * they granted as one of them: otherwise DROP OWNED revokes nothing, and reports that in a NOTICE instead of an error.
 */
export async function joinOwnersIn(maintenance: Session, database: string): Promise<void> {
  await maintenance.generate(
    `SELECT format('GRANT %I TO %I%s', r.rolname, current_user, ${AS_MEMBER})
     FROM (SELECT DISTINCT g.rolname FROM pg_shdepend s
             JOIN pg_database d ON d.oid = s.dbid AND d.datname = $1
             JOIN pg_roles g ON g.oid = s.refobjid
           WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o'
             AND g.rolname ~ $2
             AND NOT EXISTS (SELECT FROM pg_auth_members am JOIN pg_roles me ON me.oid = am.member
               WHERE am.roleid = g.oid AND me.rolname = current_user
                 AND (current_setting('server_version_num')::int < 160000 OR am.grantor = me.oid))) r
     JOIN pg_roles me ON me.rolname = current_user AND NOT me.rolsuper`,
    [database, NAME_PATTERNS.possessor]
  )
}

/** Ends the sessions of a login. */
export async function endSessions(maintenance: Session, login: string): Promise<void> {
  await endSessionsOf(maintenance, await roleIds(maintenance, [login]))
}
