import type { JsonObject } from '../../../schemas/common.ts'
import type { StoreContext } from './context.ts'
import { inTransaction } from './transactions.ts'

/** {@link Deliveries.deliver}. They are opened before they are forgotten: what has no key any more is not lost for that. */
export async function deliver(
  { pool, tables, sealer }: StoreContext,
  instanceId: string,
  bindingId: string
): Promise<JsonObject | undefined> {
  return inTransaction(pool, async (sql) => {
    const [row] = await sql.query<{ undelivered: string }>(
      `SELECT undelivered FROM ${tables.bindings}
      WHERE instance_id = $1 AND binding_id = $2 AND undelivered_until > clock_timestamp() FOR UPDATE`,
      [instanceId, bindingId]
    )
    if (row === undefined) return undefined
    const credentials = await sealer.open(row.undelivered, { column: 'binding.undelivered', instanceId, bindingId })
    await sql.query(
      `UPDATE ${tables.bindings} SET undelivered = NULL, undelivered_until = NULL
      WHERE instance_id = $1 AND binding_id = $2`,
      [instanceId, bindingId]
    )
    return credentials
  })
}
