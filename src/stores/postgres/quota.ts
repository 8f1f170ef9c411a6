import type { Quota } from '../../core/store.ts'
import type { Tables } from './schema.ts'
import type { Sql } from './transactions.ts'

/** A quota, and whose it is. */
interface PlatformQuota extends Quota {
  readonly platform: string
}

/**
 * Instances that count for the quota. While a place is free, starts of the platform on this plan come one after the
 * other until their transaction ends, on whichever replica they are. Those that find none wait for nobody: a flood of
 * them would keep the connections from other platforms.
 */
export async function countForQuota(tables: Tables, sql: Sql, quota: PlatformQuota): Promise<number> {
  const counted = await count(tables, sql, quota)
  if (counted >= quota.instances) return counted
  // Nobody who holds it waits for another that wants it: it is the first lock of each start.
  const name = JSON.stringify([tables.schema, 'quota', quota.platform, quota.planId])
  await sql.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [name])
  return count(tables, sql, quota)
}

/**
 * One statement, so that an update that ends meanwhile is seen on one of its two plans. A failed instance counts only
 * while it is being deleted. The collation is that of the index.
 */
async function count(tables: Tables, sql: Sql, { platform, planId }: PlatformQuota): Promise<number> {
  const [row] = await sql.query<{ counted: number }>(
    `SELECT (
      SELECT count(*) FROM ${tables.instances} AS instance
      WHERE platform COLLATE "C" = $1 AND plan_id COLLATE "C" = $2
        AND (status <> 'failed' OR EXISTS (SELECT FROM ${tables.operations} AS operation
          WHERE operation.instance_id = instance.instance_id AND coalesce(operation.binding_id, '') = ''
            AND operation.state = 'in progress'))
    )::int + (
      SELECT count(*) FROM ${tables.operations} AS operation JOIN ${tables.instances} AS instance USING (instance_id)
      WHERE operation.state = 'in progress' AND operation.platform = $1 AND operation.target ->> 'planId' = $2
        AND instance.plan_id <> $2
    )::int AS counted`,
    [platform, planId]
  )
  if (row === undefined) throw new Error('The instances of a quota could not be counted.')
  return row.counted
}
