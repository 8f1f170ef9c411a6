import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Store } from '../../../src/core/store.ts'
import { bindStart, type Open } from '../records.ts'
import { claimed, opened, readyInstance, started } from './opened.ts'

const credentials = { password: 'handed over once' }
const own = { platform: 'cf', instanceId: 'i-1' }

/** Credentials of plans that keep none, until they are fetched. */
export function delivering(open: Open): void {
  test('deliver: of ten calls at once one gets the credentials, and nothing is left of them', async (t) => {
    const store = await opened(t, open)
    await bound(store, 'b-1', 60_000)
    const before = await store.getBinding('i-1', 'b-1')
    assert.ok(before?.undeliveredUntil instanceof Date)
    assert.ok(!JSON.stringify(before).includes(credentials.password))
    const answers = await Promise.all(Array.from({ length: 10 }, () => store.deliver({ ...own, bindingId: 'b-1' })))
    assert.deepEqual(
      answers.filter((answer) => answer !== undefined),
      [credentials]
    )
    const after = await store.getBinding('i-1', 'b-1')
    assert.equal(after?.undeliveredUntil, undefined)
    assert.deepEqual(after?.reply, { endpoints: [] })
  })

  test('deliver: a binding without any, or no binding, gives nothing', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const claim = await claimed(store, await started(store, bindStart('b-1')))
    await store.finish(claim, { state: 'succeeded', binding: { status: 'ready', reply: { credentials } } })
    for (const id of ['b-1', 'b-2']) assert.equal(await store.deliver({ ...own, bindingId: id }), undefined)
    assert.deepEqual((await store.getBinding('i-1', 'b-1'))?.reply, { credentials })
  })

  test('deliver: another platform gets nothing, and the credentials stay', async (t) => {
    const store = await opened(t, open)
    await bound(store, 'b-1', 60_000)
    assert.equal(await store.deliver({ ...own, platform: 'k8s', bindingId: 'b-1' }), undefined)
    assert.deepEqual(await store.deliver({ ...own, bindingId: 'b-1' }), credentials)
  })

  test('deliver: a binding that was removed and made again gives only the new ones', async (t) => {
    const store = await opened(t, open)
    await bound(store, 'b-1', 60_000)
    const unbind = { ...bindStart('b-1').operation, kind: 'unbind' as const }
    await store.finish(await claimed(store, await started(store, { operation: unbind })), {
      state: 'succeeded',
      binding: 'remove'
    })
    assert.equal(await store.deliver({ ...own, bindingId: 'b-1' }), undefined)
    await started(store, bindStart('b-1'))
    assert.equal(await store.deliver({ ...own, bindingId: 'b-1' }), undefined)
  })

  test('dropUndelivered: what was not fetched in time is gone, the rest stays', async (t) => {
    const store = await opened(t, open)
    await bound(store, 'overdue', -1)
    await bound(store, 'waiting', 60_000)
    assert.equal(await store.deliver({ ...own, bindingId: 'overdue' }), undefined)
    assert.equal(await store.dropUndelivered(), 1)
    assert.equal(await store.dropUndelivered(), 0)
    assert.equal((await store.getBinding('i-1', 'overdue'))?.undeliveredUntil, undefined)
    assert.deepEqual(await store.deliver({ ...own, bindingId: 'waiting' }), credentials)
  })

  test('finish: a claim that is lost leaves no credentials behind', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const operation = await started(store, bindStart('b-1'))
    const claim = await claimed(store, operation)
    const finish = {
      state: 'succeeded',
      binding: { status: 'ready' },
      undelivered: { credentials, forMs: 60_000 }
    } as const
    assert.equal(await store.finish({ ...claim, attempt: claim.attempt + 1 }, finish), false)
    assert.equal(await store.deliver({ ...own, bindingId: 'b-1' }), undefined)
  })
}

async function bound(store: Store, bindingId: string, forMs: number): Promise<void> {
  if ((await store.getInstance('i-1')) === undefined) await readyInstance(store)
  const claim = await claimed(store, await started(store, bindStart(bindingId)))
  await store.finish(claim, {
    state: 'succeeded',
    binding: { status: 'ready', reply: { endpoints: [] } },
    undelivered: { credentials, forMs }
  })
}
