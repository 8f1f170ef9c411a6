import type { Inventory, ServiceProvider, TaskLog } from './provider.ts'
import type { Store } from './store.ts'
import { LATE, orLate } from './time-limits.ts'

/** Something that one side has and the other does not. */
export interface Orphan {
  readonly provider: string
  /** `outside`: nothing in the store goes with it. `store`: the broker believes in it, and it is not there. */
  readonly side: 'outside' | 'store'
  /** The provider's name of it. */
  readonly resource: string
  /** Of the resource that the broker believes in. */
  readonly instanceId?: string
  readonly bindingId?: string
}

/** How long a provider may take to list its inventory, in milliseconds. */
const INVENTORY_MS = 5 * 60_000

/**
 * Compares the resources in the store with those that the providers hold. Changes nothing. A provider that cannot list its
 * inventory does not hide the orphans of the others.
 * @throws when a provider fails and there is no `log` to report that to
 */
export async function findOrphans(
  store: Store,
  providers: Iterable<ServiceProvider>,
  log?: Pick<TaskLog, 'warn'>
): Promise<Orphan[]> {
  const orphans: Orphan[] = []
  for (const { name, inventory } of providers) {
    try {
      if (inventory !== undefined) orphans.push(...(await orphansOf(store, name, inventory)))
    } catch (error) {
      if (log === undefined) throw error
      log.warn({ err: error, provider: name }, 'the orphans of a provider could not be determined')
    }
  }
  return orphans
}

/**
 * Looks twice: what is being made or removed between the two readings of one look is an orphan in that look alone.
 */
async function orphansOf(store: Store, provider: string, inventory: Inventory): Promise<Orphan[]> {
  const first = await look(store, provider, inventory)
  if (first.length === 0) return []
  const second = new Set((await look(store, provider, inventory)).map(keyOf))
  return first.filter((orphan) => second.has(keyOf(orphan)))
}

async function look(store: Store, provider: string, inventory: Inventory): Promise<Orphan[]> {
  const listed = await orLate(inventory.list(), INVENTORY_MS)
  if (listed === LATE) throw new Error(`The provider "${provider}" has not listed its inventory within 5 minutes.`)
  const outside = new Set(listed)
  const believed = new Set<string>()
  const orphans: Orphan[] = []
  for await (const { instanceId, bindingId, status, state } of store.listResources(provider)) {
    if (state === undefined) continue
    for (const resource of inventory.namesOf(bindingId === undefined ? 'instance' : 'binding', state)) {
      believed.add(resource)
      // What is still being made, or was not made to the end, need not be there.
      if (status !== 'ready' || outside.has(resource)) continue
      orphans.push({ provider, side: 'store', resource, instanceId, ...(bindingId === undefined ? {} : { bindingId }) })
    }
  }
  for (const resource of outside) if (!believed.has(resource)) orphans.push({ provider, side: 'outside', resource })
  return orphans
}

function keyOf({ side, resource }: Orphan): string {
  return `${side} ${resource}`
}
