import type { Claim, Finish, InstancePatch } from '../../core/store.ts'
import { auditedColumns, auditOf } from './audit.ts'
import type { StoreContext } from './context.ts'
import { bindingColumns, instanceColumns, json, type OperationRow, undeliveredColumns } from './rows.ts'
import { updateRow } from './statements.ts'
import { inTransaction, type Sql } from './transactions.ts'

/** {@link Store.finish}. */
export async function finishOperation(context: StoreContext, claim: Claim, finish: Finish): Promise<boolean> {
  return inTransaction(context.pool, async (sql) => {
    const ended = await endOperation(context, sql, { claim, finish })
    if (ended === undefined) return false
    const { instance_id: instanceId, binding_id: bindingId } = ended
    if (finish.instance !== undefined) await applyToInstance(context, sql, { instanceId, change: finish.instance })
    if (bindingId !== null) await applyToBinding(context, sql, { instanceId, bindingId, finish })
    return true
  })
}

async function endOperation(
  { tables }: StoreContext,
  sql: Sql,
  { claim, finish }: { claim: Claim; finish: Finish }
): Promise<Pick<OperationRow, 'instance_id' | 'binding_id'> | undefined> {
  const [ended] = await sql.query<Pick<OperationRow, 'instance_id' | 'binding_id'>>(
    `WITH ended AS (
      UPDATE ${tables.operations} SET state = $3, description = $4, failure = $5, instance_usable = $6,
        update_repeatable = $7, lease_until = NULL, finished_at = clock_timestamp()
      WHERE operation_id = $1 AND attempt = $2 AND state = 'in progress'
      RETURNING ${auditedColumns}
    ), audited AS (${auditOf(tables, 'ended', 'o.state')})
    SELECT instance_id, binding_id FROM ended`,
    [
      claim.operationId,
      claim.attempt,
      finish.state,
      finish.description,
      json(finish.failure),
      finish.instanceUsable,
      finish.updateRepeatable
    ]
  )
  return ended
}

async function applyToInstance(
  { tables, sealer }: StoreContext,
  sql: Sql,
  { instanceId, change }: { instanceId: string; change: InstancePatch | 'remove' }
): Promise<void> {
  if (change === 'remove') {
    await sql.query(`DELETE FROM ${tables.instances} WHERE instance_id = $1`, [instanceId])
    return
  }
  const columns = await instanceColumns(instanceId, change, sealer)
  const { text, values } = updateRow(tables.instances, { instance_id: instanceId }, columns)
  await sql.query(text, values)
}

async function applyToBinding(
  { tables, sealer }: StoreContext,
  sql: Sql,
  target: { instanceId: string; bindingId: string; finish: Finish }
): Promise<void> {
  const { instanceId, bindingId, finish } = target
  const { binding: change, undelivered } = finish
  if (change === undefined) return
  if (change === 'remove') {
    await sql.query(`DELETE FROM ${tables.bindings} WHERE instance_id = $1 AND binding_id = $2`, [
      instanceId,
      bindingId
    ])
    return
  }
  const ids = { instanceId, bindingId }
  const columns = {
    ...(await bindingColumns(ids, change, sealer)),
    ...(undelivered === undefined ? {} : await undeliveredColumns(ids, undelivered, sealer))
  }
  const key = { instance_id: instanceId, binding_id: bindingId }
  const { text, values } = updateRow(tables.bindings, key, columns)
  await sql.query(text, values)
}
