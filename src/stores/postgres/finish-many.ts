import type { Claim, Finish } from '../../core/store.ts'
import { auditedColumns, auditOf } from './audit.ts'
import type { StoreContext } from './context.ts'
import { inTransaction } from './transactions.ts'
import { isOfOne } from './trouble.ts'

/** The end of an operation that worked. */
export interface PlainFinish {
  readonly claim: Claim
  readonly finish: Finish
}

/**
 * By no index: that of unfinished operations looks short to the planner, and has what has just ended in it until it is
 * vacuumed, so that a batch would read all of that instead of its own rows.
 */
const UNFINISHED = "coalesce(operation.state, '') = 'in progress'"

const READY = JSON.stringify({ status: 'ready' })

/** A provision that succeeded, and whose provider has nothing to keep. */
export function isPlainFinish({ state, instance, binding, failure, undo }: Finish): boolean {
  const plain = binding === undefined && failure === undefined && undo === undefined
  return state === 'succeeded' && plain && JSON.stringify(instance) === READY
}

/**
 * {@link Store.finish} for several at once: one statement, which is one round trip and one commit for all of them. Each is
 * fenced on its own claim. Rows that somebody has locked are passed over: none waits for the lock of another, and no two
 * batches for each other. What was passed over, or has lost its claim, is to be tried `alone` and finds out which; so is
 * each when one of them trips over something, which fails all.
 */
export async function finishMany(context: StoreContext, ends: readonly PlainFinish[]): Promise<(true | 'alone')[]> {
  try {
    const ended = new Set(await end(context, ends))
    return ends.map(({ claim }) => (ended.has(claim.operationId) ? true : 'alone'))
  } catch (error) {
    if (!isOfOne(error)) throw error
    return ends.map(() => 'alone')
  }
}

async function end({ pool, tables }: StoreContext, ends: readonly PlainFinish[]): Promise<string[]> {
  const rows = await inTransaction(pool, (sql) =>
    sql.query<{ operation_id: string }>(
      `WITH mine AS (
      SELECT claim.* FROM unnest($1::text[], $2::integer[], $3::text[]) AS claim (of_operation, of_attempt, told)
      JOIN ${tables.operations} AS operation
        ON operation_id = of_operation AND attempt = of_attempt AND ${UNFINISHED}
      JOIN ${tables.instances} AS instance USING (instance_id)
      FOR NO KEY UPDATE OF operation, instance SKIP LOCKED
    ), ended AS (
      UPDATE ${tables.operations} SET state = 'succeeded', description = told, failure = NULL, instance_usable = NULL,
        update_repeatable = NULL, lease_until = NULL, claimed_by = NULL, finished_at = clock_timestamp()
      FROM mine WHERE operation_id = of_operation
      RETURNING ${auditedColumns}
    ), audited AS (${auditOf(tables, 'ended', 'o.state')}
    ), changed AS (
      UPDATE ${tables.instances} AS instance SET status = 'ready', updated_at = clock_timestamp()
      FROM ended WHERE instance.instance_id = ended.instance_id
    )
    SELECT operation_id FROM ended`,
      [
        ends.map(({ claim }) => claim.operationId),
        ends.map(({ claim }) => claim.attempt),
        ends.map(({ finish }) => finish.description ?? null)
      ]
    )
  )
  return rows.map((row) => row.operation_id)
}
