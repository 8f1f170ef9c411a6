import type { Claim, Finish, InstancePatch, UndoStart } from '../../core/store.ts'
import { auditedColumns, auditOf } from './audit.ts'
import type { StoreContext } from './context.ts'
import { type BindingIds, bindingColumns, type InstanceIds, instanceColumns, json, type OperationRow } from './rows.ts'
import { insertOperation } from './start.ts'
import { updateRow } from './statements.ts'
import { inTransaction, type Sql, type SqlTransaction } from './transactions.ts'
import { IS_UNFINISHED } from './unfinished.ts'

/** The resource that an operation is about. */
interface Subject {
  readonly instanceId: string
  readonly bindingId: string | null
}

/** {@link Store.finish}. */
export async function finishOperation(context: StoreContext, claim: Claim, finish: Finish): Promise<boolean> {
  return inTransaction(context.pool, async (sql) => {
    const subject = await endOperation(context, sql, { claim, finish })
    if (subject === undefined) return false
    const { instanceId, bindingId } = subject
    // Before the undo starts, because its place in a quota depends on the status of the instance.
    const { platform } = claim
    if (finish.instance !== undefined) {
      await applyToInstance(context, sql, { ids: { platform, instanceId }, change: finish.instance })
    }
    if (bindingId !== null) await applyToBinding(context, sql, { ids: { platform, instanceId, bindingId }, finish })
    if (finish.undo !== undefined) await undo(context, sql, { subject, undo: finish.undo })
    return true
  })
}

async function endOperation(
  { tables }: StoreContext,
  sql: Sql,
  { claim, finish }: { claim: Claim; finish: Finish }
): Promise<Subject | undefined> {
  const [ended] = await sql.query<Pick<OperationRow, 'instance_id' | 'binding_id'>>(
    `WITH ended AS (
      UPDATE ${tables.operations} SET state = $3, description = $4, failure = $5, instance_usable = $6,
        update_repeatable = $7, lease_until = NULL, claimed_by = NULL, finished_at = clock_timestamp()
      WHERE operation_id = $1 AND attempt = $2 AND ${IS_UNFINISHED}
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
  return ended && { instanceId: ended.instance_id, bindingId: ended.binding_id }
}

/** Starts the operation that undoes the ended one, or removes the resource when nothing was made of it. */
async function undo(
  context: StoreContext,
  sql: SqlTransaction,
  { subject, undo: { operation, enqueue } }: { subject: Subject; undo: UndoStart }
): Promise<void> {
  if (operation.kind !== 'update' && !(await hasState(context, sql, subject))) {
    await removeResource(context, sql, subject)
    return
  }
  await insertOperation(context, sql, operation)
  await enqueue(operation, sql)
}

/** Whether the provider saved a state, which it does before it makes anything. */
async function hasState({ tables }: StoreContext, sql: Sql, { instanceId, bindingId }: Subject): Promise<boolean> {
  const rows =
    bindingId === null
      ? await sql.query(`SELECT FROM ${tables.instances} WHERE instance_id = $1 AND state IS NOT NULL FOR UPDATE`, [
          instanceId
        ])
      : await sql.query(
          `SELECT FROM ${tables.bindings} WHERE instance_id = $1 AND binding_id = $2 AND state IS NOT NULL FOR UPDATE`,
          [instanceId, bindingId]
        )
  return rows.length > 0
}

async function removeResource({ tables }: StoreContext, sql: Sql, { instanceId, bindingId }: Subject): Promise<void> {
  if (bindingId === null) await sql.query(`DELETE FROM ${tables.instances} WHERE instance_id = $1`, [instanceId])
  else {
    await sql.query(`DELETE FROM ${tables.bindings} WHERE instance_id = $1 AND binding_id = $2`, [
      instanceId,
      bindingId
    ])
  }
}

async function applyToInstance(
  context: StoreContext,
  sql: Sql,
  { ids, change }: { ids: InstanceIds; change: InstancePatch | 'remove' }
): Promise<void> {
  const { instanceId } = ids
  if (change === 'remove') return removeResource(context, sql, { instanceId, bindingId: null })
  const { tables, sealer } = context
  const columns = await instanceColumns(ids, change, sealer)
  const { text, values } = updateRow(tables.instances, { instance_id: instanceId }, columns)
  await sql.query(text, values)
}

async function applyToBinding(
  context: StoreContext,
  sql: Sql,
  { ids, finish }: { ids: BindingIds; finish: Finish }
): Promise<void> {
  const { instanceId, bindingId } = ids
  const { binding: change, undelivered } = finish
  if (change === undefined) return
  if (change === 'remove') return removeResource(context, sql, ids)
  const { tables, sealer } = context
  const columns = await bindingColumns(ids, change, sealer)
  const fromNow: Record<string, number> = {}
  if (undelivered !== undefined) {
    columns.undelivered = await sealer.seal(undelivered.credentials, { column: 'binding.undelivered', ...ids })
    fromNow.undelivered_until = undelivered.forMs
  }
  const { text, values } = updateRow(
    tables.bindings,
    { instance_id: instanceId, binding_id: bindingId },
    columns,
    fromNow
  )
  await sql.query(text, values)
}
