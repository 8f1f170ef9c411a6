import type { Tables } from './schema.ts'
import type { Sql } from './transactions.ts'

/** Whose places of which plan. */
type Place = readonly [platform: string, planId: string]

/**
 * Lets the starts of a platform on a plan with a quota come one after the other, on whichever replica they are, until
 * the transaction ends. Nobody who holds it waits for another start that wants it: it is the first lock of each.
 */
export async function lockQuota(tables: Tables, sql: Sql, place: Place): Promise<void> {
  const name = JSON.stringify([tables.schema, 'quota', ...place])
  await sql.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [name])
}

/**
 * Instances that count for the quota: one statement, so that an update that ends meanwhile is seen on one of its two
 * plans. A failed one counts only while it is being deleted. The collation is that of the index.
 */
export async function countForQuota(tables: Tables, sql: Sql, place: Place): Promise<number> {
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
    [...place]
  )
  if (row === undefined) throw new Error('The instances of a quota could not be counted.')
  return row.counted
}
