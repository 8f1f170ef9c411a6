import type { QueryResultRow } from 'pg'
import { NAME_PATTERNS } from '../names.ts'
import type { Query } from '../statement.ts'

/** Offences that a look finds in one moment. The one that explains most comes first. */
export const OFFENCES = ['revoked', 'foreign-database', 'shared-catalog', 'blocks-broker', 'blocks-others'] as const
export type Offence = (typeof OFFENCES)[number]

/** A session of a tenant, or a prepared transaction in the database of one. */
export interface Holder {
  /** Identifies the holder among all locks: the process id, or the virtual transaction of a prepared one. */
  readonly holder: string
  /** Null for a prepared transaction. */
  readonly pid: number | null
  /** Global id of a prepared transaction. */
  readonly gid: string | null
  /** Oid of the login, as a string. */
  readonly userId: string
  /** The login, or the role that prepared the transaction; `unknown (OID=…)` if it was dropped. */
  readonly login: string
  readonly database: string
  readonly token: string
  /** As PostgreSQL writes it, because a `Date` has no microseconds. Null if the admin may not see it. */
  readonly startedAt: string | null
  /** Identifies the transaction of the session. */
  readonly transaction: string | null
  readonly offences: readonly Offence[]
  /** Holds, or waits for, a lock that others need: on a shared catalog, or on a database or role of another instance. */
  readonly shared: boolean
  /** Entries in the shared lock table. */
  readonly locks: number
  /** The limit of the plan for the locks of all holders of the instance; null if it has none of its own, or holds few. */
  readonly lockLimit: number | null
}

/** What a look finds. */
export interface Sight {
  /** Entries in the shared lock table of all sessions of the server. */
  readonly locks: number
  /** How many entries fit, as PostgreSQL guarantees it. */
  readonly capacity: number
  /** Whether a session that is no tenant's waits for a lock that the guard itself holds. */
  readonly waitedFor: boolean
  /** Only those that may concern a rule. */
  readonly holders: readonly Holder[]
}

/** No instance has fewer locks than this as its limit, so smaller sums need no look at the limit. */
export const SMALLEST_LOCK_LIMIT = 100

/** Longer than the `lock_timeout` of 1 s that polite work of the broker has, so that polite work ends no session. */
const BROKER_PATIENCE = '1500 ms'
const OTHERS_PATIENCE = '1 s'

/** Oids of pg_database and pg_authid, which are the same on every server. */
const DATABASES = 1262
const ROLES = 1260

/** Modes that conflict with RowExclusiveLock, which every login takes on its database. */
const STRONG = `('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`

/**
 * NOTIFY takes an AccessExclusiveLock on no database in particular (oid 0) while it commits. Nobody can hold it for
 * longer, so waiting for it is no offence of the session in front.
 */
const NOT_NOTIFY = (lock: string) =>
  `NOT (${lock}.locktype = 'object' AND ${lock}.classid = ${DATABASES} AND ${lock}.objid = 0)`

/** The same object, as `pg_locks` identifies it. */
const SAME = ['locktype', 'database', 'relation', 'page', 'tuple', 'transactionid', 'classid', 'objid', 'objsubid']
  .map((column) => `held.${column} IS NOT DISTINCT FROM wanted.${column}`)
  .join(' AND ')

/**
 * Functions instead of views where possible: a view takes locks on itself and on the catalogs in it. `pg_get_userbyid`
 * answers from a cache. Logins that are being authenticated are in `pg_lock_status` and not among the sessions.
 */
