import { codeOf } from './faults.ts'
import { type InstanceNames, NAME_PATTERNS } from './names.ts'
import { quoteIdentifier } from './quoting.ts'
import type { AdminServer } from './server.ts'
import type { Session } from './session.ts'
import { inDatabase } from './tenant.ts'

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

/** Makes what is missing of some roles, without the right to log in. */
export async function createRoles(maintenance: Session, roles: readonly string[]): Promise<void> {
  await maintenance.generate(
    `SELECT format('CREATE ROLE %I NOLOGIN INHERIT', r) FROM unnest($1::text[]) AS r
     WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)`,
    [roles]
  )
}

/** `oid` of a role, as text; undefined when there is none. */
async function roleId(maintenance: Session, role: string): Promise<string | undefined> {
  const [row] = await maintenance.query<{ oid: string }>('SELECT oid::text FROM pg_roles WHERE rolname = $1', [role])
  return row?.oid
}

/** Logins of an instance by name, never by membership: a DBA who joined the owner's group must not be dropped. */
export async function loginsOf(maintenance: Session, { loginPrefix }: InstanceNames): Promise<string[]> {
  const rows = await maintenance.query<{ rolname: string }>(
    'SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, $1) ORDER BY rolname',
    [loginPrefix]
  )
  return rows.map((row) => row.rolname)
}

/** From here on the credentials let nobody in, and nobody is in. */
export async function disableLogin(maintenance: Session, names: InstanceNames, login: string): Promise<void> {
  await maintenance.generate(
    `SELECT format('ALTER ROLE %I NOLOGIN PASSWORD NULL CONNECTION LIMIT 0', rolname) FROM pg_roles WHERE rolname = $1`,
    [login]
  )
  // Without the right to create, a session that is still open makes nothing between REASSIGN OWNED and DROP OWNED,
  // which would drop it
  await maintenance.generate(
    `SELECT format('REVOKE %I FROM %I', g.rolname, m.rolname)
     FROM pg_auth_members am JOIN pg_roles g ON g.oid = am.roleid JOIN pg_roles m ON m.oid = am.member
     WHERE m.rolname = $1 AND g.rolname = ANY ($2::text[])`,
    [login, [names.owner, names.reader]]
  )
  await endSessions(maintenance, login)
}

const ROUNDS = 10

/**
 * Ends the sessions of a login.
 * @throws when they do not end
 */
export async function endSessions(maintenance: Session, login: string): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const ended = await maintenance.query(
      `SELECT pid, pg_terminate_backend(pid, 2000) AS ended FROM pg_stat_activity
       WHERE usesysid = (SELECT oid FROM pg_roles WHERE rolname = $1) AND pid <> pg_backend_pid()`,
      [login]
    )
    if (ended.length === 0) return
  }
  throw Object.assign(new Error('Sessions of a disabled login do not end.'), { code: '55006' })
}

/**
 * Takes away everything a role owns or was granted, in whichever database, and drops it. Objects in the instance's own
 * database go to the owner; a tenant may have granted things to a role of another, which must not stand in the way.
 */
export async function dropRole(
  server: AdminServer,
  maintenance: Session,
  { names, role }: { names: InstanceNames; role: string }
): Promise<void> {
  const oid = await roleId(maintenance, role)
  if (oid === undefined) return
  await joinRole(maintenance, role)
  for (let round = 0; round < ROUNDS; round++) {
    const databases = await databasesWith(maintenance, oid)
    if (databases.length === 0) break
    for (const database of databases) await clearDatabase(server, maintenance, { names, role, database })
  }
  await maintenance.query(`DROP ROLE IF EXISTS ${quoteIdentifier(role)}`)
}

async function clearDatabase(
  server: AdminServer,
  maintenance: Session,
  { names, role, database }: { names: InstanceNames; role: string; database: string }
): Promise<void> {
  await joinOwnersIn(maintenance, database)
  const run = async (tenant: Session) => {
    if (database === names.database) {
      await tenant.query(`REASSIGN OWNED BY ${quoteIdentifier(role)} TO ${quoteIdentifier(names.owner)}`)
    }
    await tenant.query(`DROP OWNED BY ${quoteIdentifier(role)}`)
  }
  try {
    await inDatabase(server, maintenance, { database, run })
  } catch (error) {
    // Another instance's database that was dropped since we looked: nothing left to clear in it
    if (codeOf(error) !== '3D000') throw error
  }
}

async function databasesWith(maintenance: Session, oid: string): Promise<string[]> {
  const rows = await maintenance.query<{ datname: string }>(
    `SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
     WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1::oid`,
    [oid]
  )
  return rows.map((row) => row.datname)
}

/**
 * An admin that is no superuser revokes only what it may, and DROP OWNED tells the rest in a NOTICE instead of an
 * error: so it becomes a member of those who own things, and granted them, in that database.
 */
async function joinOwnersIn(maintenance: Session, database: string): Promise<void> {
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
