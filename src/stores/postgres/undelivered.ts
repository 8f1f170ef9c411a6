import type { JsonObject } from '../../../schemas/common.ts'
import type { OwnBinding } from '../../core/store.ts'
import type { StoreContext } from './context.ts'
import { inTransaction } from './transactions.ts'

/** {@link Deliveries.deliver}. Decrypts before it deletes, so that a missing key does not lose the credentials. */
export async function deliver(
  { pool, tables, sealer }: StoreContext,
  { platform, instanceId, bindingId }: OwnBinding
): Promise<JsonObject | undefined> {
  return inTransaction(pool, async (sql) => {
    const [row] = await sql.query<{ undelivered: string }>(
      `SELECT undelivered FROM ${tables.bindings}
      WHERE instance_id = $1 AND binding_id = $2 AND platform = $3 AND undelivered_until > clock_timestamp() FOR UPDATE`,
      [instanceId, bindingId, platform]
    )
    if (row === undefined) return undefined
    const purpose = { column: 'binding.undelivered', platform, instanceId, bindingId } as const
    const credentials = await sealer.open(row.undelivered, purpose)
    await sql.query(
      `UPDATE ${tables.bindings} SET undelivered = NULL, undelivered_until = NULL
      WHERE instance_id = $1 AND binding_id = $2`,
      [instanceId, bindingId]
    )
    return credentials
  })
}
