import type { Enqueue, OperationStart, Start, StartResult } from '../../core/store.ts'
import { admit, HALTED, type Situation } from '../admission.ts'
import { auditedColumns, auditOf } from './audit.ts'
import type { StoreContext } from './context.ts'
import { idLock } from './id-locks.ts'
import { insertOperations } from './insert-operations.ts'
import { countForQuota } from './quota.ts'
import { bindingColumns, instanceColumns, type OperationRow } from './rows.ts'
import type { Tables } from './schema.ts'
import { insertInto, type Statement, updateRow } from './statements.ts'
import { inTransaction, type Sql } from './transactions.ts'
import { sqlState } from './trouble.ts'

/** {@link Store.start}. */
export async function startOperation(context: StoreContext, start: Start, enqueue: Enqueue): Promise<StartResult> {
  const inserts = await resourceInserts(context, start)
  try {
    return await inTransaction(context.pool, async (sql) => {
      const result = admit(start, await lockSituation(context.tables, sql, start))
      if (result !== 'started') return result
      for (const { text, values } of inserts) await sql.query(text, values)
      if (start.operation.halts !== undefined) await halt(context.tables, sql, start.operation)
      else if (start.retryCreate === true) await setStatus(context.tables, sql, start.operation, 'creating')
      await insertOperation(context, sql, start.operation)
      await enqueue(start.operation, sql)
      return 'started'
    })
  } catch (error) {
    const collision = collisionOf(error, start, context.tables.schema)
    if (collision === undefined) throw error
    return collision
  }
}

/** Encrypted before the transaction begins: no lock is held meanwhile. */
async function resourceInserts({ tables, sealer }: StoreContext, start: Start): Promise<Statement[]> {
  const { insertInstance, insertBinding } = start
  const inserts: Statement[] = []
  if (insertInstance !== undefined) {
    const { instanceId } = insertInstance
    const columns = await instanceColumns(insertInstance, insertInstance, sealer)
    inserts.push(insertInto(tables.instances, { instance_id: instanceId, ...columns }))
  }
  if (insertBinding !== undefined) {
    const { instanceId, bindingId } = insertBinding
    const columns = await bindingColumns(insertBinding, insertBinding, sealer)
    inserts.push(insertInto(tables.bindings, { instance_id: instanceId, binding_id: bindingId, ...columns }))
  }
  return inserts
}

/**
 * Locks what the admission is decided on. Everywhere in the store an operation is locked before its instance, else a
 * halt and the end of the create could wait for each other. Operations on an instance lock its row alone, those on its
 * bindings share it: so they see each other without excluding bindings from one another.
 */
async function lockSituation(
  tables: Tables,
  sql: Sql,
  { operation, insertInstance, quota }: Start
): Promise<Situation> {
  const { platform, instanceId, bindingId, halts } = operation
  // The id comes first, so that nobody holds the lock of a quota while it waits for an id.
  if (insertInstance !== undefined) {
    await sql.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [idLock(tables, instanceId)])
  }
  // Before every other read, because a start that waited must see what was started meanwhile, its own twin included.
  const counted = quota && (await countForQuota(tables, sql, { platform, ...quota }))
  if (halts !== undefined) {
    await sql.query(`SELECT FROM ${tables.operations} WHERE operation_id = $1 FOR UPDATE`, [halts])
  }
  const [instance] = await sql.query<{ status: Situation['instance'] }>(
    `SELECT status FROM ${tables.instances} WHERE instance_id = $1 ${bindingId === undefined ? 'FOR UPDATE' : 'FOR SHARE'}`,
    [instanceId]
  )
  const unfinished = await sql.query<Pick<OperationRow, 'operation_id' | 'kind' | 'binding_id' | 'internal'>>(
    `SELECT operation_id, kind, binding_id, internal FROM ${tables.operations} WHERE instance_id = $1 AND state = 'in progress'`,
    [instanceId]
  )
  // After the operations: whoever is seen to have finished is seen to have removed its binding too.
  const [binding] =
    bindingId === undefined
      ? []
      : await sql.query<{ status: Situation['binding'] }>(
          `SELECT status FROM ${tables.bindings} WHERE instance_id = $1 AND binding_id = $2`,
          [instanceId, bindingId]
        )
  return {
    instance: instance?.status,
    binding: binding?.status,
    unfinished: unfinished.map((row) => ({
      operationId: row.operation_id,
      kind: row.kind,
      internal: row.internal,
      ...(row.binding_id === null ? {} : { bindingId: row.binding_id })
    })),
    ...(counted === undefined ? {} : { counted })
  }
}

/**
 * Ends the halted operation and notifies its worker at the commit. The lease stays, because the delete waits for the worker.
 * A create leaves a `failed` resource behind, any other operation leaves its resource as it is.
 */
async function halt(tables: Tables, sql: Sql, operation: OperationStart): Promise<void> {
  const [halted] = await sql.query<Pick<OperationRow, 'kind'>>(
    `WITH halted AS (
      UPDATE ${tables.operations} SET state = 'failed', description = $2, finished_at = clock_timestamp()
      WHERE operation_id = $1
      RETURNING ${auditedColumns}
    ), told AS (SELECT pg_notify($3, operation_id) FROM halted), audited AS (${auditOf(tables, 'halted', "'halted'")})
    SELECT kind FROM halted, told`,
    [operation.halts, HALTED, tables.haltChannel]
  )
  if (halted?.kind === 'provision' || halted?.kind === 'bind') await setStatus(tables, sql, operation, 'failed')
}

async function setStatus(tables: Tables, sql: Sql, operation: OperationStart, status: string): Promise<void> {
  const { instanceId, bindingId } = operation
  const { text, values } =
    bindingId === undefined
      ? updateRow(tables.instances, { instance_id: instanceId }, { status })
      : updateRow(tables.bindings, { instance_id: instanceId, binding_id: bindingId }, { status })
  await sql.query(text, values)
}

/** Inserts an operation with its audit event. */
export async function insertOperation(
  { tables, leaseMs }: Pick<StoreContext, 'tables' | 'leaseMs'>,
  sql: Sql,
  operation: OperationStart
): Promise<void> {
  const { text, values } = insertOperations(tables, [operation], { from: 1, leaseMs })
  await sql.query(`WITH written AS (${text}) ${auditOf(tables, 'written', "'started'")}`, values)
}

/**
 * Two starts at once that did not see each other: the unique indexes decide, and the later one learns it so. For a
 * create it is `changed`, since the one that won may be the very same create.
 */
function collisionOf(error: unknown, start: Start, schema: string): StartResult | undefined {
  if (sqlState(error) !== '23505' || !(error instanceof Error)) return undefined
  if (!('schema' in error) || error.schema !== schema || !('constraint' in error)) return undefined
  if (error.constraint === 'service_instances_pkey' || error.constraint === 'service_bindings_pkey') return 'changed'
  // The first transaction of a repeated start was committed after all. Ids of operations are random.
  if (error.constraint === 'operations_pkey') return 'started'
  if (error.constraint !== 'operations_one_unfinished') return undefined
  return start.operation.kind === 'provision' || start.operation.kind === 'bind' ? 'changed' : 'busy'
}
