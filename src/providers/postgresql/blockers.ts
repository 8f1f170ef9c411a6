import { NAME_PATTERNS } from './names.ts'
import { rollBackIn } from './prepared.ts'
import type { Session, Work } from './session.ts'
import type { Query } from './statement.ts'

/** Name of the sessions of watch and repair in pg_stat_activity. */
export const UPKEEP_NAME = 'osb:upkeep'
/** How long a task waits for watch and repair before it ends their session, in milliseconds. */
const UPKEEP_MS = 1_000

/** How long a statement of a client may keep `DROP DATABASE` waiting, in milliseconds. */
const STUCK_MS = 5_000

/** What {@link endBlockers} needs of a server. */
interface Server {
  readonly aside: { readonly query: Query }
  openDatabase(work: Work, database: string): Promise<Session>
}

/** A statement of the broker that waits. */
interface Waiting {
  /** Of its server process. */
  readonly pid: number
  readonly waitedMs: number
  /** Token of the instance with roles that are left alone. */
  readonly spared?: string
}

/**
 * Ends what blocks a statement of the broker: sessions of tenants and of dropped logins, prepared transactions of tenants, and
 * after a while the upkeep, so that a tenant cannot hold up a task with it. Sessions of administrators are left alone.
 */
export async function endBlockers(server: Server, work: Work, { pid, waitedMs, spared }: Waiting): Promise<void> {
  const spares = spared === undefined ? null : `^osb_(o|r|b)_${spared}(_|$)`
  const upkeepToo = waitedMs >= UPKEEP_MS && work.applicationName !== UPKEEP_NAME
  const blockers = await server.aside.query<{ pid: number; name: string | null; ended: boolean | null }>(
    `SELECT pid, pg_get_userbyid(usesysid)::text AS name,
            CASE WHEN pg_get_userbyid(usesysid) ~ $2 AND (pg_get_userbyid(usesysid) ~ $3) IS NOT TRUE
                   OR usesysid <> 0 AND NOT EXISTS (SELECT FROM pg_roles WHERE oid = usesysid)
                   OR $4 AND application_name = '${UPKEEP_NAME}' AND pg_has_role(usesysid, current_user, 'MEMBER')
                 THEN pg_terminate_backend(pid) END AS ended
     FROM (SELECT DISTINCT b.pid, a.usesysid, a.application_name
           FROM unnest(pg_blocking_pids($1)) AS b (pid) LEFT JOIN pg_stat_get_activity(NULL) AS a ON a.pid = b.pid
          ) AS blockers`,
    [pid, NAME_PATTERNS.login, spares, upkeepToo]
  )
  for (const { name, ended } of blockers) {
    if (ended === true) work.log.warn({ login: name }, 'Ended a session that blocked the broker.')
  }
  // A prepared transaction has no process
  if (blockers.some((blocker) => blocker.pid === 0)) await rollBackBlocking(server, work, { pid, spares })
  if (waitedMs >= STUCK_MS) await endStuck(server, work, pid)
}

/**
 * Ends the sessions of tenants that keep the process waiting without a lock. `DROP DATABASE` waits until every process of the
 * server has handled a barrier. A process does not handle it while it waits for its client within a statement: for data of a
 * COPY that the client does not send, or for a client that does not read the result.
 */
async function endStuck(server: Server, work: Work, pid: number): Promise<void> {
  const stuck = await server.aside.query<{ name: string; ended: boolean }>(
    `SELECT pg_get_userbyid(usesysid)::text AS name, pg_terminate_backend(pid) AS ended
     FROM pg_stat_get_activity(NULL)
     WHERE EXISTS (SELECT FROM pg_stat_get_activity($1) AS waiting WHERE waiting.wait_event = 'ProcSignalBarrier')
       AND (pg_get_userbyid(usesysid) ~ $2 OR usesysid <> 0 AND NOT EXISTS (SELECT FROM pg_roles WHERE oid = usesysid))
       AND state = 'active' AND wait_event IN ('ClientRead', 'ClientWrite')
       AND query_start < clock_timestamp() - $3 * interval '1 ms'`,
    [pid, NAME_PATTERNS.login, STUCK_MS]
  )
  for (const { name, ended } of stuck) {
    if (ended) work.log.warn({ login: name }, 'Ended a session that waits for its client and blocked the broker.')
  }
}

/**
 * Rolls back the prepared transactions of tenants that hold the lock for which the process waits, in whatever role of the
 * instance they were prepared. A transaction of an instance that is spared has a minute, because a transaction manager may be
 * about to end it.
 */
async function rollBackBlocking(
  server: Server,
  work: Work,
  { pid, spares }: { pid: number; spares: string | null }
): Promise<void> {
  const target = (lock: string) =>
    `(${[
      'locktype',
      'database',
      'relation',
      'page',
      'tuple',
      'virtualxid',
      'transactionid',
      'classid',
      'objid',
      'objsubid'
    ]
      .map((column) => `${lock}.${column}`)
      .join(', ')})`
  const blocking = await server.aside.query<{ gid: string; owner: string; database: string }>(
    `WITH locks AS MATERIALIZED (SELECT * FROM pg_lock_status())
     SELECT DISTINCT x.gid, x.owner::text, x.database::text
     FROM locks AS wanted
     JOIN locks AS held ON held.pid IS NULL AND held.granted AND ${target('held')} IS NOT DISTINCT FROM ${target('wanted')}
     JOIN locks AS own ON own.pid IS NULL AND own.locktype = 'transactionid' AND own.virtualtransaction = held.virtualtransaction
     JOIN pg_prepared_xacts AS x ON x.transaction = own.transactionid
     WHERE wanted.pid = $1 AND NOT wanted.granted AND x.owner ~ $2
       AND ((x.owner ~ $3) IS NOT TRUE OR x.prepared < now() - interval '1 minute')`,
    [pid, NAME_PATTERNS.role, spares]
  )
  for (const prepared of blocking) {
    if (!(await rollBackIn(server, work, prepared))) continue
    work.log.warn({ owner: prepared.owner }, 'Rolled back a prepared transaction that blocked the broker.')
  }
}
