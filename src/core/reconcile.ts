import type { Inventory, ServiceProvider } from './provider.ts'
import type { Store } from './store.ts'

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

/** Compares what the store believes with what the providers hold. Changes nothing. */
export async function findOrphans(store: Store, providers: Iterable<ServiceProvider>): Promise<Orphan[]> {
  const orphans: Orphan[] = []
  for (const { name, inventory } of providers) {
    if (inventory !== undefined) orphans.push(...(await orphansOf(store, name, inventory)))
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
  const outside = new Set(await inventory.list())
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
