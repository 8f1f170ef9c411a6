import type { JsonObject } from '../../../schemas/common.ts'
import { StaleAttempt } from '../../core/provider.ts'
import type { Claim, ClaimResult, Enqueue } from '../../core/store.ts'
import { auditOf } from './audit.ts'
import type { StoreContext } from './context.ts'
import { bindingColumns, instanceColumns, type OperationRow, operationColumnNames, operationFrom } from './rows.ts'
import { updateRow } from './statements.ts'
import { inTransaction, type Sql } from './transactions.ts'

/** Locks the operation for a write of its newest claim; `$1` is its id and `$2` the attempt. */
const FENCE = `operation_id = $1 AND attempt = $2 AND state = 'in progress'`

/** {@link Store.claim}. */
export async function claimOperation(context: StoreContext, operationId: string): Promise<ClaimResult> {
  const { operations } = context.tables
  return inTransaction(context.pool, async (sql) => {
    const [claimed] = await sql.query<OperationRow>(
      `UPDATE ${operations} AS mine SET attempt = attempt + 1,
        lease_until = clock_timestamp() + $2 * interval '1 millisecond',
        started_at = coalesce(started_at, clock_timestamp())
      WHERE operation_id = $1 AND state = 'in progress'
        AND (lease_until IS NULL OR lease_until <= clock_timestamp())
        AND NOT EXISTS (
          SELECT FROM ${operations} AS halted
          WHERE halted.operation_id = mine.halts AND halted.lease_until > clock_timestamp()
        )
      RETURNING ${operationColumnNames}`,
      [operationId, context.leaseMs]
    )
    if (claimed !== undefined) return { kind: 'claimed', operation: operationFrom(claimed) }
    const unfinished = await sql.query(`SELECT FROM ${operations} WHERE operation_id = $1 AND state = 'in progress'`, [
      operationId
    ])
    return { kind: unfinished.length > 0 ? 'held' : 'finished' }
  })
}

/** {@link Store.keepAlive}. */
export async function keepAlive(context: StoreContext, { operationId, attempt }: Claim): Promise<boolean> {
  return inTransaction(context.pool, async (sql) => {
    // A heartbeat that comes after the release must not take the operation back.
    const kept = await sql.query(
      `UPDATE ${context.tables.operations} SET lease_until = clock_timestamp() + $3 * interval '1 millisecond'
      WHERE ${FENCE} AND lease_until IS NOT NULL RETURNING operation_id`,
      [operationId, attempt, context.leaseMs]
    )
    return kept.length > 0
  })
}

/** {@link Store.release}. */
export async function release(context: StoreContext, claim: Claim, retry?: { description: string }): Promise<void> {
  await inTransaction(context.pool, (sql) =>
    sql.query(
      `UPDATE ${context.tables.operations} SET lease_until = NULL,
        description = CASE WHEN state = 'in progress' THEN coalesce($3, description) ELSE description END
      WHERE operation_id = $1 AND attempt = $2`,
      [claim.operationId, claim.attempt, retry?.description]
    )
  )
}

/** {@link Store.progress}. */
export async function progress(context: StoreContext, claim: Claim, description: string): Promise<void> {
  await inTransaction(context.pool, async (sql) => {
    const told = await sql.query(
      `UPDATE ${context.tables.operations} SET description = $3 WHERE ${FENCE} RETURNING operation_id`,
      [claim.operationId, claim.attempt, description]
    )
    if (told.length === 0) throw new StaleAttempt(claim.operationId)
  })
}

/** {@link Store.saveState}. */
export async function saveState(
  context: StoreContext,
  claim: Claim,
  { state, bindingId }: { state: JsonObject; bindingId: string | undefined }
): Promise<void> {
  const { tables, sealer } = context
  await inTransaction(context.pool, async (sql) => {
    const operation = await lockFenced(context, sql, claim)
    if (operation === undefined) throw new StaleAttempt(claim.operationId)
    const { instanceId } = operation
    const named = bindingId ?? operation.bindingId
    const { text, values } =
      named === undefined
        ? updateRow(tables.instances, { instance_id: instanceId }, await instanceColumns(instanceId, { state }, sealer))
        : updateRow(
            tables.bindings,
            { instance_id: instanceId, binding_id: named },
            await bindingColumns({ instanceId, bindingId: named }, { state }, sealer)
          )
    await sql.query(text, values)
  })
}

/** {@link Store.removeBinding}. */
export async function removeBinding(context: StoreContext, claim: Claim, bindingId: string): Promise<void> {
  await inTransaction(context.pool, async (sql) => {
    const operation = await lockFenced(context, sql, claim)
    if (operation === undefined) throw new StaleAttempt(claim.operationId)
    const { bindings, operations } = context.tables
    await sql.query(
      `WITH gone AS (DELETE FROM ${bindings} WHERE instance_id = $1 AND binding_id = $2 RETURNING binding_id),
        removal AS (
          SELECT platform, originating_identity, request_identity, 'unbind' AS kind, instance_id, gone.binding_id,
            operation_id, internal, target, NULL AS description
          FROM ${operations}, gone WHERE operation_id = $3
        )
      ${auditOf(context.tables, 'removal', "'succeeded'")}`,
      [operation.instanceId, bindingId, operation.operationId]
    )
  })
}

/** {@link Store.makeAsync}. */
export async function makeAsync(
  context: StoreContext,
  claim: Claim,
  { deadline, enqueue }: { deadline: Date; enqueue: Enqueue }
): Promise<boolean> {
  return inTransaction(context.pool, async (sql) => {
    const before = await lockFenced(context, sql, claim)
    if (before === undefined) return false
    const [row] = await sql.query<OperationRow>(
      `UPDATE ${context.tables.operations} SET async = true, deadline = $2
      WHERE operation_id = $1 RETURNING ${operationColumnNames}`,
      [claim.operationId, deadline]
    )
    // What is asynchronous already is the runner's already: enqueueing it twice would run it twice.
    if (row !== undefined && !before.async) await enqueue(operationFrom(row), sql)
    return true
  })
}

async function lockFenced({ tables }: StoreContext, sql: Sql, claim: Claim) {
  const [row] = await sql.query<OperationRow>(
    `SELECT ${operationColumnNames} FROM ${tables.operations} WHERE ${FENCE} FOR UPDATE`,
    [claim.operationId, claim.attempt]
  )
  return row === undefined ? undefined : operationFrom(row)
}
