import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Enqueue } from '../../../src/core/store.ts'
import { bindStart, type Open, operationRecord, provisionStart } from '../records.ts'
import { claimed, opened, readyInstance, started } from './opened.ts'

/** Failed creates whose removal starts with their end. */
export function undoing(open: Open): void {
  test('finish: a failed create with a state starts its undo in the same write', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    for (const [create, kind] of [
      [bindStart('b-1'), 'unbind'],
      [provisionStart({ instanceId: 'i-2' }), 'deprovision']
    ] as const) {
      const { instanceId, bindingId } = create.operation
      const claim = await claimed(store, await started(store, create))
      await store.saveState(claim, { name: 'made' })
      const undo = operationRecord(kind, { instanceId, internal: true, ...(bindingId ? { bindingId } : {}) })
      const jobs: string[] = []
      const enqueue: Enqueue = async ({ operationId }) => void jobs.push(operationId)
      const resource = bindingId
        ? { binding: { status: 'failed' } as const }
        : { instance: { status: 'failed' } as const }
      assert.equal(
        await store.finish(claim, { state: 'failed', ...resource, undo: { operation: undo, enqueue } }),
        true
      )
      assert.deepEqual(jobs, [undo.operationId])
      assert.equal((await store.unfinishedOperation(instanceId, bindingId))?.operationId, undo.operationId)
      const kept = bindingId ? await store.getBinding(instanceId, bindingId) : await store.getInstance(instanceId)
      assert.deepEqual([kept?.status, kept?.state], ['failed', { name: 'made' }])
    }
  })

  test('finish: a failed create without a state is removed, and no undo starts', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    for (const [create, kind] of [
      [bindStart('b-1'), 'unbind'],
      [provisionStart({ instanceId: 'i-2' }), 'deprovision']
    ] as const) {
      const { instanceId, bindingId } = create.operation
      const claim = await claimed(store, await started(store, create))
      const undo = operationRecord(kind, { instanceId, internal: true, ...(bindingId ? { bindingId } : {}) })
      const enqueue: Enqueue = async () => assert.fail('there is nothing to undo')
      assert.equal(await store.finish(claim, { state: 'failed', undo: { operation: undo, enqueue } }), true)
      assert.equal(await store.unfinishedOperation(instanceId, bindingId), undefined)
      const gone = bindingId ? await store.getBinding(instanceId, bindingId) : await store.getInstance(instanceId)
      assert.equal(gone, undefined)
    }
  })

  test('finish: a lost claim starts no undo', async (t) => {
    const store = await opened(t, open)
    const create = await started(store, provisionStart())
    const claim = await claimed(store, create)
    await store.saveState(claim, { name: 'made' })
    const undo = operationRecord('deprovision', { internal: true })
    const enqueue: Enqueue = async () => assert.fail('a lost claim sent a job')
    const lost = { ...claim, attempt: claim.attempt + 1 }
    assert.equal(await store.finish(lost, { state: 'failed', undo: { operation: undo, enqueue } }), false)
    assert.equal(await store.getOperation(undo.operationId), undefined)
    assert.equal((await store.unfinishedOperation('i-1'))?.operationId, create.operationId)
  })
}
