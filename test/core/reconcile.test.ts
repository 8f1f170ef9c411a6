import assert from 'node:assert/strict'
import test from 'node:test'
import type { Inventory } from '../../src/core/provider.ts'
import { findOrphans } from '../../src/core/reconcile.ts'
import { MemoryStore } from '../../src/stores/memory.ts'
import { ScriptedProvider } from '../helper/scripted-provider.ts'
import { claimed, readyBinding, readyInstance, started } from '../stores/contract/opened.ts'
import { provisionStart } from '../stores/records.ts'

/** A provider whose resources are called as their saved state says. */
function withInventory(list: Inventory['list']) {
  const namesOf = (_kind: 'instance' | 'binding', state: { name?: unknown }) => [String(state.name)]
  return Object.assign(new ScriptedProvider(), { inventory: { list, namesOf } })
}

async function storeOfTwo(): Promise<MemoryStore> {
  const store = new MemoryStore()
  await readyInstance(store, 'i-1', { state: { name: 'database 1' } })
  await readyInstance(store, 'i-2', { state: { name: 'database 2' } })
  return store
}

test('findOrphans: what both sides have is no orphan', async () => {
  const provider = withInventory(async () => ['database 1', 'database 2'])
  assert.deepEqual(await findOrphans(await storeOfTwo(), [provider]), [])
})

test('findOrphans: each side that is alone is named, with what the broker believes in', async () => {
  const provider = withInventory(async () => ['database 1', 'database 3'])
  assert.deepEqual(await findOrphans(await storeOfTwo(), [provider]), [
    { provider: 'example', side: 'store', resource: 'database 2', instanceId: 'i-2' },
    { provider: 'example', side: 'outside', resource: 'database 3' }
  ])
})

test('findOrphans: what is still being made is known, and need not be there', async () => {
  const store = new MemoryStore()
  const operation = await started(store, provisionStart())
  await store.saveState(await claimed(store, operation), { name: 'database 1' })
  assert.deepEqual(await findOrphans(store, [withInventory(async () => [])]), [])
  assert.deepEqual(await findOrphans(store, [withInventory(async () => ['database 1'])]), [])
})

test('findOrphans: what is there in one look alone is no orphan', async () => {
  const looks = [
    ['database 1', 'database 2', 'just made'],
    ['database 1', 'database 2']
  ]
  const provider = withInventory(async () => looks.shift() ?? [])
  assert.deepEqual(await findOrphans(await storeOfTwo(), [provider]), [])
  assert.deepEqual(looks, [])
})

test('findOrphans: bindings without a state and providers without an inventory are passed over', async () => {
  const store = await storeOfTwo()
  await readyBinding(store)
  const provider = withInventory(async () => ['database 1', 'database 2'])
  assert.deepEqual(await findOrphans(store, [provider, new ScriptedProvider()]), [])
})