const LOOK = `
WITH RECURSIVE locks AS MATERIALIZED (
  -- Predicate locks of SERIALIZABLE transactions block nobody, and are in a table of their own.
  SELECT l.*, coalesce(l.pid::text, l.virtualtransaction) AS holder FROM pg_lock_status() AS l WHERE l.mode <> 'SIReadLock'
), sessions AS MATERIALIZED (
  SELECT s.pid, s.datid, s.usesysid, s.application_name, s.backend_start, pg_get_userbyid(s.usesysid)::text AS login
  FROM pg_stat_get_activity(NULL) AS s
  WHERE s.usesysid IS NOT NULL AND coalesce(s.backend_type, 'client backend') = 'client backend'
), tenants AS MATERIALIZED (
  SELECT s.pid::text AS holder, s.pid, NULL::text AS gid, s.usesysid, s.login, s.datid, d.datname::text AS database,
         substr(CASE WHEN s.login ~ $1 THEN s.login ELSE d.datname END, 7, 20) AS token, s.backend_start::text AS started
  FROM sessions AS s JOIN pg_database AS d ON d.oid = s.datid
  WHERE s.login ~ $1
     OR (s.login LIKE 'unknown (OID=%' AND d.datname ~ $2 AND NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = s.usesysid))
  UNION ALL
  -- It holds the lock of its own transaction id, which shows how its other locks are named.
  SELECT l.holder, NULL, p.gid, p.ownerid, pg_get_userbyid(p.ownerid)::text, p.dbid, d.datname::text,
         substr(d.datname, 7, 20), NULL
  FROM pg_prepared_xact() AS p JOIN pg_database AS d ON d.oid = p.dbid
  JOIN locks AS l ON l.pid IS NULL AND l.locktype = 'transactionid' AND l.transactionid = p.transaction
  WHERE d.datname ~ $2 AND pg_get_userbyid(p.ownerid) ~ $3
), waiting AS MATERIALIZED (
  SELECT w.*, clock_timestamp() - w.waitstart AS waited, s.login, s.usesysid, s.application_name,
         coalesce(t.token, substr(d.datname, 7, 20)) AS token, t.pid IS NOT NULL AS tenant,
         t.pid IS NOT NULL AND w.database = 0 AND CASE w.locktype
           WHEN 'object' THEN w.classid = ${DATABASES} AND (w.objid <> t.datid OR w.mode IN ${STRONG})
           WHEN 'relation' THEN w.mode IN ${STRONG}
           ELSE false END AS offends
  FROM locks AS w LEFT JOIN sessions AS s ON s.pid = w.pid LEFT JOIN tenants AS t ON t.pid = w.pid
  LEFT JOIN pg_database AS d ON s.pid IS NULL AND w.locktype = 'object' AND w.classid = ${DATABASES} AND d.oid = w.objid
    AND d.datname ~ $2
  WHERE NOT w.granted AND ${NOT_NOTIFY('w')}
), victims AS MATERIALIZED (
  SELECT DISTINCT w.pid, w.token,
         CASE WHEN of.broker THEN 'blocks-broker' ELSE 'blocks-others' END AS rule
  FROM waiting AS w
  CROSS JOIN LATERAL (
    SELECT w.application_name LIKE 'osb%' AND NOT w.tenant AND pg_has_role(w.usesysid, current_user, 'MEMBER') AS broker
  ) AS of
  WHERE (of.broker AND w.waited > interval '${BROKER_PATIENCE}')
     -- A session that must not wait at all is no victim: a tenant could wait for a session of another to have it ended.
     OR (of.broker IS NOT TRUE AND NOT w.offends AND (w.tenant OR w.database = 0)
         AND w.waited > interval '${OTHERS_PATIENCE}')
), blocking (victim, rule, token, pid, by) AS (
  SELECT v.pid, v.rule, v.token, v.pid, b.pid FROM victims AS v, unnest(pg_blocking_pids(v.pid)) AS b (pid)
  UNION
  -- Behind a session that is no tenant's, such as a login in progress, may be one that is.
  SELECT c.victim, c.rule, c.token, c.by, b.pid FROM blocking AS c, unnest(pg_blocking_pids(c.by)) AS b (pid)
  WHERE c.by <> 0 AND NOT EXISTS (SELECT FROM tenants AS t WHERE t.pid = c.by)
), blockers AS (
  SELECT t.holder, c.rule, c.token FROM blocking AS c JOIN tenants AS t ON t.pid = c.by
  UNION ALL
  -- A prepared transaction blocks as process 0. Not all locks with all locks: a tenant may hold tens of thousands.
  SELECT t.holder, c.rule, c.token FROM blocking AS c
  JOIN waiting AS wanted ON wanted.pid = c.pid
  JOIN locks AS held ON held.granted AND held.pid IS NULL AND ${SAME}
  JOIN tenants AS t ON t.holder = held.holder
  WHERE c.by = 0
), offences AS (
  SELECT t.holder, CASE w.locktype WHEN 'object' THEN 'foreign-database' ELSE 'shared-catalog' END AS rule
  FROM waiting AS w JOIN tenants AS t ON t.pid = w.pid WHERE w.offends
  UNION
  SELECT b.holder, b.rule FROM blockers AS b JOIN tenants AS t USING (holder)
  WHERE b.rule = 'blocks-broker' OR b.token IS DISTINCT FROM t.token
  UNION
  -- The name is as of now, but rows of pg_roles are as of the begin of the look, which may lack the role of a new binding.
  SELECT t.holder, 'revoked' FROM tenants AS t LEFT JOIN pg_roles AS r ON r.oid = t.usesysid
  WHERE t.pid IS NOT NULL
    AND (t.login LIKE 'unknown (OID=%' OR NOT r.rolcanlogin OR r.rolvaliduntil <= clock_timestamp())
), holding AS MATERIALIZED (
  -- Before any join, because the table may have tens of thousands of entries.
  SELECT l.holder, count(*) FILTER (WHERE NOT l.fastpath)::int AS locks, min(l.virtualtransaction) AS transaction
  FROM locks AS l GROUP BY l.holder
), sharing AS MATERIALIZED (
  SELECT DISTINCT l.holder FROM locks AS l JOIN tenants AS t ON t.holder = l.holder
  WHERE l.database = 0 AND CASE l.locktype
    WHEN 'relation' THEN l.mode NOT IN ('AccessShareLock', 'RowShareLock')
    WHEN 'object' THEN CASE l.classid
      WHEN ${DATABASES} THEN l.objid NOT IN (0, t.datid)
      WHEN ${ROLES} THEN pg_get_userbyid(l.objid) ~ $3 AND substr(pg_get_userbyid(l.objid), 7, 20) <> t.token
      ELSE false END
    ELSE false END
), found AS (
  SELECT t.holder, t.pid, t.gid, t.usesysid::text AS "userId", t.login, t.database, t.token, t.started AS "startedAt",
    h.transaction, EXISTS (SELECT FROM sharing AS s WHERE s.holder = t.holder) AS shared, coalesce(h.locks, 0) AS locks,
    sum(h.locks) OVER (PARTITION BY t.token) AS together,
    ARRAY(SELECT o.rule FROM offences AS o WHERE o.holder = t.holder) AS offences
  FROM tenants AS t LEFT JOIN holding AS h USING (holder)
)
SELECT server.locks AS all, server.capacity, server.waited, f.*,
  CASE WHEN f.together >= ${SMALLEST_LOCK_LIMIT}
    THEN (SELECT nullif(r.rolconnlimit, -1) FROM pg_roles AS r WHERE r.rolname = 'osb_r_' || f.token) END AS "lockLimit"
FROM (SELECT (SELECT count(*)::int FROM locks WHERE NOT fastpath) AS locks,
             current_setting('max_locks_per_transaction')::int
               * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) AS capacity,
             EXISTS (SELECT FROM waiting WHERE NOT tenant AND pg_backend_pid() = ANY (pg_blocking_pids(pid))) AS waited
     ) AS server
LEFT JOIN found AS f ON f.offences <> '{}' OR f.shared OR f.together >= ${SMALLEST_LOCK_LIMIT}`

