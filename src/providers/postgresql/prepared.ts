import { codeOf } from './faults.ts'
import { NAME_PATTERNS } from './names.ts'
import { quoteIdentifier, quoteLiteral } from './quoting.ts'
import { joinRole } from './roles.ts'
import type { Session, Work } from './session.ts'
import type { Query } from './statement.ts'
import { withRoom } from './tenant.ts'

/** A transaction that was prepared for a two-phase commit. */
export interface Prepared {
  readonly gid: string
  /** The role that prepared it. */
  readonly owner: string
}

/** What {@link rollBackIn} needs of a server. */
interface Server {
  readonly aside: { readonly query: Query }
  openDatabase(work: Work, database: string): Promise<Session>
}

/** Opens a session in a database and rolls a prepared transaction back there; answers whether it still existed. */
export async function rollBackIn(
  server: Server,
  work: Work,
  { database, ...prepared }: Prepared & { readonly database: string }
): Promise<boolean> {
  const tenant = await enter(server, work, database)
  try {
    return await rollBack(tenant, prepared)
  } finally {
    await tenant.close()
  }
}

/**
 * Opens a session in a database although its tenant uses all connections. A transaction may also lock the row of the database,
 * so that the limit of connections cannot be raised. Then the sessions of the tenant end.
 */
async function enter(server: Server, work: Work, database: string): Promise<Session> {
  const open = () => server.openDatabase(work, database)
  try {
    return await withRoom({ query: server.aside.query, work }, database, open)
  } catch (error) {
    if (codeOf(error) !== '55P03') throw error
    const ended = await server.aside.query<{ login: string }>(
      `SELECT pg_get_userbyid(usesysid)::text AS login, pg_terminate_backend(pid) FROM pg_stat_get_activity(NULL)
       WHERE datid = (SELECT oid FROM pg_database WHERE datname = $1) AND pg_get_userbyid(usesysid) ~ $2`,
      [database, NAME_PATTERNS.login]
    )
    const logins = [...new Set(ended.map(({ login }) => login))]
    work.log.warn({ database, logins }, 'Ended sessions that kept the broker from a prepared transaction.')
    return await open()
  }
}

/**
 * Rolls back a prepared transaction of the session's database as its owner, because only the owner and superusers may do so.
 * Answers whether it still existed.
 */
export async function rollBack(tenant: Session, { gid, owner }: Prepared): Promise<boolean> {
  await actAs(tenant, owner)
  try {
    await tenant.query(`ROLLBACK PREPARED ${quoteLiteral(gid)}`)
    return true
  } catch (error) {
    // The guard, a task or the tenant was faster.
    if (codeOf(error) === '42704') return false
    throw error
  }
}

/**
 * An admin that is no superuser can act as the reader only while it is a member of a login that can, which no longer holds
 * for a login that is being removed. So the admin joins the reader when it needs to.
 */
async function actAs(tenant: Session, role: string): Promise<void> {
  const setRole = `SET ROLE ${quoteIdentifier(role)}`
  try {
    await tenant.query(setRole)
  } catch (error) {
    if (codeOf(error) !== '42501' || !TENANT_ROLE.test(role)) throw error
    // The session may act as another role of a tenant, which must not become a member.
    await tenant.query('RESET ROLE')
    await joinRole(tenant, role)
    await tenant.query(setRole)
  }
}

const TENANT_ROLE = new RegExp(NAME_PATTERNS.role)
