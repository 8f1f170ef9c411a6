import assert from 'node:assert/strict'
import test from 'node:test'
import { loadCatalog } from '../../src/core/catalog/index.ts'
import { Operations } from '../../src/core/operations.ts'
import { MemoryStore } from '../../src/stores/memory.ts'
import { ids, testCatalog } from '../helper/app.ts'
import { gate, ScriptedProvider, until } from '../helper/scripted-provider.ts'
import { provisionStart } from '../stores/records.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const idle = {
  wake: () => {},
  enqueue: async () => {},
  start: async () => {},
  stop: async () => {},
  close: async () => {}
}

test('execute: a worker that was taken over keeps its job until the operation has ended', async () => {
  const work = gate()
  const provider = new ScriptedProvider({ provision: () => work.opened })
  const catalog = await loadCatalog(testCatalog(), { providers: [provider] })
  // Shorter than the interval at which a lease is renewed: it ends as that of a frozen process does.
  const store = new MemoryStore({ leaseMs: 50 })
  const operations = new Operations({
    store,
    runner: idle,
    providers: new Map([[provider.name, provider]]),
    catalog: () => catalog,
    log: silent,
    syncDeadlineMs: 8_000
  })
  const start = provisionStart({}, { serviceId: ids.service, planId: ids.plans.async })
  assert.equal(await store.start(start, async () => {}), 'started')
  const { operationId } = start.operation
  const execute = () => operations.execute(operationId, new AbortController().signal)

  const frozen = execute()
  await until('the work', () => provider.calls.length === 1)
  await until('the takeover', async () => (await store.claim(operationId)).kind === 'claimed')
  work.open()
  assert.equal(await frozen, 'held')
  assert.equal((await store.getOperation(operationId))?.state, 'in progress')

  // The one that took over stops and hands back: the job that was kept finds the operation free.
  await store.release({ operationId, attempt: 2 })
  assert.equal(await execute(), 'done')
  assert.equal((await store.getOperation(operationId))?.state, 'succeeded')
  assert.equal(await execute(), 'done')
})
