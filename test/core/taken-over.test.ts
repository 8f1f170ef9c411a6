import assert from 'node:assert/strict'
import test from 'node:test'
import { loadCatalog } from '../../src/core/catalog/index.ts'
import { Operations } from '../../src/core/operations.ts'
import type { OperationJob } from '../../src/core/store.ts'
import { MemoryStore } from '../../src/stores/memory.ts'
import { ids, testCatalog } from '../helper/app.ts'
import { gate, ScriptedProvider, until } from '../helper/scripted-provider.ts'
import { provisionStart } from '../stores/records.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const never = new AbortController().signal

test('execute: a worker that was taken over drops its job, and the one that took over sends a new one', async () => {
  const work = gate()
  const jobs: string[] = []
  const runner = {
    wake: () => {},
    enqueue: async ({ operationId }: OperationJob) => void jobs.push(operationId),
    ensure: async () => {},
    start: async () => {},
    stop: async () => {},
    close: async () => {}
  }
  const provider = new ScriptedProvider({ provision: () => work.opened })
  const catalog = await loadCatalog(testCatalog(), { providers: [provider] })
  // Shorter than the interval at which a lease is renewed: it ends as that of a frozen process does.
  const store = new MemoryStore({ leaseMs: 50 })
  const operations = new Operations({
    store,
    runner,
    providers: new Map([[provider.name, provider]]),
    catalog: () => catalog,
    log: silent,
    syncDeadlineMs: 8_000
  })
  const start = provisionStart({}, { serviceId: ids.service, planId: ids.plans.async })
  assert.equal(await store.start(start, async () => {}), 'started')
  const { operationId } = start.operation

  const frozen = operations.executor.execute(start.operation, never)
  await until('the work', () => provider.calls.length === 1)
  await until('the takeover', async () => (await store.claim(operationId)).kind === 'claimed')
  work.open()
  assert.equal(await frozen, 'done')
  assert.equal((await store.getOperation(operationId))?.state, 'in progress')
  assert.deepEqual(jobs, [])

  // The worker that took over hands the operation back, with a job.
  await store.release({ operationId, attempt: 2, platform: 'cf' }, { enqueue: runner.enqueue, delayMs: 0 })
  assert.deepEqual(jobs, [operationId])
  assert.equal(await operations.executor.execute(start.operation, never), 'done')
  assert.equal((await store.getOperation(operationId))?.state, 'succeeded')
  assert.equal(await operations.executor.execute(start.operation, never), 'done')
})
