import { setTimeout as delay } from 'node:timers/promises'
import { NAME_PATTERNS } from './names.ts'
import type { Session } from './session.ts'
import type { Query } from './statement.ts'

/** How long sessions may take to end, in milliseconds. A server process ends within milliseconds unless it is starved. */
const END_MS = 5_000
const INTERVAL_MS = 20
/** How long connections on their way in are waited for, in milliseconds: an administrator may keep them from the database. */
const JAM_MS = 1_000
/** Interval of {@link keepEndingSessions} in milliseconds. */
const SWEEP_MS = 100

/**
 * Ends the sessions of roles, also of dropped ones, until none is left.
 * @param roles `oid` of each
 * @param database a connection to which may be on its way: it has passed the check of its role, and waits for a lock
 * @throws when they do not end
 */
export async function endSessionsOf(maintenance: Session, roles: readonly string[], database?: string): Promise<void> {
  if (roles.length === 0) return
  const began = performance.now()
  const within = (limitMs: number) => performance.now() - began < limitMs
  do {
    const jammed =
      database !== undefined && within(JAM_MS) && (await endJam(maintenance.query.bind(maintenance), database))
    const left = await maintenance.query(END_SESSIONS, [roles])
    if (left.length === 0 && !jammed) return
    await delay(INTERVAL_MS)
  } while (within(END_MS))
  throw Object.assign(new Error('Sessions of a disabled login do not end.'), { code: '55006' })
}

/** Terminates; the sessions are gone a moment later. Those of a superuser only a superuser may end, and they are reported. */
const END_SESSIONS = `SELECT pid, CASE WHEN me.rolsuper OR NOT coalesce(r.rolsuper, false) THEN pg_terminate_backend(pid) END
  FROM pg_stat_get_activity(NULL) AS a JOIN pg_roles AS me ON me.rolname = current_user LEFT JOIN pg_roles AS r ON r.oid = a.usesysid
  WHERE a.usesysid = ANY ($1::oid[]) AND pid <> pg_backend_pid()`

/**
 * Ends the sessions of roles at once, and again and again until the returned function is called: they may block the
 * statements that revoke the role.
 */
export function keepEndingSessions(query: Query, roles: readonly string[]): () => void {
  const stopping = new AbortController()
  const sweep = async () => {
    while (!stopping.signal.aborted) {
      // A server that is full may accept no side connection. The caller ends the sessions once more.
      await query(END_SESSIONS, [roles]).catch(() => undefined)
      await delay(SWEEP_MS, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }
  void sweep()
  return () => stopping.abort()
}

/**
 * Ends the sessions of tenants that keep connections from a database: its DROP queues for a lock before PostgreSQL checks the
 * right to it, and new connections queue behind it.
 */
export async function endJam(query: Query, database?: string): Promise<boolean> {
  const waiting = await query(
    `SELECT l.pid, CASE WHEN l.mode = 'AccessExclusiveLock' AND pg_get_userbyid(a.usesysid) ~ $2
                        THEN pg_terminate_backend(l.pid) END
     FROM pg_lock_status() AS l LEFT JOIN pg_stat_get_activity(NULL) AS a ON a.pid = l.pid
     WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND NOT l.granted
       AND l.objid = (SELECT oid FROM pg_database WHERE datname = coalesce($1, current_database()))`,
    [database ?? null, NAME_PATTERNS.login]
  )
  return waiting.length > 0
}
