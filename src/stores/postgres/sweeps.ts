import type { ExpiredBinding } from '../../core/stored-resource.ts'
import type { StoreContext } from './context.ts'
import type { BindingRow, InstanceRow } from './rows.ts'
import { inTransaction, read } from './transactions.ts'

/** Deleting the operations of a week at once would not end within the timeout of a statement. */
const FORGET_BATCH = 2_000
/** Bindings that one statement returns or changes. */
const BINDINGS = 500
/** Only in a subquery it is a bound of an index scan, because the function returns another time for each row. */
const NOW = 'clock_timestamp()'
/** How far back a look for expired bindings begins, for a binding that had expired before it was written. */
const EXPIRED_AGO = '15 minutes'
/** How often a look for expired bindings begins at the first one all the same. */
const LOOK_AT_ALL_MS = 3_600_000

type ExpiredRow = Pick<InstanceRow, 'provider' | 'service_id' | 'plan_id'> &
  Pick<BindingRow, 'instance_id' | 'binding_id' | 'platform'>

/**
 * The sweeps over what has had its time. Each reads an index from its low end, where the entries of the rows that earlier
 * sweeps have removed stay until VACUUM can remove them. So each begins where the last one ended.
 */
export class Sweeps {
  readonly #context: StoreContext
  #forgottenTo = '-infinity'
  #expiredFrom = '-infinity'
  #lookedAtAll = Number.NEGATIVE_INFINITY

  constructor(context: StoreContext) {
    this.#context = context
  }

  /** {@link Store.forgetOperations}. */
  async forgetOperations(olderThanMs: number): Promise<number> {
    const { pool, tables } = this.#context
    let forgotten = 0
    while (true) {
      const [row] = await inTransaction(pool, (sql) =>
        sql.query<{ count: number; last: string | null }>(
          `WITH old AS (
            SELECT ctid AS place, finished_at FROM ${tables.operations}
            WHERE finished_at < (SELECT ${NOW} - $1 * interval '1 millisecond') AND finished_at >= $2
            ORDER BY finished_at LIMIT ${FORGET_BATCH} FOR UPDATE
          ), gone AS (
            DELETE FROM ${tables.operations} WHERE ctid = ANY (ARRAY(SELECT place FROM old))
          )
          SELECT count(*)::int AS count, max(finished_at)::text AS last FROM old`,
          [olderThanMs, this.#forgottenTo]
        )
      )
      forgotten += row?.count ?? 0
      this.#forgottenTo = row?.last ?? this.#forgottenTo
      if ((row?.count ?? 0) < FORGET_BATCH) return forgotten
    }
  }

  /** {@link Store.expiredBindings}. */
  async expiredBindings(): Promise<ExpiredBinding[]> {
    const { pool, tables } = this.#context
    if (performance.now() - this.#lookedAtAll >= LOOK_AT_ALL_MS) this.#expiredFrom = '-infinity'
    const expired = `expires_at <= (SELECT ${NOW}) AND expires_at >= $1 AND revoked_at IS NULL`
    const [first] = await read<{ from: string }>(
      pool,
      `SELECT least(clock_timestamp() - interval '${EXPIRED_AGO}',
        (SELECT expires_at FROM ${tables.bindings} WHERE ${expired} ORDER BY expires_at LIMIT 1))::text AS from`,
      [this.#expiredFrom]
    )
    if (first === undefined) throw new Error('The first expired binding could not be read.')
    if (this.#expiredFrom === '-infinity') this.#lookedAtAll = performance.now()
    this.#expiredFrom = first.from
    // OFFSET keeps the planner from a join that would read the whole index of unfinished operations, which looks short.
    const rows = await read<ExpiredRow>(
      pool,
      `SELECT b.instance_id, b.binding_id, b.platform, i.provider, i.service_id, i.plan_id
      FROM ${tables.bindings} AS b JOIN ${tables.instances} AS i USING (instance_id)
      WHERE ${expired} AND b.status = 'ready'
        AND NOT EXISTS (SELECT FROM ${tables.operations} AS o
          WHERE o.state = 'in progress' AND o.instance_id = b.instance_id
            AND coalesce(o.binding_id, b.binding_id) = b.binding_id
          OFFSET 0)
      ORDER BY b.expires_at LIMIT ${BINDINGS}`,
      [first.from]
    )
    return rows.map((row) => ({
      instanceId: row.instance_id,
      bindingId: row.binding_id,
      platform: row.platform,
      provider: row.provider,
      serviceId: row.service_id,
      planId: row.plan_id
    }))
  }

  /** {@link Deliveries.dropUndelivered}. */
  async dropUndelivered(): Promise<number> {
    const { pool, tables } = this.#context
    let dropped = 0
    for (let from = '-infinity'; ; ) {
      const [row] = await inTransaction(pool, (sql) =>
        sql.query<{ count: number; last: string | null }>(
          `WITH overdue AS (
            SELECT instance_id, binding_id, undelivered_until FROM ${tables.bindings}
            WHERE undelivered_until <= (SELECT ${NOW}) AND undelivered_until >= $1
            ORDER BY undelivered_until LIMIT ${BINDINGS} FOR UPDATE
          ), gone AS (
            UPDATE ${tables.bindings} AS binding SET undelivered = NULL, undelivered_until = NULL
            FROM overdue WHERE binding.instance_id = overdue.instance_id AND binding.binding_id = overdue.binding_id
          )
          SELECT count(*)::int AS count, max(undelivered_until)::text AS last FROM overdue`,
          [from]
        )
      )
      dropped += row?.count ?? 0
      from = row?.last ?? from
      if ((row?.count ?? 0) < BINDINGS) return dropped
    }
  }
}
