import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ResourceCount } from '../../../src/core/census.ts'
import type { Listing } from '../../../src/core/stored-resource.ts'
import {
  bindStart,
  fieldsOf,
  type Open,
  operationRecord,
  provisionStart,
  startedFields,
  synchronous,
  until
} from '../records.ts'
import { claimed, failed, opened, readyBinding, readyInstance, started } from './opened.ts'

/** What is asked over all records. */
export function surveys(open: Open): void {
  test('unfinishedOperation: it is of exactly this resource', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const bind = await started(store, bindStart('b-1'))
    assert.equal(await store.unfinishedOperation('i-1'), undefined)
    assert.equal(await store.unfinishedOperation('i-1', 'b-2'), undefined)
    assert.deepEqual(startedFields(await store.unfinishedOperation('i-1', 'b-1')), fieldsOf(bind))
  })

  test('latestOperation: it is the newest of exactly this resource, and not internal', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    await readyBinding(store)
    assert.equal((await store.latestOperation({ platform: 'cf', instanceId: 'i-1' }))?.kind, 'provision')
    assert.equal((await store.latestOperation({ platform: 'cf', instanceId: 'i-1', bindingId: 'b-1' }))?.kind, 'bind')
    const update = operationRecord('update')
    await failed(store, await started(store, { operation: update }))
    await failed(store, await started(store, { operation: operationRecord('update', { internal: true }) }))
    assert.equal((await store.latestOperation({ platform: 'cf', instanceId: 'i-1' }))?.operationId, update.operationId)
    assert.equal(await store.latestOperation({ platform: 'cf', instanceId: 'i-2' }), undefined)
    assert.equal(await store.latestOperation({ platform: 'cf', instanceId: 'i-1', bindingId: 'b-2' }), undefined)
  })

  test('latestOperation, recentOperations: platforms that had an id one after the other have operations of their own', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const removal = await started(store, { operation: operationRecord('deprovision') })
    await store.finish(await claimed(store, removal), { state: 'succeeded', instance: 'remove' })
    const create = await started(store, provisionStart({ platform: 'other' }, { platform: 'other' }))
    const latest = async (platform: string) =>
      (await store.latestOperation({ platform, instanceId: 'i-1' }))?.operationId
    assert.equal(await latest('cf'), removal.operationId)
    assert.equal(await latest('other'), create.operationId)
    assert.equal(await latest('nobody'), undefined)
    const kinds = async (platform: string) => (await store.recentOperations(platform, 'i-1', 5)).map(({ kind }) => kind)
    assert.deepEqual(await kinds('cf'), ['deprovision', 'provision'])
    assert.deepEqual(await kinds('other'), ['provision'])
    assert.equal(await store.forgetOperations(-60_000), 2)
    assert.equal(await latest('cf'), undefined)
    assert.equal(await latest('other'), create.operationId)
  })

  test('plansInUse: each plan that an instance lives on or is to live on comes once', async (t) => {
    const store = await opened(t, open)
    assert.deepEqual(await store.plansInUse(), [])
    await readyInstance(store, 'i-1')
    await readyInstance(store, 'i-2')
    await started(store, provisionStart({ instanceId: 'i-3' }, { planId: 'p-2' }))
    const dead = await started(store, provisionStart({ instanceId: 'i-4' }, { planId: 'p-failed' }))
    await failed(store, dead, { instance: { status: 'failed' } })
    const target = { planId: 'p-3', parameters: {}, context: {} }
    const update = await started(store, { operation: operationRecord('update', { target }) })
    const inUse = async () => (await store.plansInUse()).map(({ serviceId, planId }) => `${serviceId} ${planId}`).sort()
    assert.deepEqual(await inUse(), ['s-1 p-1', 's-1 p-2', 's-1 p-3'])
    await failed(store, update)
    assert.deepEqual(await inUse(), ['s-1 p-1', 's-1 p-2'])
  })

  test('census: it counts by kind, plan and status, and gives the age of the oldest that waits', async (t) => {
    const store = await opened(t, open, { leaseMs: 60_000 })
    assert.deepEqual(await store.census(), { operations: [], instances: [], bindings: [] })
    await readyInstance(store, 'i-1')
    await readyInstance(store, 'i-2')
    await readyBinding(store)
    const older = await started(store, provisionStart({ instanceId: 'i-3' }, { planId: 'p-2' }))
    const createdAt = (await store.getOperation(older.operationId))?.createdAt
    await until('the clock has moved', async () => createdAt !== undefined && new Date() > createdAt)
    await started(store, provisionStart({ instanceId: 'i-4' }, { planId: 'p-2' }))
    const waiting = await store.census()
    assert.deepEqual(waiting.operations, [{ kind: 'provision', waiting: true, count: 2 }])
    assert.ok(createdAt !== undefined)
    const age = Date.now() - createdAt.getTime()
    assert.ok(Math.abs((waiting.oldestWaitingMs ?? 0) - age) < 60_000)
    const counted = (counts: readonly ResourceCount[]) =>
      counts.map(({ serviceId, planId, status, count }) => `${serviceId} ${planId} ${status} ${count}`).sort()
    assert.deepEqual(counted(waiting.instances), ['s-1 p-1 ready 2', 's-1 p-2 creating 2'])
    assert.deepEqual(counted(waiting.bindings), ['s-1 p-1 ready 1'])
    await claimed(store, older)
    const working = await store.census()
    const byWaiting = working.operations.toSorted((one, other) => Number(one.waiting) - Number(other.waiting))
    assert.deepEqual(byWaiting, [
      { kind: 'provision', waiting: false, count: 1 },
      { kind: 'provision', waiting: true, count: 1 }
    ])
    // The older one has a worker now, so the younger one is the oldest that waits.
    const ageOfOlder = Date.now() - createdAt.getTime()
    assert.ok(working.oldestWaitingMs !== undefined && working.oldestWaitingMs < ageOfOlder)
  })

  test('abandoned: it is unfinished operations whose worker has died, or whose time is up', async (t) => {
    const store = await opened(t, open, { leaseMs: 3_000 })
    const ids = async () => (await store.abandoned()).map(({ operation: { operationId } }) => operationId)
    const start = provisionStart()
    const operation = await started(store, { ...start, operation: synchronous(start.operation) })
    assert.deepEqual(await ids(), [])
    await until('the request is taken for dead', async () => (await ids()).length === 1)
    assert.deepEqual(await ids(), [operation.operationId])
    assert.equal((await store.abandoned())[0]?.expired, false)
    const claim = await claimed(store, operation)
    assert.equal(claim.attempt, 2)
    assert.deepEqual(await ids(), [])
    await store.release(claim)
    assert.deepEqual(await ids(), [])
    await failed(store, operation)
    const late = await started(store, provisionStart({ instanceId: 'i-2', maximumMs: -1_000 }))
    assert.deepEqual(await ids(), [late.operationId])
    assert.equal((await store.abandoned())[0]?.expired, true)
    await failed(store, late)
    assert.deepEqual(await ids(), [])
  })

  test('abandoned: gives the whole record of an operation, and whether its deadline has passed', async (t) => {
    const store = await opened(t, open, { leaseMs: 30 })
    const died = await started(store, provisionStart({ instanceId: 'i-died' }))
    await claimed(store, died)
    const late = await started(store, provisionStart({ instanceId: 'i-late', maximumMs: -1_000 }))
    const both = await started(store, provisionStart({ instanceId: 'i-both', maximumMs: -1_000 }))
    await claimed(store, both)
    const all = await until('the leases end', async () => {
      const found = await store.abandoned()
      return found.length === 3 && found
    })
    const byId = new Map(all.map((each) => [each.operation.operationId, each]))
    for (const [{ operationId }, expired] of [
      [died, false],
      [late, true],
      [both, true]
    ] as const) {
      const operation = await store.getOperation(operationId)
      const { operation: found, ...rest } = byId.get(operationId) ?? assert.fail(`${operationId} is missing`)
      assert.deepEqual(rest, { expired })
      assert.ok(operation !== undefined && found.ageMs >= 0 && found.ageMs <= operation.ageMs)
      assert.deepEqual({ ...found, ageMs: 0 }, { ...operation, ageMs: 0 })
    }
  })

  test('unfinishedOperations: returns those of the instance and of its bindings, oldest first', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    await readyInstance(store, 'i-2')
    assert.deepEqual(await store.unfinishedOperations('i-1'), [])
    await started(store, bindStart('b-1'))
    await started(store, bindStart('b-2'))
    await started(store, { operation: operationRecord('update', { instanceId: 'i-2' }) })
    const bindings = (await store.unfinishedOperations('i-1')).map(({ bindingId }) => bindingId)
    assert.deepEqual(bindings, ['b-1', 'b-2'])
    assert.equal((await store.unfinishedOperations('i-2'))[0]?.kind, 'update')
  })

  test('idle: returns asynchronous operations without a lease that are old enough, page by page', async (t) => {
    const store = await opened(t, open)
    const waiting = await started(store, provisionStart())
    const claim = await claimed(store, await started(store, provisionStart({ instanceId: 'i-2' })))
    const request = provisionStart({ instanceId: 'i-3' })
    await started(store, { ...request, operation: synchronous(request.operation) })
    const last = await started(store, provisionStart({ instanceId: 'i-4' }))
    const ids = async (idleMs: number, after?: string) =>
      (await store.idle(idleMs, after)).map(({ operationId }) => operationId)
    assert.deepEqual(await ids(60_000), [])
    assert.deepEqual(await ids(0), [waiting.operationId, last.operationId])
    assert.deepEqual(await ids(0, waiting.operationId), [last.operationId])
    assert.deepEqual(await ids(0, last.operationId), [])
    await store.release(claim)
    assert.deepEqual(await ids(0), [waiting.operationId, claim.operationId, last.operationId])
  })

  test('forgetOperations: only what ended before goes', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    await readyBinding(store)
    const update = await started(store, { operation: operationRecord('update') })
    assert.equal(await store.forgetOperations(60_000), 0)
    assert.equal(
      (await store.latestOperation({ platform: 'cf', instanceId: 'i-1', bindingId: 'b-1' }))?.state,
      'succeeded'
    )
    assert.equal(await store.forgetOperations(-60_000), 2)
    assert.equal(await store.latestOperation({ platform: 'cf', instanceId: 'i-1', bindingId: 'b-1' }), undefined)
    assert.equal((await store.latestOperation({ platform: 'cf', instanceId: 'i-1' }))?.operationId, update.operationId)
    assert.equal((await store.getInstance('i-1'))?.status, 'ready')
    await failed(store, update)
    assert.equal(await store.forgetOperations(-60_000), 1)
    assert.equal(await store.forgetOperations(-60_000), 0)
    assert.equal(await store.getOperation(update.operationId), undefined)
  })

  test('recentOperations: they are the newest of an instance and its bindings, and not internal', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    await readyBinding(store)
    await readyInstance(store, 'i-2')
    await failed(store, await started(store, { operation: operationRecord('update', { internal: true }) }))
    const update = await started(store, { operation: operationRecord('update') })
    const kinds = async (limit: number) => (await store.recentOperations('cf', 'i-1', limit)).map(({ kind }) => kind)
    assert.deepEqual(await kinds(10), ['update', 'bind', 'provision'])
    assert.deepEqual(await kinds(2), ['update', 'bind'])
    assert.deepEqual(startedFields((await store.recentOperations('cf', 'i-1', 1))[0]), fieldsOf(update))
    assert.deepEqual(await store.recentOperations('cf', 'nobody', 5), [])
    await failed(store, update)
  })

  test('listResources: it is every instance and binding of a provider, with its state', async (t) => {
    const store = await opened(t, open)
    const list = async (provider: string) => {
      const found: unknown[] = []
      for await (const { instanceId, bindingId, status, state, ...plan } of store.listResources(provider)) {
        assert.deepEqual([plan.serviceId, plan.planId], ['s-1', 'p-1'])
        assert.deepEqual(plan.parameters, bindingId === undefined ? { size: 1 } : {})
        found.push([instanceId, bindingId, status, state])
      }
      return found
    }
    await readyInstance(store)
    await readyBinding(store)
    const other = await started(store, provisionStart({ instanceId: 'i-2' }, { provider: 'other' }))
    await store.saveState(await claimed(store, other), { name: 'outside' })
    assert.deepEqual(await list('other'), [['i-2', undefined, 'creating', { name: 'outside' }]])
    assert.deepEqual(
      (await list('example')).map((resource) => Array.isArray(resource) && resource.slice(0, 3)),
      [
        ['i-1', undefined, 'ready'],
        ['i-1', 'b-1', 'ready']
      ]
    )
    assert.deepEqual(await list('nobody'), [])
  })

  test('listResources: with plans it is their instances alone, and it leaves bindings out when asked to', async (t) => {
    const store = await opened(t, open)
    for (const [id, planId] of [
      ['i-1', 'p-1'],
      ['i-2', 'p-2'],
      ['i-3', 'p-1'],
      ['i-4', 'p-3']
    ] as const) {
      await readyInstance(store, id, { planId })
    }
    await readyBinding(store)
    const list = async (listing: Listing) => {
      const found: string[] = []
      for await (const one of store.listResources('example', listing)) found.push(one.bindingId ?? one.instanceId)
      return found.sort()
    }
    assert.deepEqual(await list({ plans: ['p-1', 'p-3'] }), ['b-1', 'i-1', 'i-3', 'i-4'])
    assert.deepEqual(await list({ plans: ['p-1'], bindings: false }), ['i-1', 'i-3'])
    assert.deepEqual(await list({ bindings: false }), ['i-1', 'i-2', 'i-3', 'i-4'])
    assert.deepEqual(await list({ plans: [] }), [])
    assert.deepEqual(await list({ plans: ['nowhere'] }), [])
  })
}
