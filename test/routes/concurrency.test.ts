import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bindBody, deleteQuery, ids, provisionBody, testStores } from '../helper/app.ts'
import { ScriptedProvider } from '../helper/scripted-provider.ts'
import {
  ALSO_ASYNC,
  ASYNC,
  accepted,
  answered,
  bindingPath,
  catalogOf,
  concurrencyError,
  credentialsOf,
  instancePath,
  onePlatform,
  planOf,
  refused,
  statusCounts,
  succeeded
} from './support.ts'

const { plans } = ids
const i1 = instancePath('i-1')

function times<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index))
}

for (const testStore of testStores) {
  test(`PUT instance: 40 identical ones at once, on ${testStore}, make one instance; asynchronously one operation`, async (t) => {
    const provider = new ScriptedProvider()
    const catalog = catalogOf([planOf(plans.sync, { mode: 'sync' }), planOf(plans.async, { mode: 'async' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    const sync = await Promise.all(times(40, () => platform.provision('i-1')))
    assert.deepEqual(statusCounts(sync), { 200: 39, 201: 1 })
    for (const reply of sync) answered(reply, reply.statusCode, {})
    assert.deepEqual(provider.calls.splice(0), ['provision'])

    const body = provisionBody(plans.async)
    const replies = await Promise.all(times(40, () => platform.provision('i-2', body, ASYNC)))
    // Whoever comes when it is done already is answered 200.
    const running = replies.filter(({ statusCode }) => statusCode === 202)
    for (const reply of replies) if (reply.statusCode !== 202) answered(reply, 200, {})
    const operations = new Set(running.map((reply) => accepted(reply)))
    assert.equal(operations.size, 1)
    for (const operation of operations) {
      answered(await platform.ended(instancePath('i-2'), operation), 200, succeeded)
    }
    assert.deepEqual(provider.calls, ['provision'])
  })

  test(`PUT instance: 40 identical ones of a slow plan, on ${testStore}, all answer 202 with one operation`, async (t) => {
    const platform = await onePlatform(t, { testStore })
    const body = provisionBody(plans.slow)
    const replies = await Promise.all(times(40, () => platform.provision('i-1', body, ASYNC)))
    assert.equal(new Set(replies.map((reply) => accepted(reply))).size, 1)
  })

  test(`PUT instance, PUT binding: 20 conflicting ones at once, on ${testStore}, have one winner and 19 × 409`, async (t) => {
    const platform = await onePlatform(t, { testStore })
    const put = (index: number) => platform.provision('i-1', provisionBody(plans.sync, { parameters: { index } }))
    const replies = await Promise.all(times(20, put))
    assert.deepEqual(statusCounts(replies), { 201: 1, 409: 19 })
    const winner = replies.findIndex(({ statusCode }) => statusCode === 201)
    for (const reply of replies) answered(reply, reply.statusCode)
    assert.deepEqual(answered(await platform.fetch('i-1'), 200).parameters, { index: winner })

    const bind = (index: number) => platform.bind('i-1', 'b-1', bindBody(plans.sync, { parameters: { index } }))
    const bound = await Promise.all(times(20, bind))
    assert.deepEqual(statusCounts(bound), { 201: 1, 409: 19 })
    const first = bound.findIndex(({ statusCode }) => statusCode === 201)
    assert.deepEqual(answered(await platform.fetchBinding('i-1', 'b-1'), 200).parameters, { index: first })
  })

  test(`PUT binding: 20 identical ones at once, on ${testStore}, give one set of credentials; 20 ids give 20`, async (t) => {
    const provider = new ScriptedProvider({ bind: async (task) => ({ credentials: { of: task.operationId } }) })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'sync' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    answered(await platform.provision('i-1'), 201)
    const same = await Promise.all(times(20, () => platform.bind('i-1', 'b-1')))
    assert.deepEqual(statusCounts(same), { 200: 19, 201: 1 })
    assert.equal(new Set(same.map((reply) => JSON.stringify(credentialsOf(reply, reply.statusCode)))).size, 1)
    assert.deepEqual(provider.calls.splice(0), ['provision', 'bind b-1'])

    const many = await Promise.all(times(20, (index) => platform.bind('i-1', `many-${index}`)))
    assert.equal(new Set(many.map((reply) => JSON.stringify(credentialsOf(reply, 201)))).size, 20)
    const gone = await Promise.all(times(20, (index) => platform.unbind('i-1', `many-${index}`)))
    assert.deepEqual(statusCounts(gone), { 200: 20 })
    credentialsOf(await platform.fetchBinding('i-1', 'b-1'), 200)
  })

  test(`DELETE instance, DELETE binding: 11 at once, on ${testStore}, remove it once`, async (t) => {
    const provider = new ScriptedProvider()
    const catalog = catalogOf([planOf(plans.sync, { mode: 'sync' }), planOf(plans.async, { mode: 'async' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    const onlyDeletes = (replies: Awaited<ReturnType<typeof platform.fetch>>[]) => {
      for (const reply of replies) {
        if (reply.statusCode === 410) refused(reply, 410, /does not exist/)
        else answered(reply, 200, {})
      }
      assert.ok(replies.some(({ statusCode }) => statusCode === 200))
    }
    answered(await platform.provision('i-1'), 201)
    answered(await platform.bind('i-1', 'b-1'), 201)
    onlyDeletes(await Promise.all(times(11, () => platform.unbind('i-1', 'b-1'))))
    onlyDeletes(await Promise.all(times(11, () => platform.deprovision('i-1'))))
    refused(await platform.deprovision('i-1'), 410, /does not exist/)
    assert.deepEqual(provider.calls, ['provision', 'bind b-1', 'unbind b-1', 'deprovision'])

    const created = accepted(await platform.provision('i-2', provisionBody(plans.async), ASYNC))
    answered(await platform.ended(instancePath('i-2'), created), 200, succeeded)
    const query = deleteQuery(plans.async, ALSO_ASYNC)
    const replies = await Promise.all(times(11, () => platform.deprovision('i-2', query)))
    const operations = new Set(replies.filter(({ statusCode }) => statusCode === 202).map((reply) => accepted(reply)))
    assert.equal(operations.size, 1)
    for (const reply of replies) assert.ok([202, 410].includes(reply.statusCode), reply.body)
    for (const operation of operations) {
      answered(await platform.ended(instancePath('i-2'), operation), 200, succeeded)
    }
    assert.equal(provider.calls.filter((call) => call === 'deprovision').length, 2)
  })

  test(`PUT, PATCH, DELETE instance: storms of all of them, on ${testStore}, end consistent`, async (t) => {
    const alive = new Set<string>()
    const provider = new ScriptedProvider({
      provision: async ({ instanceId, signal }) => {
        await new Promise((resolve) => setImmediate(resolve))
        if (!signal.aborted) alive.add(instanceId)
      },
      deprovision: async ({ instanceId }) => {
        await new Promise((resolve) => setImmediate(resolve))
        alive.delete(instanceId)
      }
    })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'either' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    const query = (index: number) => deleteQuery(plans.sync, index % 2 === 0 ? ALSO_ASYNC : '')
    const acts = [
      (index: number) => platform.provision('i-1', provisionBody(), index % 2 === 0 ? ASYNC : ''),
      (index: number) => platform.deprovision('i-1', query(index)),
      (index: number) => platform.bind('i-1', `b-${index % 3}`, bindBody(), index % 2 === 0 ? ASYNC : ''),
      () => platform.provision('i-1', provisionBody(), ''),
      (index: number) => platform.update('i-1', { parameters: { index } }, index % 2 === 0 ? ASYNC : ''),
      (index: number) => platform.unbind('i-1', `b-${index % 3}`, query(index))
    ]
    for (let round = 0; round < 4; round += 1) {
      const replies = await Promise.all(times(30, (index) => acts[(index + round) % acts.length]?.(index)))
      for (const reply of replies) {
        assert.ok(reply)
        const body = answered(reply, reply.statusCode)
        assert.ok([200, 201, 202, 404, 409, 410, 422].includes(reply.statusCode), reply.body)
        if (reply.statusCode === 422) assert.deepEqual(body, concurrencyError)
      }
      const idle = await platform.ended(i1)
      for (const binding of ['b-0', 'b-1', 'b-2']) await platform.ended(bindingPath('i-1', binding))
      answered(idle, 200)
      const there = (await platform.fetch('i-1')).statusCode
      assert.ok(there === 200 || there === 404)
      assert.equal(alive.has('i-1'), there === 200, 'the provider disagrees with the broker')
      const removed = await platform.deprovision('i-1')
      assert.equal(removed.statusCode, there === 200 ? 200 : 410, removed.body)
      refused(await platform.fetch('i-1'), 404, /"i-1"/)
      refused(await platform.fetchBinding('i-1', 'b-0'), 404, /"b-0"/)
      assert.equal(alive.size, 0)
    }
  })
}
