import type { StoreContext } from './context.ts'
import type { Tables } from './schema.ts'
import { inTransaction } from './transactions.ts'

/** Changes that one transaction folds into the counts. */
const FOLD_BATCH = 10_000

/** The largest transaction id. */
const LAST = '18446744073709551615'

/**
 * A subquery of all counts: `platform`, `plan_id`, `resource`, `service_id`, `status` and `n`, of which each has several
 * rows to be summed. It reads the changes that were not folded yet by a short range of their index.
 *
 * The upper bound is always true. It makes the planner expect a few rows, as for any range, so that it takes the index
 * even when the table holds little else than what VACUUM could not remove.
 */
export function counted({ resourceCounts, resourceCountChanges, resourceCountsFolded }: Tables): string {
  return `(
    SELECT platform, plan_id, resource, service_id, status, count AS n FROM ${resourceCounts}
    UNION ALL
    SELECT platform, plan_id, resource, service_id, status, change FROM ${resourceCountChanges}
    WHERE xid <= '${LAST}' AND xid >= (
      SELECT CASE WHEN before <= pg_snapshot_xmin(pg_current_snapshot()) THEN before ELSE '0' END
      FROM ${resourceCountsFolded}
    )
  )`
}

/** Folds changes into the counts, unless another replica does. */
export async function foldCounts({ pool, tables }: StoreContext): Promise<void> {
  while (true) {
    const [row] = await inTransaction(pool, (sql) =>
      sql.query<{ folded: number }>(`SELECT ${tables.foldResourceCounts}($1)::int AS folded`, [FOLD_BATCH])
    )
    if ((row?.folded ?? 0) < FOLD_BATCH) return
  }
}
