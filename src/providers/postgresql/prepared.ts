import { codeOf } from './faults.ts'
import { NAME_PATTERNS } from './names.ts'
import { quoteIdentifier, quoteLiteral } from './quoting.ts'
import { joinRole } from './roles.ts'
import type { Session, Work } from './session.ts'

/** A transaction that was prepared for a two-phase commit. */
export interface Prepared {
  readonly gid: string
  /** The role that prepared it. */
  readonly owner: string
}

/** Opens a session in a database and rolls a prepared transaction back there; answers whether it still existed. */
export async function rollBackIn(
  server: { openDatabase(work: Work, database: string): Promise<Session> },
  work: Work,
  { database, ...prepared }: Prepared & { readonly database: string }
): Promise<boolean> {
  const tenant = await server.openDatabase(work, database)
  try {
    return await rollBack(tenant, prepared)
  } finally {
    await tenant.close()
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
