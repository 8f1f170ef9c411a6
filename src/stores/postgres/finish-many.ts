import type { Claim, Finish } from '../../core/store.ts'
import { auditOf } from './audit.ts'
import type { StoreContext } from './context.ts'
import { inTransaction } from './transactions.ts'
import { isOfOne } from './trouble.ts'

/** The end of an operation that worked. */
export interface PlainFinish {
  readonly claim: Claim
  readonly finish: Finish
}

const READY = JSON.stringify({ status: 'ready' })

/** A provision that succeeded, and whose provider has nothing to keep. */
export function isPlainFinish({ state, instance, binding, failure }: Finish): boolean {
  return state === 'succeeded' && binding === undefined && failure === undefined && JSON.stringify(instance) === READY
}

/**
 * {@link Store.finish} for several at once: one statement, which is one round trip and one commit for all of them. Each is
 * fenced on its own claim. What one of them trips over fails all: each is to be tried `alone` then.
 */
export async function finishMany(context: StoreContext, ends: readonly PlainFinish[]): Promise<(boolean | 'alone')[]> {
  try {
    const ended = new Set(await end(context, ends))
    return ends.map(({ claim }) => ended.has(claim.operationId))
  } catch (error) {
    if (!isOfOne(error)) throw error
    return ends.map(() => 'alone')
  }
}

async function end({ pool, tables }: StoreContext, ends: readonly PlainFinish[]): Promise<string[]> {
  const rows = await inTransaction(pool, (sql) =>
    sql.query<{ operation_id: string }>(
      `WITH ended AS (
      UPDATE ${tables.operations} AS operation
      SET state = 'succeeded', description = claim.description, failure = NULL, instance_usable = NULL,
        update_repeatable = NULL, lease_until = NULL, finished_at = clock_timestamp()
      FROM unnest($1::text[], $2::integer[], $3::text[]) AS claim (operation_id, attempt, description)
      WHERE operation.operation_id = claim.operation_id AND operation.attempt = claim.attempt
        AND operation.state = 'in progress'
      RETURNING operation.*
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
