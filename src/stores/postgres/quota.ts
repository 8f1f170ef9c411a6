import type { Quota } from '../../core/store.ts'
import { counted } from './counts.ts'
import type { Tables } from './schema.ts'
import type { Sql } from './transactions.ts'

/** The quota of a platform. */
interface PlatformQuota extends Quota {
  readonly platform: string
}

/**
 * Returns how many instances count for the quota.
 *
 * While a place is free, the starts of a platform on a plan wait for each other, on whichever replica they are. When no
 * place is free they do not wait, because a flood of them would use up the connections of other platforms.
 */
export async function countForQuota(tables: Tables, sql: Sql, quota: PlatformQuota): Promise<number> {
  const before = await count(tables, sql, quota)
  if (before >= quota.instances) return before
  // The first lock of each start, so that no start that holds it waits for one that wants it.
  const name = JSON.stringify([tables.schema, 'quota', quota.platform, quota.planId])
  await sql.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [name])
  return count(tables, sql, quota)
}

/** Counts from the counters: an instance on the plan, or an operation that has taken a place beside those. */
async function count(tables: Tables, sql: Sql, { platform, planId }: PlatformQuota): Promise<number> {
  const [row] = await sql.query<{ counted: number }>(
    `SELECT coalesce(sum(n), 0)::int AS counted FROM ${counted(tables)} AS counts
    WHERE platform = $1 AND plan_id = $2 AND (resource = 'place' OR resource = 'instance' AND status <> 'failed')`,
    [platform, planId]
  )
  if (row === undefined) throw new Error('The instances of a quota could not be counted.')
  return row.counted
}
