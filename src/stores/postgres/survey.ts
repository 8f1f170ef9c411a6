import type { JsonObject } from '../../../schemas/common.ts'
import type { Census, OperationCount, ResourceCount } from '../../core/census.ts'
import type { ResourceStatus } from '../../core/store.ts'
import type { Listing, StoredResource } from '../../core/stored-resource.ts'
import type { StoreContext } from './context.ts'
import { counted } from './counts.ts'
import type { Tables } from './schema.ts'
import { read } from './transactions.ts'
import type { Unfinished } from './unfinished.ts'

interface ResourceRow {
  readonly platform: string
  readonly instance_id: string
  readonly binding_id: string | null
  readonly service_id: string
  readonly plan_id: string
  readonly parameters: JsonObject
  readonly status: ResourceStatus
  readonly state: string | null
  readonly expired: boolean | null
  readonly revoked_at: Date | null
}

/** Instances that one statement reads, with their bindings. */
const PAGE = 500

/** {@link Store.listResources}: plan by plan, along an index. */
export async function* listResources(
  context: StoreContext,
  provider: string,
  { plans, bindings = true }: Listing = {}
): AsyncGenerator<StoredResource> {
  for (const planId of plans ?? (await plansWithInstances(context))) {
    for (let after: string | undefined = ''; after !== undefined; ) {
      const rows: ResourceRow[] = await read<ResourceRow>(context.pool, pageOf(context.tables, bindings), [
        provider,
        planId,
        after
      ])
      for (const row of rows) yield await resourceFrom(context, row)
      const full = rows.filter((row) => row.binding_id === null).length === PAGE
      after = full ? rows.at(-1)?.instance_id : undefined
    }
  }
}

/** `$1` is the provider, `$2` the plan, and `$3` the last instance of the page before. */
function pageOf({ instances, bindings }: Tables, withBindings: boolean): string {
  const page = `SELECT platform, instance_id, NULL AS binding_id, service_id, plan_id, parameters, status, state,
      NULL::boolean AS expired, NULL::timestamptz AS revoked_at
    FROM ${instances} WHERE provider COLLATE "C" = $1 AND plan_id COLLATE "C" = $2 AND instance_id > $3
    ORDER BY instance_id LIMIT ${PAGE}`
  if (!withBindings) return page
  return `WITH page AS (${page}) SELECT * FROM page
    UNION ALL
    SELECT b.platform, b.instance_id, b.binding_id, b.service_id, b.plan_id, b.parameters, b.status, b.state,
      b.expires_at <= clock_timestamp() AS expired, b.revoked_at
    FROM ${bindings} AS b JOIN page USING (instance_id)
    ORDER BY 2, 3 NULLS FIRST`
}

async function plansWithInstances({ pool, tables }: StoreContext): Promise<string[]> {
  const rows = await read<{ plan_id: string }>(
    pool,
    `SELECT plan_id FROM ${counted(tables)} AS counts WHERE resource = 'instance'
    GROUP BY plan_id HAVING sum(n) > 0 ORDER BY plan_id`
  )
  return rows.map((row) => row.plan_id)
}

async function resourceFrom({ sealer }: StoreContext, row: ResourceRow): Promise<StoredResource> {
  const { platform, instance_id: instanceId, binding_id: bindingId } = row
  const common = {
    instanceId,
    serviceId: row.service_id,
    planId: row.plan_id,
    parameters: row.parameters,
    status: row.status
  }
  if (bindingId === null) {
    const purpose = { column: 'instance.state', platform, instanceId } as const
    const state = row.state === null ? undefined : await sealer.open(row.state, purpose)
    return { ...common, ...(state === undefined ? {} : { state }) }
  }
  const purpose = { column: 'binding.state', platform, instanceId, bindingId } as const
  const state = row.state === null ? undefined : await sealer.open(row.state, purpose)
  return {
    ...common,
    bindingId,
    ...(state === undefined ? {} : { state }),
    ...(row.expired === true ? { expired: true } : {}),
    ...(row.revoked_at === null ? {} : { revokedAt: row.revoked_at })
  }
}

interface CountRow {
  readonly resource: 'instance' | 'binding'
  readonly service_id: string
  readonly plan_id: string
  readonly status: ResourceStatus
  readonly count: number
}

/** {@link Store.census}. */
export async function census({ pool, tables }: StoreContext, unfinished: readonly Unfinished[]): Promise<Census> {
  const rows = await read<CountRow>(
    pool,
    `SELECT resource, service_id, plan_id, status, sum(n)::int AS count FROM ${counted(tables)} AS counts
    WHERE resource IN ('instance', 'binding') GROUP BY resource, service_id, plan_id, status HAVING sum(n) <> 0`
  )
  const countsOf = (wanted: CountRow['resource']): ResourceCount[] =>
    rows
      .filter(({ resource }) => resource === wanted)
      .map(({ service_id: serviceId, plan_id: planId, status, count }) => ({ serviceId, planId, status, count }))
  const ages = unfinished.filter(({ waiting }) => waiting).map(({ ageMs }) => ageMs)
  return {
    operations: countOperations(unfinished),
    ...(ages.length === 0 ? {} : { oldestWaitingMs: Math.max(...ages) }),
    instances: countsOf('instance'),
    bindings: countsOf('binding')
  }
}

function countOperations(unfinished: readonly Unfinished[]): OperationCount[] {
  const counts = new Map<string, OperationCount>()
  for (const { kind, waiting } of unfinished) {
    const key = `${kind} ${waiting}`
    counts.set(key, { kind, waiting, count: (counts.get(key)?.count ?? 0) + 1 })
  }
  return [...counts.values()]
}

/** {@link Store.plansInUse}. */
export async function plansInUse({ pool, tables }: StoreContext): Promise<{ serviceId: string; planId: string }[]> {
  const rows = await read<{ service_id: string; plan_id: string }>(
    pool,
    `SELECT service_id, plan_id FROM ${counted(tables)} AS counts
    WHERE resource = 'instance' AND status <> 'failed' OR resource = 'place' AND status = 'update'
    GROUP BY service_id, plan_id HAVING sum(n) > 0`
  )
  return rows.map((row) => ({ serviceId: row.service_id, planId: row.plan_id }))
}
