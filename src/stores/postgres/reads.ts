import type { BindingRecord, OperationRecord, OwnResource } from '../../core/store.ts'
import type { StoreContext } from './context.ts'
import {
  type BindingRow,
  bindingColumnNames,
  bindingFrom,
  type OperationRow,
  operationColumnNames,
  operationFrom
} from './rows.ts'
import { read } from './transactions.ts'
import { unfinishedById } from './unfinished.ts'

/** Operations that one call of {@link idleOperations} returns. */
const IDLE_PAGE = 200

/** {@link Store.getBinding}. */
export async function binding(
  { pool, tables, sealer }: StoreContext,
  instanceId: string,
  bindingId: string
): Promise<BindingRecord | undefined> {
  const [row] = await read<BindingRow>(
    pool,
    `SELECT ${bindingColumnNames} FROM ${tables.bindings} WHERE instance_id = $1 AND binding_id = $2`,
    [instanceId, bindingId]
  )
  return row === undefined ? undefined : bindingFrom(row, sealer)
}

/** {@link Store.listBindings}. */
export async function bindings({ pool, tables, sealer }: StoreContext, instanceId: string): Promise<BindingRecord[]> {
  const rows = await read<BindingRow>(
    pool,
    `SELECT ${bindingColumnNames} FROM ${tables.bindings} WHERE instance_id = $1 ORDER BY seq`,
    [instanceId]
  )
  return Promise.all(rows.map((row) => bindingFrom(row, sealer)))
}

/** {@link Store.unfinishedOperation}. */
export async function unfinishedOperation(
  context: StoreContext,
  instanceId: string,
  bindingId = ''
): Promise<OperationRecord | undefined> {
  const condition = `instance_id = $1 AND coalesce(binding_id, '') = $2 AND state = 'in progress'`
  return (await operations(context, condition, [instanceId, bindingId]))[0]
}

/** {@link Store.unfinishedOperations}. */
export function unfinishedOperations(context: StoreContext, instanceId: string): Promise<OperationRecord[]> {
  return operations(context, `instance_id = $1 AND state = 'in progress' ORDER BY seq`, [instanceId])
}

/** {@link Store.latestOperation}. */
export async function latestOperation(
  context: StoreContext,
  { platform, instanceId, bindingId = '' }: OwnResource
): Promise<OperationRecord | undefined> {
  const condition = `instance_id = $1 AND coalesce(binding_id, '') = $2 AND NOT internal AND platform = $3
    ORDER BY seq DESC LIMIT 1`
  return (await operations(context, condition, [instanceId, bindingId, platform]))[0]
}

/** {@link Store.recentOperations}. */
export function recentOperations(
  context: StoreContext,
  { platform, instanceId, limit }: { platform: string; instanceId: string; limit: number }
): Promise<OperationRecord[]> {
  const condition = 'instance_id = $1 AND NOT internal AND platform = $2 ORDER BY seq DESC LIMIT $3'
  return operations(context, condition, [instanceId, platform, limit])
}

/** {@link Store.idle}. The age of the operation stands in for the time since its lease ended, which no column keeps. */
export function idleOperations(context: StoreContext, ids: readonly string[], after = ''): Promise<OperationRecord[]> {
  const condition = `${unfinishedById('$1')} AND async AND lease_until IS NULL
    AND seq > coalesce((SELECT seq FROM ${context.tables.operations} WHERE operation_id = $2), 0)
    ORDER BY seq LIMIT ${IDLE_PAGE}`
  return operations(context, condition, [ids, after])
}

async function operations(
  { pool, tables }: StoreContext,
  condition: string,
  values: readonly unknown[]
): Promise<OperationRecord[]> {
  const text = `SELECT ${operationColumnNames} FROM ${tables.operations} WHERE ${condition}`
  return (await read<OperationRow>(pool, text, values)).map(operationFrom)
}
