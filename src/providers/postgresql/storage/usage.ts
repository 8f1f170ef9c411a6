import type { QueryResultRow } from 'pg'
import { type Description, Rejected } from '../../../core/provider.ts'
import { FULL } from '../instances.ts'
import type { InstanceNames } from '../names.ts'
import { type PlanOptions, quotaBytes } from '../plan-options.ts'

/** A session of a task, or the server itself. */
export interface Reader {
  query<Row extends QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<Row[]>
}

/** What an instance uses. */
export interface Usage {
  readonly bytes: number
  readonly connections: number
  /** Connections of the binding that has most of them. */
  readonly mostOfABinding: number
  /** How many bytes it had when its storage was found to be used up; undefined: it is not. */
  readonly lockedAtBytes: number | undefined
  /** Whether it is not closed, neither for its quota nor for a removal. */
  readonly open: boolean
  /** Whether the broker gets in and no role of the instance does, which is so when the quota has closed it. */
  readonly sealed: boolean
  /** Whether a binding can act as the owner. */
  readonly writable: boolean
}

interface UsageRow extends QueryResultRow {
  database: string
  bytes: string
  connections: number
  most: number
  mark: number
  open: boolean
  admits_admin: boolean
  admits_tenant: boolean
  writable: boolean
}

const MB = 1024 ** 2

/** What some instances use, by the name of their database. One that has none is left out. */
export async function usageOf(reader: Reader, instances: readonly InstanceNames[]): Promise<Map<string, Usage>> {
  const rows = await reader.query<UsageRow>(
    `SELECT d.datname::text AS database, pg_database_size(d.oid)::text AS bytes, o.rolconnlimit AS mark,
            d.datallowconn AND acl.owner AS open, d.datallowconn AS admits_admin, acl.anybody AS admits_tenant,
            EXISTS (SELECT FROM pg_auth_members AS am JOIN pg_roles AS m ON m.oid = am.member
                    WHERE am.roleid = o.oid AND starts_with(m.rolname, asked.logins)) AS writable,
            sessions.connections, sessions.most
     FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS asked (database, owner, reader, logins)
     JOIN pg_database AS d ON d.datname = asked.database AND d.datconnlimit <> -2
     JOIN pg_roles AS o ON o.rolname = asked.owner
     CROSS JOIN LATERAL (
       SELECT coalesce(bool_or(a.grantee = o.oid), false) AS owner,
              coalesce(bool_or(a.grantee = 0 OR r.rolname IN (asked.owner, asked.reader)
                               OR starts_with(r.rolname, asked.logins)), false) AS anybody
       FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
       WHERE a.privilege_type = 'CONNECT'
     ) AS acl
     CROSS JOIN LATERAL (
       SELECT coalesce(sum(logins.count), 0)::int AS connections, coalesce(max(logins.count), 0)::int AS most
       FROM (SELECT count(*) FROM pg_stat_activity AS s
             WHERE s.datid = d.oid AND starts_with(s.usename, asked.logins) GROUP BY s.usename) AS logins
     ) AS sessions`,
    [
      instances.map(({ database }) => database),
      instances.map(({ owner }) => owner),
      instances.map(({ reader: name }) => name),
      instances.map(({ loginPrefix }) => loginPrefix)
    ]
  )
  return new Map(rows.map((row) => [row.database, usageIn(row)]))
}

function usageIn(row: UsageRow): Usage {
  const { bytes, mark, connections, most, open, writable } = row
  return {
    bytes: Number(bytes),
    connections,
    mostOfABinding: most,
    lockedAtBytes: mark < 0 ? undefined : mark * MB,
    open,
    sealed: row.admits_admin && !row.admits_tenant && connections === 0,
    writable
  }
}

/**
 * Refuses an update to a plan that allows less than is used; a plan that allows no less than the one before is never refused.
 * @throws {Rejected} 422, which says by how much
 */
export async function refuseDowngrade(
  reader: Reader,
  names: InstanceNames,
  { plan, previous }: { plan: PlanOptions; previous: PlanOptions }
): Promise<void> {
  const lessStorage = quotaBytes(plan) < quotaBytes(previous)
  const limits = [
    [plan.database_connection_limit, previous.database_connection_limit],
    [plan.connection_limit, previous.connection_limit]
  ] as const
  if (!lessStorage && limits.every(([now, before]) => now >= before)) return
  const usage = (await usageOf(reader, [names])).get(names.database)
  if (usage === undefined) return
  if (lessStorage && usage.bytes > quotaBytes(plan)) {
    const over = inMegabytes(usage.bytes - quotaBytes(plan))
    throw tooMuch(`${inMegabytes(usage.bytes)} of storage, ${over} more than the ${plan.storage_quota} that it allows`)
  }
  const [all, each] = limits.map(([now, before]) => (now < before ? now : Number.POSITIVE_INFINITY))
  requireFewer(usage.connections, all, 'connections')
  requireFewer(usage.mostOfABinding, each, 'connections of one binding')
}

function requireFewer(used: number, limit = Number.POSITIVE_INFINITY, what: string): void {
  if (used > limit) throw tooMuch(`${used} ${what}, ${used - limit} more than the ${limit} that it allows`)
}

function tooMuch(what: string): Rejected {
  return new Rejected(
    422,
    `The utilization is over the quota of the requested plan: the service instance uses ${what}.`
  )
}

function inMegabytes(bytes: number): string {
  return `${Math.ceil(bytes / MB)}MB`
}

/** What the owner of an instance is told of its use. */
export function describeUsage(usage: Usage, plan: PlanOptions): Description {
  const quota = quotaBytes(plan)
  const storage = { name: 'storage', unit: 'bytes' as const, used: usage.bytes }
  return {
    measures: [
      Number.isFinite(quota) ? { ...storage, limit: quota } : storage,
      { name: 'connections', unit: 'count', used: usage.connections, limit: plan.database_connection_limit }
    ],
    ...noticeOf(usage)
  }
}

/** What the user has to know of a locked or closed instance. */
export function noticeOf(usage: Usage): { notice?: string } {
  if (usage.lockedAtBytes === undefined) return {}
  return { notice: usage.open ? LOCKED : FULL }
}

export const LOCKED =
  'The storage quota is used up: bindings can only read, delete and truncate until there is room again, or until the service instance is updated to a plan with more storage.'
