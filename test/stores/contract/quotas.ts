import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OperationJob, OperationStart, Start, Store } from '../../../src/core/store.ts'
import { noEnqueue, type Open, operationRecord, provisionStart, synchronous } from '../records.ts'
import { claimed, failed, opened, readyInstance, started } from './opened.ts'

const PLAN = 'p-1'

/** A provision of the plan that needs one of so many places. */
function provision(instanceId: string, instances: number, platform = 'cf'): Start {
  return {
    ...provisionStart({ instanceId, platform }, { platform, planId: PLAN }),
    quota: { planId: PLAN, instances }
  }
}

/** An update of the instance to the plan that needs one of so many places. */
function updateTo(instanceId: string, planId: string, instances: number): Start {
  const target = { planId, parameters: {}, context: {} }
  return { operation: operationRecord('update', { instanceId, target }), quota: { planId, instances } }
}

/** How many instances count: the smallest quota that refuses nothing but one more. */
async function counted(store: Store, planId = PLAN): Promise<number> {
  await readyInstance(store, 'probe', { planId: 'elsewhere' })
  for (let places = 0; ; places += 1) {
    const start = updateTo('probe', planId, places)
    if ((await store.start(start, noEnqueue)) !== 'started') continue
    await failed(store, start.operation)
    const removal = await started(store, { operation: operationRecord('deprovision', { instanceId: 'probe' }) })
    await succeeded(store, removal, { instance: 'remove' })
    return places - 1
  }
}

async function succeeded(store: Store, operation: OperationStart, fields = {}): Promise<void> {
  assert.equal(await store.finish(await claimed(store, operation), { state: 'succeeded', ...fields }), true)
}

