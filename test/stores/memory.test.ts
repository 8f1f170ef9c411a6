import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore } from '../../src/stores/memory.ts'
import { claimed, started } from './contract/opened.ts'
import { storeContract } from './contract.ts'
import { provisionStart } from './records.ts'

storeContract('MemoryStore', async (options) => new MemoryStore(options))

test('claim: an injected clock that passes the lease gives the next attempt', async () => {
  let now = new Date('2026-01-01T00:00:00Z')
  const store = new MemoryStore({ now: () => now, leaseMs: 9_000 })
  const operation = await started(store, provisionStart())
  await claimed(store, operation)
  now = new Date('2026-01-01T00:00:08.999Z')
  assert.equal((await store.claim(operation.operationId)).kind, 'held')
  now = new Date('2026-01-01T00:00:09.001Z')
  assert.equal((await claimed(store, operation)).attempt, 2)
})
