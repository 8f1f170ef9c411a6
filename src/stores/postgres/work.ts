import type { JsonObject } from '../../../schemas/common.ts'
import { StaleAttempt } from '../../core/provider.ts'
import type { Claim, ClaimResult, Continuation, Enqueue, Renewal, Resumption } from '../../core/store.ts'
import { auditOf } from './audit.ts'
import type { StoreContext } from './context.ts'
import { bindingColumns, instanceColumns, type OperationRow, operationColumnNames, operationFrom } from './rows.ts'
import { updateRow } from './statements.ts'
import { inTransaction, type Sql } from './transactions.ts'
import { IS_UNFINISHED } from './unfinished.ts'

/** Condition of a write of the newest claim; `$1` is the operation's id and `$2` the attempt. */
const FENCE = `operation_id = $1 AND attempt = $2 AND ${IS_UNFINISHED}`

const LEASE = (parameter: string) => `clock_timestamp() + ${parameter} * interval '1 millisecond'`

type ClaimedRow = OperationRow & { readonly remaining_ms: number }

/** {@link Store.claim}. */
export async function claimOperation(context: StoreContext, operationId: string, key?: string): Promise<ClaimResult> {
  const { operations } = context.tables
  return inTransaction(context.pool, async (sql) => {
    const [claimed] = await sql.query<ClaimedRow>(
      `UPDATE ${operations} AS mine SET attempt = CASE WHEN claimed_by = $3 THEN attempt ELSE attempt + 1 END,
        lease_until = ${LEASE('$2')}, claimed_by = $3, started_at = coalesce(started_at, clock_timestamp()),
        deadline = CASE WHEN attempt = 0 AND halts IS NOT NULL
          THEN clock_timestamp() + (deadline - created_at) ELSE deadline END
      WHERE operation_id = $1 AND ${IS_UNFINISHED}
        AND (lease_until IS NULL OR lease_until <= clock_timestamp() OR claimed_by = $3)
        AND NOT EXISTS (
          SELECT FROM ${operations} AS halted
          WHERE halted.operation_id = mine.halts AND halted.lease_until > clock_timestamp()
        )
      RETURNING ${operationColumnNames},
        (extract(epoch FROM deadline - clock_timestamp()) * 1000)::float8 AS remaining_ms`,
      [operationId, context.leaseMs, key ?? null]
    )
    if (claimed !== undefined) {
      const operation = operationFrom(claimed)
      return { kind: 'claimed', operation, remainingMs: claimed.remaining_ms }
    }
    const [unfinished] = await sql.query<{ leased: boolean }>(
      `SELECT coalesce(lease_until > clock_timestamp(), false) AS leased FROM ${operations}
      WHERE operation_id = $1 AND ${IS_UNFINISHED}`,
      [operationId]
    )
    if (unfinished === undefined) return { kind: 'finished' }
    return { kind: unfinished.leased ? 'held' : 'waiting' }
  })
}

/** {@link Store.keepAlive}. */
export async function keepAlive(context: StoreContext, { operationId, attempt }: Claim): Promise<Renewal> {
  return inTransaction(context.pool, async (sql) => {
    // A released lease stays released. A halted operation keeps its lease only while nobody else can have claimed the delete.
    const [kept] = await sql.query<Pick<OperationRow, 'state'>>(
      `UPDATE ${context.tables.operations} SET lease_until = ${LEASE('$3')}
      WHERE operation_id = $1 AND attempt = $2 AND lease_until IS NOT NULL
        AND (state = 'in progress' OR lease_until > clock_timestamp())
      RETURNING state`,
      [operationId, attempt, context.leaseMs]
    )
    if (kept === undefined) return 'lost'
    return kept.state === 'in progress' ? 'kept' : 'halted'
  })
}

/** {@link Store.release}. */
export async function release(context: StoreContext, claim: Claim, resumption?: Resumption): Promise<void> {
  await inTransaction(context.pool, async (sql) => {
    const [released] = await sql.query<OperationRow>(
      `UPDATE ${context.tables.operations} SET lease_until = NULL, claimed_by = NULL,
        description = CASE WHEN state = 'in progress' THEN coalesce($3, description) ELSE description END
      WHERE operation_id = $1 AND attempt = $2 RETURNING ${operationColumnNames}`,
      [claim.operationId, claim.attempt, resumption?.description]
    )
    if (released?.state !== 'in progress' || resumption === undefined) return
    await resumption.enqueue(operationFrom(released), sql, resumption.delayMs)
  })
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
    const { platform } = claim
    const { instanceId } = operation
    const named = bindingId ?? operation.bindingId
    const { text, values } =
      named === undefined
        ? updateRow(
            tables.instances,
            { instance_id: instanceId },
            await instanceColumns({ platform, instanceId }, { state }, sealer)
          )
        : updateRow(
            tables.bindings,
            { instance_id: instanceId, binding_id: named },
            await bindingColumns({ platform, instanceId, bindingId: named }, { state }, sealer)
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
  { maximumMs, unreported, enqueue }: Continuation & { enqueue: Enqueue }
): Promise<boolean> {
  return inTransaction(context.pool, async (sql) => {
    const [row] = await sql.query<OperationRow>(
      `UPDATE ${context.tables.operations} SET async = true, unreported = $4,
        deadline = clock_timestamp() + $3 * interval '1 millisecond'
      WHERE ${FENCE} RETURNING ${operationColumnNames}`,
      [claim.operationId, claim.attempt, maximumMs, unreported]
    )
    if (row === undefined) return false
    // A claimed operation has a worker already, and a lease that shows when the worker dies.
    if (claim.attempt === 0) await enqueue(operationFrom(row), sql)
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