/** How many instances of a plan a platform may have. */
export function quotas(open: Open): void {
  test('start: 20 provisions at once with a quota of 3 give three started and 17 full, which write nothing', async (t) => {
    const store = await opened(t, open)
    const starts = Array.from({ length: 20 }, (_, index) => provision(`i-${index}`, 3))
    const seen: string[] = []
    const enqueue = async ({ operationId }: OperationJob) => void seen.push(operationId)
    const results = await Promise.all(starts.map((start) => store.start(start, enqueue)))
    assert.deepEqual(results.toSorted(), [...Array(17).fill('full'), ...Array(3).fill('started')])
    assert.equal(seen.length, 3)
    for (const [index, { operation }] of starts.entries()) {
      const written = results[index] === 'started'
      assert.equal(await store.getInstance(operation.instanceId).then(Boolean), written)
      assert.equal(await store.getOperation(operation.operationId).then(Boolean), written)
    }
  })

  test('start: provisions and updates at once take the places of one plan together', async (t) => {
    const store = await opened(t, open)
    const ids = Array.from({ length: 8 }, (_, index) => `u-${index}`)
    for (const id of ids) await readyInstance(store, id, { planId: 'p-2' })
    const starts = ids.flatMap((id, index) => [updateTo(id, PLAN, 5), provision(`i-${index}`, 5)])
    const results = await Promise.all(starts.map((start) => store.start(start, noEnqueue)))
    assert.equal(results.filter((result) => result === 'started').length, 5)
    assert.equal(results.filter((result) => result === 'full').length, 11)
  })

  test('start: an instance counts while it is creating, ready or being deleted, not when it failed or is gone', async (t) => {
    const store = await opened(t, open)
    const create = await started(store, provision('i-1', 1))
    assert.equal(await store.start(provision('i-2', 1), noEnqueue), 'full')
    await succeeded(store, create, { instance: { status: 'ready' } })
    assert.equal(await store.start(provision('i-2', 1), noEnqueue), 'full')
    const removal = await started(store, { operation: operationRecord('deprovision') })
    assert.equal(await store.start(provision('i-2', 1), noEnqueue), 'full')
    await succeeded(store, removal, { instance: 'remove' })
    const second = await started(store, provision('i-2', 1))

    await failed(store, second, { instance: { status: 'failed' } })
    const third = await started(store, provision('i-3', 1))
    await failed(store, third, { instance: { status: 'failed' } })
    assert.equal(await counted(store), 0)
    await started(store, { operation: operationRecord('deprovision', { instanceId: 'i-3' }) })
    assert.equal(await counted(store), 1)
  })

  test('start: a halted create counts until its delete has ended', async (t) => {
    const store = await opened(t, open)
    const { operationId } = await started(store, provision('i-1', 1))
    const removal = await started(store, { operation: operationRecord('deprovision', { halts: operationId }) })
    assert.equal((await store.getInstance('i-1'))?.status, 'failed')
    assert.equal(await store.start(provision('i-2', 1), noEnqueue), 'full')
    await succeeded(store, removal, { instance: 'remove' })
    await started(store, provision('i-2', 1))
  })

  test('start: a failed synchronous create with a state counts until its undo has ended', async (t) => {
    const store = await opened(t, open)
    const start = provision('i-1', 1)
    const { operationId } = await started(store, { ...start, operation: synchronous(start.operation) })
    const claim = { operationId, attempt: 1, platform: 'cf' }
    await store.saveState(claim, { name: 'made' })
    const undo = operationRecord('deprovision', { internal: true })
    const finish = {
      state: 'failed',
      failure: { status: 504 },
      instance: { status: 'failed' },
      undo: { operation: undo, enqueue: noEnqueue }
    } as const
    assert.equal(await store.finish(claim, finish), true)
    assert.equal((await store.getInstance('i-1'))?.status, 'failed')
    assert.equal(await store.start(provision('i-2', 1), noEnqueue), 'full')
    const undoing = await claimed(store, undo)
    assert.equal(await store.start(provision('i-2', 1), noEnqueue), 'full')
    assert.equal(await store.finish(undoing, { state: 'succeeded', instance: 'remove' }), true)
    await started(store, provision('i-2', 1))
  })

  test('start: a failed provision needs a place to be repeated', async (t) => {
    const store = await opened(t, open)
    await failed(store, await started(store, provision('i-1', 1)), { instance: { status: 'failed' } })
    const other = await started(store, provision('i-2', 1))
    const retry = (): Start => ({
      operation: operationRecord('provision'),
      retryCreate: true,
      quota: { planId: PLAN, instances: 1 }
    })
    assert.equal(await store.start(retry(), noEnqueue), 'full')
    assert.equal((await store.getInstance('i-1'))?.status, 'failed')
    await failed(store, other, { instance: { status: 'failed' } })
    await started(store, retry())
    assert.equal((await store.getInstance('i-1'))?.status, 'creating')
  })

  test('start: an unfinished update counts for both plans, an ended one for the plan it has come to', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store, 'i-1', { planId: PLAN })
    const refused = await started(store, updateTo('i-1', 'p-2', 1))
    assert.deepEqual([await counted(store, PLAN), await counted(store, 'p-2')], [1, 1])
    await failed(store, refused)
    assert.deepEqual([await counted(store, PLAN), await counted(store, 'p-2')], [1, 0])
    await succeeded(store, await started(store, updateTo('i-1', 'p-2', 1)), { instance: { planId: 'p-2' } })
    assert.deepEqual([await counted(store, PLAN), await counted(store, 'p-2')], [0, 1])
    // Of its own plan: what is restored there is no second instance.
    await started(store, { operation: updateTo('i-1', 'p-2', 1).operation })
    assert.equal(await counted(store, 'p-2'), 1)
  })

  test('start: what another platform or another plan has does not count', async (t) => {
    const store = await opened(t, open)
    await started(store, provision('i-1', 1, 'other'))
    await readyInstance(store, 'i-2', { planId: 'p-2' })
    await started(store, provision('i-3', 1))
    assert.equal(await store.start(provision('i-4', 1, 'other'), noEnqueue), 'full')
  })

  test('start: a quota that was lowered refuses what is new alone; changed and busy come before full', async (t) => {
    const store = await opened(t, open)
    for (const id of ['i-1', 'i-2', 'i-3']) await readyInstance(store, id, { planId: PLAN })
    assert.equal(await store.start(provision('i-4', 1), noEnqueue), 'full')
    assert.equal(await store.start(provision('i-1', 0), noEnqueue), 'changed')
    await started(store, { operation: operationRecord('update') })
    assert.equal(await store.start(updateTo('i-1', 'p-2', 0), noEnqueue), 'busy')
    assert.equal(await store.start(updateTo('nowhere', 'p-2', 0), noEnqueue), 'changed')
  })

  test('start: 10 identical provisions at once of the last place give one started, the others changed', async (t) => {
    const store = await opened(t, open)
    const starts = Array.from({ length: 10 }, () => provision('i-1', 1))
    const results = await Promise.all(starts.map((start) => store.start(start, noEnqueue)))
    assert.deepEqual(results.toSorted(), [...Array(9).fill('changed'), 'started'])
  })
}
