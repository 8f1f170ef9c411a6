import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OperationJob } from '../../../src/core/store.ts'
import { noEnqueue, type Open, provisionStart, synchronous } from '../records.ts'
import { claimed, opened, started } from './opened.ts'

/** Synchronous operations that continue in the background. */
export function continuing(open: Open): void {
  test('makeAsync: a synchronous operation keeps its claim and gets more time, without a job', async (t) => {
    const store = await opened(t, open)
    const start = provisionStart({ maximumMs: 5_000 })
    const operation = await started(store, { ...start, operation: synchronous(start.operation) })
    const claim = { operationId: operation.operationId, attempt: 1, platform: 'cf' }
    const before = await store.getOperation(operation.operationId)
    const fail = async () => assert.fail('a claimed operation got a job')
    assert.equal(await store.makeAsync(claim, { maximumMs: 3_600_000, unreported: false }, fail), true)
    const after = await store.getOperation(operation.operationId)
    assert.equal(after?.async, true)
    assert.ok(before !== undefined && after.deadline.getTime() > before.deadline.getTime() + 3_000_000)
    assert.equal(await store.keepAlive(claim), 'kept')
    assert.equal(
      await store.makeAsync({ ...claim, attempt: 2 }, { maximumMs: 1_000, unreported: false }, noEnqueue),
      false
    )
    assert.equal(await store.finish(claim, { state: 'succeeded' }), true)
    assert.equal(await store.makeAsync(claim, { maximumMs: 1_000, unreported: false }, fail), false)
  })

  test('makeAsync: an operation that was never claimed gets a job, or stays as it was', async (t) => {
    const store = await opened(t, open)
    const start = provisionStart({ async: false })
    const operation = await started(store, start)
    const claim = { operationId: operation.operationId, attempt: 0, platform: 'cf' }
    const fail = async () => {
      throw new Error('the queue is full')
    }
    await assert.rejects(store.makeAsync(claim, { maximumMs: 1_000, unreported: false }, fail), /the queue is full/)
    assert.equal((await store.getOperation(operation.operationId))?.async, false)
    const jobs: OperationJob[] = []
    assert.equal(
      await store.makeAsync(claim, { maximumMs: 1_000, unreported: false }, async (job) => void jobs.push(job)),
      true
    )
    assert.deepEqual(
      jobs.map(({ operationId, kind }) => [operationId, kind]),
      [[operation.operationId, 'provision']]
    )
    await claimed(store, operation)
    assert.equal(await store.makeAsync(claim, { maximumMs: 1_000, unreported: false }, noEnqueue), false)
  })

  test('makeAsync: only an operation whose request is answered with an error is unreported, however it is read', async (t) => {
    const store = await opened(t, open)
    for (const unreported of [true, false]) {
      const instanceId = `i-${unreported}`
      const start = provisionStart({ instanceId })
      const operation = await started(store, { ...start, operation: synchronous(start.operation) })
      const { operationId, platform } = operation
      const claim = { operationId, attempt: 1, platform: 'cf' }
      const isUnreported = async () => {
        const records = [
          await store.getOperation(operationId),
          await store.unfinishedOperation(instanceId),
          await store.latestOperation({ platform, instanceId }),
          ...(await store.unfinishedOperations(instanceId)),
          ...(await store.recentOperations(platform, instanceId, 1))
        ]
        assert.equal(records.length, 5)
        return records.map((record) => record !== undefined && 'unreported' in record && record.unreported)
      }
      assert.deepEqual(await isUnreported(), Array(5).fill(false))
      assert.equal(await store.makeAsync(claim, { maximumMs: 3_600_000, unreported }, noEnqueue), true)
      assert.deepEqual(await isUnreported(), Array(5).fill(unreported))
      // The next worker has to know it, too.
      await store.release(claim)
      assert.equal((await claimed(store, operation)).attempt, 2)
      assert.deepEqual(await isUnreported(), Array(5).fill(unreported))
    }
  })

  test('makeAsync: an operation whose job cannot be sent is not unreported', async (t) => {
    const store = await opened(t, open)
    const { operationId } = await started(store, provisionStart({ async: false }))
    const fail = async () => {
      throw new Error('the queue is full')
    }
    const continuation = { maximumMs: 1_000, unreported: true }
    await assert.rejects(
      store.makeAsync({ operationId, attempt: 0, platform: 'cf' }, continuation, fail),
      /the queue is full/
    )
    const operation = await store.getOperation(operationId)
    assert.ok(operation !== undefined && !('unreported' in operation))
    assert.equal(operation.async, false)
  })
}
