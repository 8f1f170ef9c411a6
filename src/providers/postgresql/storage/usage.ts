import type { QueryResultRow } from 'pg'
import { type Description, Rejected } from '../../../core/provider.ts'
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
  /** How many bytes it had when its storage was found to be used up; undefined: it is not. */
  readonly lockedAtBytes: number | undefined
  /** Whether one can connect. */
  readonly open: boolean
  /** Whether a binding can act as the owner. */
  readonly writable: boolean
}

interface UsageRow extends QueryResultRow {
  database: string
  bytes: string
  connections: number
  mark: number
  open: boolean
  writable: boolean
}

const MB = 1024 ** 2

/** What some instances use, by the name of their database. One that has none is left out. */
export async function usageOf(reader: Reader, instances: readonly InstanceNames[]): Promise<Map<string, Usage>> {
  const rows = await reader.query<UsageRow>(
    `SELECT d.datname::text AS database, pg_database_size(d.oid)::text AS bytes, o.rolconnlimit AS mark,
            d.datallowconn AS open,
            EXISTS (SELECT FROM pg_auth_members AS am JOIN pg_roles AS m ON m.oid = am.member
                    WHERE am.roleid = o.oid AND starts_with(m.rolname, asked.logins)) AS writable,
            (SELECT count(*)::int FROM pg_stat_activity AS s
             WHERE s.datid = d.oid AND starts_with(s.usename, asked.logins)) AS connections
     FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (database, owner, logins)
     JOIN pg_database AS d ON d.datname = asked.database AND d.datconnlimit <> -2
     JOIN pg_roles AS o ON o.rolname = asked.owner`,
    [
      instances.map(({ database }) => database),
      instances.map(({ owner }) => owner),
      instances.map(({ loginPrefix }) => loginPrefix)
    ]
  )
  return new Map(
    rows.map(({ database, bytes, mark, connections, open, writable }) => [
      database,
      { bytes: Number(bytes), connections, lockedAtBytes: mark < 0 ? undefined : mark * MB, open, writable }
    ])
  )
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
  const fewerConnections = plan.connection_limit < previous.connection_limit
  if (!lessStorage && !fewerConnections) return
  const usage = (await usageOf(reader, [names])).get(names.database)
  if (usage === undefined) return
  if (lessStorage && usage.bytes > quotaBytes(plan)) {
    const over = inMegabytes(usage.bytes - quotaBytes(plan))
    throw tooMuch(`${inMegabytes(usage.bytes)} of storage, ${over} more than the ${plan.storage_quota} that it allows`)
  }
  const excess = usage.connections - plan.connection_limit
  if (fewerConnections && excess > 0) {
    throw tooMuch(`${usage.connections} connections, ${excess} more than the ${plan.connection_limit} that it allows`)
  }
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
    ...(usage.lockedAtBytes === undefined ? {} : { notice: usage.open ? LOCKED : CLOSED })
  }
}

const LOCKED = 'The storage is used up: bindings can read, delete and truncate until there is room again.'
const CLOSED = 'The storage is used up and the database is closed: update the service instance to a plan with more.'
