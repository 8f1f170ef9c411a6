import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { bindStart, noEnqueue, type Open, operationRecord, provisionStart, until } from '../records.ts'
import { claimed, opened, readyInstance, started } from './opened.ts'
import { refused } from './working.ts'

/** A delete that takes the place of an unfinished create. */
export function halting(open: Open): void {
  test('claim: a delete that waited for longer than its time has its full time from its first claim on', async (t) => {
    const store = await opened(t, open)
    const create = await started(store, provisionStart())
    const creating = await claimed(store, create)
    const remove = await started(store, {
      operation: operationRecord('deprovision', { halts: create.operationId, maximumMs: 1_000 })
    })
    const deadlineOf = async () => (await store.getOperation(remove.operationId))?.deadline.getTime() ?? Number.NaN
    const before = await deadlineOf()
    await until('its time is up', async () => {
      assert.deepEqual(await store.claim(remove.operationId), { kind: 'waiting' })
      return Date.now() > before
    })
    await store.release(creating)
    const first = await store.claim(remove.operationId)
    assert.ok(first.kind === 'claimed' && first.operation.attempt === 1)
    assert.ok(first.remainingMs > 0, `${first.remainingMs} ms remain`)
    const extended = await deadlineOf()
    assert.ok(extended - before >= 1_000, `extended by ${extended - before} ms`)
    await store.release({ operationId: remove.operationId, attempt: 1, platform: 'cf' })
    assert.equal((await claimed(store, remove)).attempt, 2)
    assert.equal(await deadlineOf(), extended)
  })

  test('start: a delete that halts a provision ends it failed and tells its worker', async (t) => {
    const store = await opened(t, open)
    const heard: string[] = []
    const stop = store.onHalt((operationId) => heard.push(operationId))
    t.after(stop)
    const create = await started(store, provisionStart())
    const worker = await claimed(store, create)
    await store.saveState(worker, { name: 'chosen' })
    const remove = await started(store, { operation: operationRecord('deprovision', { halts: create.operationId }) })

    const halted = await store.getOperation(create.operationId)
    assert.equal(halted?.state, 'failed')
    assert.equal(halted?.description, 'It was halted by a delete.')
    assert.ok(halted?.finishedAt instanceof Date)
    const instance = await store.getInstance('i-1')
    assert.equal(instance?.status, 'failed')
    assert.deepEqual(instance?.state, { name: 'chosen' })
    assert.equal((await store.unfinishedOperation('i-1'))?.operationId, remove.operationId)
    await until('the halt is heard', async () => heard.includes(create.operationId))
    await refused(store, worker)
    assert.deepEqual((await store.getInstance('i-1'))?.state, { name: 'chosen' })
  })

  test('claim: the delete is held until the halted worker has let go', async (t) => {
    const store = await opened(t, open)
    const create = await started(store, provisionStart())
    const worker = await claimed(store, create)
    const remove = await started(store, { operation: operationRecord('deprovision', { halts: create.operationId }) })
    assert.deepEqual(await store.claim(remove.operationId), { kind: 'waiting' })
    const enqueue = async () => assert.fail('a halted operation got a job')
    await store.release(worker, { description: 'ignored', enqueue, delayMs: 0 })
    assert.equal((await store.getOperation(create.operationId))?.description, 'It was halted by a delete.')
    const claim = await claimed(store, remove)
    assert.equal(await store.finish(claim, { state: 'succeeded', instance: 'remove' }), true)
    assert.equal(await store.getInstance('i-1'), undefined)
  })

  test('claim: the delete is held until the lease of the halted worker has ended', async (t) => {
    const store = await opened(t, open, { leaseMs: 200 })
    const create = await started(store, provisionStart())
    const worker = await claimed(store, create)
    const remove = await started(store, { operation: operationRecord('deprovision', { halts: create.operationId }) })
    assert.deepEqual(await store.claim(remove.operationId), { kind: 'waiting' })
    await until('the lease ends', async () => (await store.claim(remove.operationId)).kind === 'claimed')
    await refused(store, worker)
  })

  test('claim: the delete of a create that nobody worked on is claimed at once', async (t) => {
    const store = await opened(t, open)
    const create = await started(store, provisionStart())
    const remove = await started(store, { operation: operationRecord('deprovision', { halts: create.operationId }) })
    await claimed(store, remove)
    assert.deepEqual(await store.claim(create.operationId), { kind: 'finished' })
  })

  test('start: a delete that halts an update leaves the instance ready, and waits for the worker', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const update = await started(store, { operation: operationRecord('update') })
    const worker = await claimed(store, update)
    const remove = await started(store, { operation: operationRecord('deprovision', { halts: update.operationId }) })
    assert.equal((await store.getOperation(update.operationId))?.state, 'failed')
    assert.equal((await store.getInstance('i-1'))?.status, 'ready')
    assert.deepEqual(await store.claim(remove.operationId), { kind: 'waiting' })
    await store.release(worker)
    await claimed(store, remove)
  })

  test('keepAlive: a worker of a halted operation keeps the delete waiting while it renews its lease', async (t) => {
    const store = await opened(t, open, { leaseMs: 1_500 })
    const create = await started(store, provisionStart())
    const worker = await claimed(store, create)
    const remove = await started(store, { operation: operationRecord('deprovision', { halts: create.operationId }) })
    for (const end = Date.now() + 2_500; Date.now() < end; await sleep(200)) {
      assert.equal(await store.keepAlive(worker), 'halted')
      assert.deepEqual(await store.claim(remove.operationId), { kind: 'waiting' })
    }
    await until('the lease ends', async () => (await store.claim(remove.operationId)).kind === 'claimed')
    assert.equal(await store.keepAlive(worker), 'lost')
  })

  test('start: an unbind that halts a bind leaves other bindings alone', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const other = await claimed(store, await started(store, bindStart('b-2')))
    const bind = await started(store, bindStart('b-1'))
    const worker = await claimed(store, bind)
    await started(store, { operation: operationRecord('unbind', { halts: bind.operationId }) })
    await refused(store, worker)
    assert.equal((await store.getBinding('i-1', 'b-1'))?.status, 'failed')
    assert.equal((await store.getBinding('i-1', 'b-2'))?.status, 'creating')
    assert.equal((await store.getInstance('i-1'))?.status, 'ready')
    assert.equal(await store.keepAlive(other), 'kept')
  })

  test('start: a halt that comes too late, or of another operation, gives changed or busy', async (t) => {
    const store = await opened(t, open)
    const create = await started(store, provisionStart())
    const elsewhere = operationRecord('deprovision', { halts: 'another' })
    assert.equal(await store.start({ operation: elsewhere }, noEnqueue), 'busy')
    await store.finish(await claimed(store, create), { state: 'succeeded', instance: { status: 'ready' } })
    const late = operationRecord('deprovision', { halts: create.operationId })
    assert.equal(await store.start({ operation: late }, noEnqueue), 'changed')
    const remove = await started(store, { operation: operationRecord('deprovision') })
    const another = operationRecord('deprovision', { halts: remove.operationId })
    assert.equal(await store.start({ operation: another }, noEnqueue), 'changed')
    assert.equal((await store.getOperation(remove.operationId))?.state, 'in progress')
  })

  test('start: a halt beside the finish of the create gives one of the two', async (t) => {
    const store = await opened(t, open)
    await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        const instanceId = `i-${n}`
        const create = await started(store, provisionStart({ instanceId }))
        const worker = await claimed(store, create)
        const operation = operationRecord('deprovision', { instanceId, halts: create.operationId })
        const [result, finished] = await Promise.all([
          store.start({ operation }, noEnqueue),
          store.finish(worker, { state: 'succeeded', instance: { status: 'ready' } })
        ])
        assert.equal(result, finished ? 'changed' : 'started')
        assert.equal((await store.getOperation(create.operationId))?.state, finished ? 'succeeded' : 'failed')
        assert.equal((await store.getInstance(instanceId))?.status, finished ? 'ready' : 'failed')
      })
    )
  })

  test('onHalt: a listener that was stopped hears nothing, the others do', async (t) => {
    const store = await opened(t, open)
    const heard: string[] = []
    const stop = store.onHalt((operationId) => heard.push(`first ${operationId}`))
    store.onHalt((operationId) => heard.push(`second ${operationId}`))
    stop()
    const create = await started(store, provisionStart())
    await claimed(store, create)
    await started(store, { operation: operationRecord('deprovision', { halts: create.operationId }) })
    await until('the halt is heard', async () => heard.length > 0)
    assert.deepEqual([...new Set(heard)], [`second ${create.operationId}`])
  })
}
