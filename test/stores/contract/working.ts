import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StaleAttempt } from '../../../src/core/provider.ts'
import type { Claim, Enqueue, Store } from '../../../src/core/store.ts'
import { bindStart, noEnqueue, type Open, operationRecord, provisionStart, until } from '../records.ts'
import { claimed, opened, readyBinding, readyInstance, started } from './opened.ts'

/** The rights of a worker. */
export function working(open: Open): void {
  test('claim: 20 claims at once give one claimed', async (t) => {
    const store = await opened(t, open)
    const { operationId } = await started(store, provisionStart())
    const results = await Promise.all(Array.from({ length: 20 }, () => store.claim(operationId)))
    assert.deepEqual(results.map(({ kind }) => kind).toSorted(), ['claimed', ...Array(19).fill('held')])
    const operation = await store.getOperation(operationId)
    assert.equal(operation?.attempt, 1)
    assert.ok(operation?.leaseUntil instanceof Date && operation.startedAt instanceof Date)
  })

  test('claim: a lease that has ended gives the next attempt, and the old claim is stale', async (t) => {
    const store = await opened(t, open, { leaseMs: 30 })
    const operation = await started(store, provisionStart())
    const old = await claimed(store, operation)
    const startedAt = (await store.getOperation(operation.operationId))?.startedAt
    const next = await until('the lease ends', async () => {
      const result = await store.claim(operation.operationId)
      return result.kind === 'claimed' && result.operation
    })
    assert.equal(next.attempt, 2)
    assert.deepEqual(next.startedAt, startedAt)
    await refused(store, old)
    assert.equal((await store.getOperation(operation.operationId))?.attempt, 2)
  })

  test('keepAlive: a lease that is renewed keeps others out', async (t) => {
    const store = await opened(t, open)
    const operation = await started(store, provisionStart())
    const claim = await claimed(store, operation)
    const before = (await store.getOperation(operation.operationId))?.leaseUntil ?? new Date(0)
    await until('the lease is renewed', async () => {
      assert.equal(await store.keepAlive(claim), 'kept')
      const after = (await store.getOperation(operation.operationId))?.leaseUntil ?? new Date(0)
      return after > before
    })
    assert.deepEqual(await store.claim(operation.operationId), { kind: 'held' })
  })

  test('release: another attempt may start at once, and a late heartbeat does not take it back', async (t) => {
    const store = await opened(t, open)
    const operation = await started(store, provisionStart())
    const claim = await claimed(store, operation)
    await store.progress(claim, 'half')
    await store.release(claim)
    const released = await store.getOperation(operation.operationId)
    assert.equal(released?.leaseUntil, undefined)
    assert.equal(released?.description, 'half')
    assert.equal(await store.keepAlive(claim), 'lost')
    assert.equal((await claimed(store, operation)).attempt, 2)
    await refused(store, claim)
  })

  test('release: a retry keeps its description and sends the job of the next attempt', async (t) => {
    const store = await opened(t, open)
    const operation = await started(store, provisionStart())
    const jobs: string[] = []
    const enqueue: Enqueue = async ({ operationId }, _transaction, delayMs) =>
      void jobs.push(`${operationId} ${delayMs}`)
    const resumption = { description: 'It will be tried again.', enqueue, delayMs: 250 }
    await store.release(await claimed(store, operation), resumption)
    assert.deepEqual(jobs, [`${operation.operationId} 250`])
    const released = await store.getOperation(operation.operationId)
    assert.equal(released?.description, 'It will be tried again.')
    assert.equal(released?.state, 'in progress')
  })

  test('release: a lost claim changes nothing of the next attempt', async (t) => {
    const store = await opened(t, open)
    const operation = await started(store, provisionStart())
    const old = await claimed(store, operation)
    await store.release(old)
    await claimed(store, operation)
    const enqueue: Enqueue = async () => assert.fail('a lost claim sent a job')
    await store.release(old, { description: 'too late', enqueue, delayMs: 0 })
    assert.deepEqual(await store.claim(operation.operationId), { kind: 'held' })
    assert.equal((await store.getOperation(operation.operationId))?.description, undefined)
    await store.release({ operationId: 'unknown', attempt: 1, platform: 'cf' })
  })

  test('saveState: the state is kept on the resource of the operation', async (t) => {
    const store = await opened(t, open)
    const provision = await claimed(store, await started(store, provisionStart()))
    await store.saveState(provision, { name: 'first' })
    await store.saveState(provision, { name: 'second' })
    await store.finish(provision, { state: 'succeeded', instance: { status: 'ready' } })
    await store.saveState(await claimed(store, await started(store, bindStart('b-1'))), { role: 'r' })
    assert.deepEqual((await store.getInstance('i-1'))?.state, { name: 'second' })
    assert.deepEqual((await store.getBinding('i-1', 'b-1'))?.state, { role: 'r' })
  })

  test('saveState, removeBinding: a deprovision works on the bindings that are left', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    for (const id of ['b-1', 'b-2', 'b-3']) await readyBinding(store, id)
    const claim = await claimed(store, await started(store, { operation: operationRecord('deprovision') }))
    await store.saveState(claim, { role: 'r' }, 'b-2')
    assert.deepEqual((await store.getBinding('i-1', 'b-2'))?.state, { role: 'r' })
    assert.equal((await store.getInstance('i-1'))?.state, undefined)
    await store.removeBinding(claim, 'b-1')
    await store.removeBinding(claim, 'b-1')
    assert.deepEqual(
      (await store.listBindings('i-1')).map(({ bindingId }) => bindingId),
      ['b-2', 'b-3']
    )
    assert.equal(await store.finish(claim, { state: 'succeeded', instance: 'remove' }), true)
    assert.equal(await store.getBinding('i-1', 'b-3'), undefined)
    assert.deepEqual(await store.listBindings('i-1'), [])
  })

  test('finish: a success applies what is given and leaves what is absent', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store, 'i-1', { dashboardUrl: 'https://d', state: { a: 1 }, maintenanceVersion: '1.0.0' })
    const before = await store.getInstance('i-1')
    const target = { planId: 'p-2', parameters: { size: 2 }, context: { x: 1 } }
    const update = await started(store, { operation: operationRecord('update', { target }) })
    assert.deepEqual(await store.getInstance('i-1'), before)
    const claim = await claimed(store, update)
    await store.progress(claim, 'half')
    const instance = { ...target, metadata: { labels: { l: 1 } }, state: { a: 2 } }
    assert.equal(await store.finish(claim, { state: 'succeeded', description: 'Done.', instance }), true)
    const after = await store.getInstance('i-1')
    assert.deepEqual(after, { ...before, ...instance, updatedAt: after?.updatedAt })
    const finished = await store.getOperation(update.operationId)
    assert.equal(finished?.state, 'succeeded')
    assert.equal(finished?.description, 'Done.')
    assert.equal(finished?.leaseUntil, undefined)
    assert.ok(finished?.finishedAt instanceof Date)
    assert.equal(await store.unfinishedOperation('i-1'), undefined)
    assert.deepEqual(await store.claim(update.operationId), { kind: 'finished' })
    await refused(store, claim)
  })

  test('finish: a failure keeps what the answer needs, and not the progress', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const before = await store.getInstance('i-1')
    const update = await started(store, { operation: operationRecord('update') })
    const claim = await claimed(store, update)
    await store.progress(claim, 'half')
    const failure = { status: 422, error: 'ConcurrencyError' }
    await store.finish(claim, { state: 'failed', failure, instanceUsable: false, updateRepeatable: true })
    const finished = await store.getOperation(update.operationId)
    assert.equal(finished?.state, 'failed')
    assert.deepEqual(finished?.failure, failure)
    assert.equal(finished?.instanceUsable, false)
    assert.equal(finished?.updateRepeatable, true)
    assert.equal(finished?.description, undefined)
    assert.deepEqual(await store.getInstance('i-1'), before)
  })

  test('finish: a binding gets its answer, and goes when it is removed', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const reply = { credentials: { password: 'p' }, metadata: { expires_at: '2027-01-01T00:00:00.0Z' } }
    const expiresAt = new Date('2027-01-01T00:00:00Z')
    const bind = await claimed(store, await started(store, bindStart('b-1')))
    await store.finish(bind, { state: 'succeeded', binding: { status: 'ready', reply, expiresAt } })
    const record = await store.getBinding('i-1', 'b-1')
    assert.deepEqual(record?.reply, reply)
    assert.deepEqual(record?.expiresAt, expiresAt)
    const unbind = await claimed(store, await started(store, { operation: operationRecord('unbind') }))
    await store.finish(unbind, { state: 'succeeded', binding: 'remove' })
    assert.equal(await store.getBinding('i-1', 'b-1'), undefined)
    assert.equal((await store.latestOperation({ platform: 'cf', instanceId: 'i-1', bindingId: 'b-1' }))?.kind, 'unbind')
    await started(store, bindStart('b-1'))
  })

  test('finish: after a removal the id begins anew', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store, 'i-1', { state: { old: true }, dashboardUrl: 'https://old' })
    const claim = await claimed(store, await started(store, { operation: operationRecord('deprovision') }))
    await store.finish(claim, { state: 'succeeded', instance: 'remove' })
    assert.equal(await store.getInstance('i-1'), undefined)
    assert.equal((await store.latestOperation({ platform: 'cf', instanceId: 'i-1' }))?.state, 'succeeded')
    const again = await started(store, provisionStart())
    const record = await store.getInstance('i-1')
    assert.equal(record?.state, undefined)
    assert.equal(record?.dashboardUrl, undefined)
    assert.equal((await store.latestOperation({ platform: 'cf', instanceId: 'i-1' }))?.operationId, again.operationId)
  })
}

/** Every fenced write of a lost claim is refused. */
export async function refused(store: Store, claim: Claim): Promise<void> {
  assert.notEqual(await store.keepAlive(claim), 'kept')
  assert.equal(await store.finish(claim, { state: 'succeeded', instance: 'remove' }), false)
  assert.equal(await store.makeAsync(claim, { maximumMs: 1_000, unreported: false }, noEnqueue), false)
  await assert.rejects(store.saveState(claim, { late: true }), StaleAttempt)
  await assert.rejects(store.progress(claim, 'late'), StaleAttempt)
  await assert.rejects(store.removeBinding(claim, 'b-1'), StaleAttempt)
}
