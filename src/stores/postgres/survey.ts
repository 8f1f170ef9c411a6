import type { ResourceStatus, StoredResource } from '../../core/store.ts'
import type { StoreContext } from './context.ts'
import { read } from './transactions.ts'

interface ResourceRow {
  readonly instance_id: string
  readonly binding_id: string | null
  readonly status: ResourceStatus
  readonly state: string | null
}

/** Instances that one statement reads, with their bindings. */
const PAGE = 500

/** {@link Store.listResources}. */
export async function* listResources(context: StoreContext, provider: string): AsyncGenerator<StoredResource> {
  const { pool, tables } = context
  for (let after = ''; ; ) {
    const rows = await read<ResourceRow>(
      pool,
      `WITH page AS (
        SELECT instance_id, status, state FROM ${tables.instances}
        WHERE provider = $1 AND instance_id > $2 ORDER BY instance_id LIMIT ${PAGE}
      )
      SELECT instance_id, NULL AS binding_id, status, state FROM page
      UNION ALL
      SELECT b.instance_id, b.binding_id, b.status, b.state FROM ${tables.bindings} AS b JOIN page USING (instance_id)
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
  const { instance_id: instanceId, binding_id: bindingId, status } = row
  if (bindingId === null) {
    const state =
      row.state === null ? undefined : await sealer.open(row.state, { column: 'instance.state', instanceId })
    return { instanceId, status, ...(state === undefined ? {} : { state }) }
  }
  const purpose = { column: 'binding.state', instanceId, bindingId } as const
  const state = row.state === null ? undefined : await sealer.open(row.state, purpose)
  return { instanceId, bindingId, status, ...(state === undefined ? {} : { state }) }
}
