import { NAME_PATTERNS } from '../names.ts'
import type { Query } from '../statement.ts'

/** Holders of fewer locks are not what fills the table. */
const MANY_LOCKS = 500

/**
 * Ends the sessions of tenants that hold most of a full lock table. It is for a guard that cannot look any more: after a large
 * number of changes PostgreSQL empties the caches that sessions have of catalogs, and a session needs locks to fill them again.
 * The statement reads no relation, and the {@link Anchor} holds the locks on the catalogs that parsing it needs.
 * @returns the logins of the sessions that were ended
 */
export async function relieve(query: Query): Promise<string[]> {
  const rows = await query<{ login: string; ended: boolean }>(
    `SELECT login, pg_terminate_backend(pid) AS ended
     FROM (SELECT h.pid, h.locks, max(h.locks) OVER () AS most, pg_get_userbyid(s.usesysid)::text AS login
           FROM (SELECT l.pid, count(*) AS locks FROM pg_lock_status() AS l
                 WHERE NOT l.fastpath AND l.mode <> 'SIReadLock' AND l.pid IS NOT NULL GROUP BY l.pid) AS h,
                pg_stat_get_activity(h.pid) AS s
           WHERE pg_get_userbyid(s.usesysid) ~ $1) AS tenants
     WHERE locks >= greatest(${MANY_LOCKS}, most / 2)`,
    [NAME_PATTERNS.login]
  )
  return rows.filter(({ ended }) => ended).map(({ login }) => login)
}