interface LookRow extends Omit<Holder, 'holder'>, QueryResultRow {
  readonly all: number
  readonly capacity: number
  readonly waited: boolean
  readonly holder: string | null
}

/** Looks at all sessions and locks of a server, in one statement. */
export async function look(query: Query): Promise<Sight> {
  // Within a transaction PostgreSQL goes on to show the sessions as the first look saw them.
  await query('SELECT pg_stat_clear_snapshot()')
  const rows = await query<LookRow>(LOOK, [LOGIN, NAME_PATTERNS.database, NAME_PATTERNS.role])
  const [server] = rows
  const holders = rows.flatMap(({ holder, ...row }) => (holder === null ? [] : [{ ...row, holder }]))
  const found = await withoutNewLogins(query, holders)
  return {
    locks: server?.all ?? 0,
    capacity: server?.capacity ?? 0,
    waitedFor: server?.waited ?? false,
    holders: found
  }
}

/**
 * Drops the offence `revoked` of logins that may log in by now. A look sees sessions as of now, but roles as of its begin, so
 * that a login which was enabled meanwhile looks like a disabled one with a session.
 */
async function withoutNewLogins(query: Query, holders: readonly Holder[]): Promise<readonly Holder[]> {
  const revoked = holders.filter(({ offences }) => offences.includes('revoked')).map(({ userId }) => userId)
  if (revoked.length === 0) return holders
  const rows = await query<{ oid: string }>(
    `SELECT oid::text FROM pg_roles WHERE oid = ANY ($1::oid[]) AND rolcanlogin
     AND (rolvaliduntil IS NULL OR rolvaliduntil > clock_timestamp())`,
    [revoked]
  )
  const enabled = new Set(rows.map(({ oid }) => oid))
  return holders.map((holder) => {
    if (!enabled.has(holder.userId)) return holder
    return { ...holder, offences: holder.offences.filter((offence) => offence !== 'revoked') }
  })
}

/** Logins of bindings, as a regular expression of PostgreSQL. */
const LOGIN = '^osb_b_[a-z2-7]{20}_[a-z2-7]{10}$'
