import { setTimeout as delay } from 'node:timers/promises'
import { TENANTS } from './bootstrap.ts'
import { codeOf, faultOf, isCatalogRace } from './faults.ts'
import type { Place } from './instances.ts'
import { roleIds } from './roles.ts'
import type { Session } from './session.ts'
import { endSessionsOf, keepEndingSessions } from './sessions.ts'

/** How long a login can keep on changing its own row of the catalog beside us, in milliseconds, while its sessions end. */
const RACE_MS = 3_000
const RACE_PAUSE_MS = 20

/**
 * Revokes logins: afterwards no session of theirs exists, and the server accepts no new one. It does not wait for the sessions
 * that hold locks on the logins, because it ends them from the start, on the side connection. A login that cannot be
 * revoked does not keep the others from it.
 * @returns why logins could not be revoked
 */
export async function revoke(
  { server, maintenance, names }: Place,
  logins: readonly string[]
): Promise<readonly unknown[]> {
  const roles = await roleIds(maintenance, logins)
  if (roles.length === 0) return []
  const failures: unknown[] = []
  const stop = keepEndingSessions(server.aside.query, roles)
  try {
    for (const login of logins) {
      // First: without the groups, a login has no right to connect any more, and no transaction of its own can delay this
      for (const step of [leaveGroups, markLogin]) {
        const failure = await failureOf(maintenance, () => step(maintenance, login))
        if (failure !== undefined) failures.push(failure)
      }
    }
  } finally {
    stop()
  }
  const failure = await failureOf(maintenance, () => endSessionsOf(maintenance, roles, names.database))
  return failure === undefined ? failures : [...failures, failure]
}

/** The fault of the server with which some work failed. Throws any other error, and the reason of an abort. */
export async function failureOf(maintenance: Session, work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work()
    return undefined
  } catch (error) {
    maintenance.work.signal.throwIfAborted()
    if (faultOf(error) === undefined) throw error
    return error
  }
}

/** Shuts a login out, and marks it as one that is to be dropped. */
async function markLogin(maintenance: Session, login: string): Promise<void> {
  await insist(() =>
    maintenance.generate(
      `SELECT format('ALTER ROLE %I NOLOGIN PASSWORD NULL CONNECTION LIMIT 0 VALID UNTIL ''-infinity''', rolname)
       FROM pg_roles WHERE rolname = $1`,
      [login]
    )
  )
}

/** Right that is missing, grant that is not there, role that is gone. */
const NOT_OURS_TO_REVOKE = new Set(['42501', '0LP01', '2BP01', '42704'])

/**
 * Takes a role out of its groups, where the admin may. In the group of all tenants it stays: a line in pg_hba.conf may shut
 * them out. Without the owner's rights, a session makes nothing between REASSIGN OWNED and DROP OWNED, which would drop it.
 */
export async function leaveGroups(maintenance: Session, role: string): Promise<void> {
  // From PostgreSQL 16 on, each grantor's grant is one of its own
  const rows = await maintenance.query<{ statement: string }>(
    `SELECT DISTINCT format('REVOKE %I FROM %I', g.rolname, m.rolname)
            || CASE WHEN current_setting('server_version_num')::int >= 160000
                    THEN format(' GRANTED BY %I CASCADE', by.rolname) ELSE '' END AS statement
     FROM pg_auth_members am JOIN pg_roles g ON g.oid = am.roleid JOIN pg_roles m ON m.oid = am.member
     LEFT JOIN pg_roles by ON by.oid = am.grantor
     WHERE m.rolname = $1 AND g.rolname <> $2`,
    [role, TENANTS]
  )
  for (const { statement } of rows) {
    try {
      await insist(() => maintenance.query(statement))
    } catch (error) {
      maintenance.work.signal.throwIfAborted()
      if (!NOT_OURS_TO_REVOKE.has(codeOf(error) ?? '')) throw error
      maintenance.work.log.warn({ role, reason: String(error) }, 'A membership could not be revoked.')
    }
  }
}

/** Repeats a statement while other sessions change the same row of a catalog at the same moment. */
async function insist(run: () => Promise<unknown>): Promise<void> {
  for (const end = performance.now() + RACE_MS; ; ) {
    try {
      await run()
      return
    } catch (error) {
      if (!isCatalogRace(error) || performance.now() > end) throw error
      await delay(RACE_PAUSE_MS)
    }
  }
}
