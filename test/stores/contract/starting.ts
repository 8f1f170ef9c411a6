import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Start } from '../../../src/core/store.ts'
import {
  bindingRecord,
  bindStart,
  instanceRecord,
  noEnqueue,
  type Open,
  operationRecord,
  provisionStart,
  synchronous
} from '../records.ts'
import { claimed, failed, opened, readyBinding, readyInstance, started } from './opened.ts'

/** What may start beside what. */
export function starting(open: Open): void {
  test('start: 40 provisions of one id at once give one started', async (t) => {
    const store = await opened(t, open)
    const starts = Array.from({ length: 40 }, () => provisionStart())
    const results = await Promise.all(starts.map((start) => store.start(start, noEnqueue)))
    assert.equal(results.filter((result) => result === 'started').length, 1)
    assert.equal(results.filter((result) => result === 'changed').length, 39)
    const winner = starts[results.indexOf('started')]
    assert.equal((await store.unfinishedOperation('i-1'))?.operationId, winner?.operation.operationId)
    for (const [index, { operation }] of starts.entries()) {
      const kept = await store.getOperation(operation.operationId)
      assert.equal(kept !== undefined, results[index] === 'started')
    }
  })

  test('start: 20 updates and 20 deletes at once give one started', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const results = await Promise.all(
      Array.from({ length: 40 }, (_, n) => {
        const operation = operationRecord(n % 2 === 0 ? 'update' : 'deprovision')
        return store.start({ operation }, noEnqueue)
      })
    )
    assert.deepEqual(results.toSorted(), [...Array(39).fill('busy'), 'started'])
  })

  test('start: 20 binds of one id at once give one started', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const results = await Promise.all(Array.from({ length: 20 }, () => store.start(bindStart('b-1'), noEnqueue)))
    assert.deepEqual(results.toSorted(), [...Array(19).fill('changed'), 'started'])
    assert.equal((await store.listBindings('i-1')).length, 1)
  })

  test('start: 20 unbinds of one id at once give one started', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    await readyBinding(store)
    const unbinds = Array.from({ length: 20 }, () => ({ operation: operationRecord('unbind') }))
    const results = await Promise.all(unbinds.map((start) => store.start(start, noEnqueue)))
    assert.deepEqual(results.toSorted(), [...Array(19).fill('busy'), 'started'])
  })

  test('start: 20 binds of different ids at once give all started', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const results = await Promise.all(Array.from({ length: 20 }, (_, n) => store.start(bindStart(`b-${n}`), noEnqueue)))
    assert.deepEqual(results, Array(20).fill('started'))
    assert.equal((await store.listBindings('i-1')).length, 20)
  })

  test('start: updates and binds at once give either one update or binds', async (t) => {
    for (let round = 0; round < 5; round += 1) {
      const store = await opened(t, open)
      await readyInstance(store)
      const results = await Promise.all(
        Array.from({ length: 20 }, async (_, n) => {
          const start = n % 4 === round % 4 ? { operation: operationRecord('update') } : bindStart(`b-${n}`)
          return { kind: start.operation.kind, result: await store.start(start, noEnqueue) }
        })
      )
      const kinds = results.filter(({ result }) => result === 'started').map(({ kind }) => kind)
      assert.ok(kinds.length > 0)
      assert.ok(kinds.every((kind) => kind === 'bind') || (kinds.length === 1 && kinds[0] === 'update'), String(kinds))
      assert.ok(results.every(({ result }) => result !== 'changed'))
    }
  })

  test('start: a bind beside an unfinished update gives busy', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const update = await started(store, { operation: operationRecord('update') })
    assert.equal(await store.start(bindStart('b-1'), noEnqueue), 'busy')
    assert.equal(await store.getBinding('i-1', 'b-1'), undefined)
    assert.equal(await store.unfinishedOperation('i-1', 'b-1'), undefined)
    await failed(store, update)
    assert.equal(await store.start(bindStart('b-1'), noEnqueue), 'started')
  })

  test('start: an operation on an instance while a bind or unbind is unfinished gives busy', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    await readyBinding(store, 'b-0')
    for (const start of [bindStart('b-1'), { operation: operationRecord('unbind', { bindingId: 'b-0' }) }]) {
      const operation = await started(store, start)
      for (const kind of ['update', 'deprovision'] as const) {
        assert.equal(await store.start({ operation: operationRecord(kind) }, noEnqueue), 'busy')
      }
      await failed(store, operation)
    }
    await started(store, { operation: operationRecord('deprovision') })
  })

  test('start: operations on another instance go on side by side', async (t) => {
    const store = await opened(t, open)
    await started(store, provisionStart())
    await started(store, provisionStart({ instanceId: 'i-2' }))
  })

  test('start: what has changed meanwhile gives changed and writes nothing', async (t) => {
    const store = await opened(t, open)
    const nowhere = { instanceId: 'i-2' }
    await readyInstance(store)
    await failed(store, await started(store, bindStart('b-9')), { binding: { status: 'failed' } })
    await failed(store, await started(store, provisionStart({ instanceId: 'i-9' })), { instance: { status: 'failed' } })
    const starts = [
      provisionStart(),
      bindStart('b-9'),
      { operation: operationRecord('provision'), retryCreate: true },
      { operation: operationRecord('update', nowhere) },
      { operation: operationRecord('update', { instanceId: 'i-9' }) },
      { operation: operationRecord('deprovision', nowhere) },
      { operation: operationRecord('unbind', { bindingId: 'b-2' }) },
      { operation: operationRecord('bind', nowhere), insertBinding: bindingRecord(nowhere) },
      {
        operation: operationRecord('bind', { instanceId: 'i-9' }),
        insertBinding: bindingRecord({ instanceId: 'i-9' })
      },
      { operation: operationRecord('deprovision', { halts: 'no such operation' }) }
    ]
    for (const start of starts) {
      assert.equal(await store.start(start, noEnqueue), 'changed', JSON.stringify(start.operation))
      assert.equal(await store.getOperation(start.operation.operationId), undefined)
    }
    assert.deepEqual((await store.getInstance('i-1'))?.parameters, instanceRecord().parameters)
  })

  test('start: retryCreate after a failure makes it creating again, once', async (t) => {
    const store = await opened(t, open)
    await failed(store, await started(store, provisionStart()), { instance: { status: 'failed', state: { a: 1 } } })
    const retries = Array.from({ length: 10 }, () => ({ operation: operationRecord('provision'), retryCreate: true }))
    const results = await Promise.all(retries.map((start) => store.start(start, noEnqueue)))
    assert.deepEqual(results.toSorted(), [...Array(9).fill('changed'), 'started'])
    const record = await store.getInstance('i-1')
    assert.equal(record?.status, 'creating')
    assert.deepEqual(record?.state, { a: 1 })
  })

  test('start: retryCreate of a failed binding makes it creating again, once', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    await failed(store, await started(store, bindStart('b-1')), { binding: { status: 'failed' } })
    const retries = Array.from({ length: 10 }, () => ({ operation: operationRecord('bind'), retryCreate: true }))
    const results = await Promise.all(retries.map((start) => store.start(start, noEnqueue)))
    assert.deepEqual(results.toSorted(), [...Array(9).fill('changed'), 'started'])
    assert.equal((await store.getBinding('i-1', 'b-1'))?.status, 'creating')
    assert.equal((await store.getInstance('i-1'))?.status, 'ready')
  })

  test('start: an unfinished undo of a failed create gives busy', async (t) => {
    const store = await opened(t, open)
    await failed(store, await started(store, provisionStart()), { instance: { status: 'failed' } })
    await started(store, { operation: operationRecord('deprovision', { internal: true }) })
    const retry = { operation: operationRecord('provision'), retryCreate: true }
    assert.equal(await store.start(retry, noEnqueue), 'busy')
  })

  test('start: enqueue is given the operation, and only when it is written', async (t) => {
    const store = await opened(t, open)
    const seen: string[] = []
    const enqueue = async ({ operationId }: { operationId: string }) => void seen.push(operationId)
    const first = provisionStart()
    assert.equal(await store.start(first, enqueue), 'started')
    assert.equal(await store.start(provisionStart(), enqueue), 'changed')
    assert.equal(await store.start({ operation: operationRecord('deprovision') }, enqueue), 'busy')
    assert.deepEqual(seen, [first.operation.operationId])
  })

  test('start: enqueue that fails gives its error and nothing is written', async (t) => {
    const store = await opened(t, open)
    const halted: string[] = []
    store.onHalt((operationId) => halted.push(operationId))
    const fail = async () => {
      throw new Error('the queue is full')
    }
    await assert.rejects(store.start(provisionStart(), fail), /the queue is full/)
    assert.equal(await store.getInstance('i-1'), undefined)
    assert.equal(await store.unfinishedOperation('i-1'), undefined)
    assert.equal(await store.latestOperation({ platform: 'cf', instanceId: 'i-1' }), undefined)

    const create = await started(store, provisionStart())
    const before = await store.getOperation(create.operationId)
    const halting = operationRecord('deprovision', { halts: create.operationId })
    await assert.rejects(store.start({ operation: halting }, fail), /the queue is full/)
    const unchanged = (after: typeof before) => assert.deepEqual({ ...after, ageMs: 0 }, { ...before, ageMs: 0 })
    unchanged(await store.getOperation(create.operationId))
    assert.equal((await store.getInstance('i-1'))?.status, 'creating')
    unchanged(await store.latestOperation({ platform: 'cf', instanceId: 'i-1' }))
    await claimed(store, create)
    assert.deepEqual(halted, [])
  })

  test('start: a synchronous operation is claimed from the beginning', async (t) => {
    const store = await opened(t, open)
    const start = provisionStart()
    const operation = await started(store, { ...start, operation: synchronous(start.operation) })
    assert.deepEqual(await store.claim(operation.operationId), { kind: 'held' })
    assert.equal(await store.keepAlive({ operationId: operation.operationId, attempt: 1, platform: 'cf' }), 'kept')
  })

  test('start: a repetition of a start whose operation has ended is started, and writes nothing', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const update: Start = { operation: operationRecord('update') }
    await failed(store, await started(store, update))
    const gone = provisionStart({ instanceId: 'i-gone' })
    await failed(store, await started(store, gone), { instance: 'remove' })
    await failed(store, await started(store, provisionStart({ instanceId: 'i-failed' })), {
      instance: { status: 'failed' }
    })
    const retry: Start = { operation: operationRecord('provision', { instanceId: 'i-failed' }), retryCreate: true }
    await failed(store, await started(store, retry), { instance: { status: 'failed' } })
    for (const start of [update, gone, retry]) {
      const { operationId, instanceId } = start.operation
      const written = async () => {
        const operation = await store.getOperation(operationId)
        return [
          { ...operation, ageMs: 0 },
          await store.getInstance(instanceId),
          await store.unfinishedOperation(instanceId)
        ]
      }
      const before = await written()
      assert.equal(await store.start(start, async () => assert.fail('a repetition sent a job')), 'started')
      assert.deepEqual(await written(), before)
    }
  })
}
