import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { BindingRecord, OperationStart } from '../../../src/core/store.ts'
import { bindingRecord, bindStart, type Open, operationRecord } from '../records.ts'
import { claimed, failed, opened, readyInstance, started } from './opened.ts'

/** Bindings whose time is up. */
export function expiring(open: Open): void {
  test('expiredBindings: they are ready, past their time, not revoked, and nobody works on them', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const ready = async (bindingId: string, fields: Partial<BindingRecord>) => {
      const claim = await claimed(store, await started(store, bindStart(bindingId)))
      await store.finish(claim, { state: 'succeeded', binding: { status: 'ready', ...fields } })
    }
    const past = new Date(Date.now() - 1_000)
    await ready('b-past', { expiresAt: past })
    await ready('b-future', { expiresAt: new Date(Date.now() + 60_000) })
    await ready('b-never', {})
    await ready('b-revoked', { expiresAt: past, revokedAt: new Date() })
    const creating = await started(store, bindStart('b-creating'))
    await failed(store, creating, { binding: { status: 'failed', expiresAt: past } })
    const ofInstance = { provider: 'example', serviceId: 's-1', planId: 'p-1' }
    const ids = { instanceId: 'i-1', bindingId: 'b-past', platform: 'cf' }
    assert.deepEqual(await store.expiredBindings(), [{ ...ids, ...ofInstance }])
    const unbind = operationRecord('unbind', { bindingId: 'b-past' })
    await started(store, { operation: unbind })
    assert.deepEqual(await store.expiredBindings(), [])
    await failed(store, unbind)
    assert.equal((await store.expiredBindings()).length, 1)
    const again = await started(store, { operation: operationRecord('unbind', { bindingId: 'b-past' }) })
    await store.finish(await claimed(store, again), { state: 'succeeded', binding: { revokedAt: past } })
    assert.deepEqual(await store.expiredBindings(), [])
    assert.deepEqual((await store.getBinding('i-1', 'b-past'))?.revokedAt, past)
  })

  test('expiredBindings: those of an instance with an unfinished operation are left out, others are not', async (t) => {
    const store = await opened(t, open)
    const expiresAt = new Date(Date.now() - 1_000)
    for (const instanceId of ['i-1', 'i-2']) {
      await readyInstance(store, instanceId, { provider: 'other' })
      // The binding is older than the plan of its instance.
      const insertBinding = bindingRecord({ instanceId, planId: 'p-old' })
      const claim = await claimed(store, await started(store, { operation: bind(instanceId), insertBinding }))
      await store.finish(claim, { state: 'succeeded', binding: { status: 'ready', expiresAt } })
    }
    const found = async () => (await store.expiredBindings()).map(({ instanceId }) => instanceId).sort()
    assert.deepEqual(await found(), ['i-1', 'i-2'])
    const update = await started(store, { operation: operationRecord('update') })
    const fields = { instanceId: 'i-2', bindingId: 'b-1', platform: 'cf' }
    const ofInstance = { provider: 'other', serviceId: 's-1', planId: 'p-1' }
    assert.deepEqual(await store.expiredBindings(), [{ ...fields, ...ofInstance }])
    // Bindings of one instance change independently.
    await started(store, {
      operation: bind('i-2', 'b-2'),
      insertBinding: bindingRecord({ instanceId: 'i-2', bindingId: 'b-2' })
    })
    assert.deepEqual(await found(), ['i-2'])
    await failed(store, update)
    assert.deepEqual(await found(), ['i-1', 'i-2'])
    await started(store, { operation: operationRecord('deprovision') })
    assert.deepEqual(await found(), ['i-2'])
  })
}

function bind(instanceId: string, bindingId = 'b-1'): OperationStart {
  return operationRecord('bind', { instanceId, bindingId })
}
