import type { JsonObject } from '../../../schemas/common.ts'
import type { Census, ResourceCount } from '../../core/census.ts'
import type { ExpiredBinding, OperationKind, ResourceStatus, StoredResource } from '../../core/store.ts'
import type { StoreContext } from './context.ts'
import type { BindingRow, InstanceRow } from './rows.ts'
import { read } from './transactions.ts'

interface ResourceRow {
  readonly instance_id: string
  readonly binding_id: string | null
  readonly service_id: string
  readonly plan_id: string
  readonly parameters: JsonObject
  readonly status: ResourceStatus
  readonly state: string | null
  readonly revoked_at: Date | null
}

/** Instances that one statement reads, with their bindings; and expired bindings of one round. */
const PAGE = 500

/** {@link Store.listResources}. */
export async function* listResources(context: StoreContext, provider: string): AsyncGenerator<StoredResource> {
  const { pool, tables } = context
  for (let after = ''; ; ) {
    const rows = await read<ResourceRow>(
      pool,
      `WITH page AS (
        SELECT instance_id, service_id, plan_id, parameters, status, state FROM ${tables.instances}
        WHERE provider = $1 AND instance_id > $2 ORDER BY instance_id LIMIT ${PAGE}
      )
      SELECT instance_id, NULL AS binding_id, service_id, plan_id, parameters, status, state, NULL AS revoked_at FROM page
      UNION ALL
      SELECT b.instance_id, b.binding_id, b.service_id, b.plan_id, b.parameters, b.status, b.state, b.revoked_at
      FROM ${tables.bindings} AS b JOIN page USING (instance_id)
      ORDER BY 1, 2 NULLS FIRST`,
      [provider, after]
    )
    for (const row of rows) yield await resourceFrom(context, row)
    const last = rows.at(-1)
    if (last === undefined) return
    after = last.instance_id
  }
}

async function resourceFrom({ sealer }: StoreContext, row: ResourceRow): Promise<StoredResource> {
  const { instance_id: instanceId, binding_id: bindingId } = row
  const common = {
    instanceId,
    serviceId: row.service_id,
    planId: row.plan_id,
    parameters: row.parameters,
    status: row.status
  }
  if (bindingId === null) {
    const state =
      row.state === null ? undefined : await sealer.open(row.state, { column: 'instance.state', instanceId })
    return { ...common, ...(state === undefined ? {} : { state }) }
  }
  const purpose = { column: 'binding.state', instanceId, bindingId } as const
  const state = row.state === null ? undefined : await sealer.open(row.state, purpose)
  return {
    ...common,
    bindingId,
    ...(state === undefined ? {} : { state }),
    ...(row.revoked_at === null ? {} : { revokedAt: row.revoked_at })
  }
}

type ExpiredRow = Pick<InstanceRow, 'provider' | 'service_id' | 'plan_id'> &
  Pick<BindingRow, 'instance_id' | 'binding_id' | 'platform'>

/** {@link Store.expiredBindings}. */
export async function expiredBindings({ pool, tables }: StoreContext): Promise<ExpiredBinding[]> {
  const rows = await read<ExpiredRow>(
    pool,
    `SELECT b.instance_id, b.binding_id, b.platform, i.provider, i.service_id, i.plan_id
    FROM ${tables.bindings} AS b JOIN ${tables.instances} AS i USING (instance_id)
    WHERE b.expires_at <= clock_timestamp() AND b.revoked_at IS NULL AND b.status = 'ready'
      AND NOT EXISTS (SELECT FROM ${tables.operations} AS o
        WHERE o.state = 'in progress' AND o.instance_id = b.instance_id
          AND coalesce(o.binding_id, b.binding_id) = b.binding_id)
    ORDER BY b.expires_at LIMIT ${PAGE}`
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

interface CountRow {
  readonly service_id: string
  readonly plan_id: string
  readonly status: ResourceStatus
  readonly count: number
}

/** {@link Store.census}. */
export async function census({ pool, tables }: StoreContext): Promise<Census> {
  const countOf = async (table: string): Promise<ResourceCount[]> => {
    const rows = await read<CountRow>(
      pool,
      `SELECT service_id, plan_id, status, count(*)::int AS count FROM ${table} GROUP BY service_id, plan_id, status`
    )
    return rows.map((row) => ({ serviceId: row.service_id, planId: row.plan_id, status: row.status, count: row.count }))
  }
  const unfinished = await read<{ kind: OperationKind; waiting: boolean; count: number; since: Date }>(
    pool,
    `SELECT kind, lease_until IS NULL OR lease_until <= clock_timestamp() AS waiting, count(*)::int AS count,
      min(created_at) AS since
    FROM ${tables.operations} WHERE state = 'in progress' GROUP BY 1, 2`
  )
  const waiting = unfinished.filter((row) => row.waiting).sort((one, other) => +one.since - +other.since)
  return {
    operations: unfinished.map(({ since: _, ...row }) => row),
    ...(waiting[0] === undefined ? {} : { waitingSince: waiting[0].since }),
    instances: await countOf(tables.instances),
    bindings: await countOf(tables.bindings)
  }
}
