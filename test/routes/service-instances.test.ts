import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Rejected } from '../../src/core/provider.ts'
import { deleteQuery, headers, ids, provisionBody, testStores } from '../helper/app.ts'
import { ScriptedProvider, until } from '../helper/scripted-provider.ts'
import {
  ALSO_ASYNC,
  ASYNC,
  accepted,
  answered,
  asyncRequired,
  bindingPath,
  catalogOf,
  concurrencyError,
  credentialsOf,
  gateFor,
  instancePath,
  onePlatform,
  planOf,
  refused,
  succeeded,
  twoPlatforms
} from './support.ts'

const { plans } = ids
const i1 = instancePath('i-1')

for (const testStore of testStores) {
  test(`PUT instance: identical but for what does not count, on ${testStore}, answers 200; else 409`, async (t) => {
    const platform = await onePlatform(t, { testStore })
    const parameters = { size: 1, nested: { list: [1, { a: 'b' }], text: 'ü' } }
    const body = provisionBody(plans.sync, { parameters, context: { platform: 'cloudfoundry', instance_name: 'a' } })
    answered(await platform.provision('i-1', body), 201, {})

    const reordered = { nested: { text: 'ü', list: [1, { a: 'b' }] }, size: 1 }
    const identical: object[] = [
      body,
      { ...body, context: { platform: 'kubernetes' } },
      provisionBody(plans.sync, { parameters }),
      { ...body, parameters: reordered },
      { ...body, maintenance_info: {} },
      { ...body, 'vendor.example/field': { any: null }, unknown: 1 }
    ]
    for (const same of identical) answered(await platform.provision('i-1', same), 200, {})
    answered(await platform.provision('i-1', body, ASYNC), 200, {})
    const originating = Buffer.from('{"user_id":"somebody"}').toString('base64')
    platform.headers['x-broker-api-originating-identity'] = `cloudfoundry ${originating}`
    answered(await platform.provision('i-1', body), 200, {})

    const different: object[] = [
      { ...body, plan_id: plans.either },
      { ...body, service_id: ids.other, plan_id: plans.other },
      { ...body, organization_guid: 'another' },
      { ...body, space_guid: 'another' },
      { ...body, parameters: { ...parameters, size: 2 } },
      { ...body, parameters: { ...parameters, size: '1' } },
      { ...body, parameters: { ...parameters, nested: { list: [{ a: 'b' }, 1], text: 'ü' } } },
      { ...body, parameters: {} },
      provisionBody(plans.sync)
    ]
    for (const other of different) refused(await platform.provision('i-1', other), 409, /"i-1" exists already/)
    answered(await platform.fetch('i-1'), 200, { service_id: ids.service, plan_id: plans.sync, parameters })

    answered(await platform.provision('i-2', provisionBody(plans.sync)), 201, {})
    answered(await platform.provision('i-2', provisionBody(plans.sync, { parameters: {} })), 200, {})
    answered(await platform.fetch('i-2'), 200, { service_id: ids.service, plan_id: plans.sync })
  })

  test(`PUT instance: parameters named as the methods of objects, on ${testStore}, are identical to themselves`, async (t) => {
    const platform = await onePlatform(t, { testStore })
    for (const name of ['constructor', 'toString', 'valueOf', 'hasOwnProperty', 'toJSON', 'then']) {
      for (const value of ['text', { of: 'object' }]) {
        const id = `${name}-${typeof value}`
        const parameters = { [name]: value, nested: { [name]: value } }
        const body = provisionBody(plans.sync, { parameters })
        answered(await platform.provision(id, body), 201, {})
        answered(await platform.provision(id, body), 200, {})
        assert.deepEqual(answered(await platform.fetch(id), 200).parameters, parameters)
        const other = { ...body, parameters: { [name]: value, nested: { [name]: 'another' } } }
        refused(await platform.provision(id, other), 409, /exists already/)
      }
    }
  })

  test(`PUT instance: numbers at the edge, on ${testStore}, are kept as they are or answered 400`, async (t) => {
    const platform = await onePlatform(t, { testStore })
    for (const [index, number] of ['0.1', '-0.0', '1e300', '5e-324', '9007199254740991', '1e400', '-1e999'].entries()) {
      const payload = JSON.stringify(provisionBody(plans.sync, { parameters: { number: '?' } })).replace('"?"', number)
      const put = () =>
        platform.app.inject({
          method: 'PUT',
          url: instancePath(`i-${index}`),
          headers: { ...headers, 'content-type': 'application/json' },
          payload
        })
      const reply = await put()
      if (reply.statusCode === 400) continue
      answered(reply, 201, {})
      answered(await put(), 200, {})
      const { parameters } = answered(await platform.fetch(`i-${index}`), 200)
      assert.notEqual((parameters as { number: unknown }).number, null, `${number} has become null`)
    }
  })

  test(`PUT instance: running asynchronously, on ${testStore}, answers 202 with the same operation`, async (t) => {
    const platform = await onePlatform(t, { testStore })
    const slow = provisionBody(plans.slow)
    const operation = accepted(await platform.provision('i-1', slow, ASYNC))
    const context = { platform: 'another' }
    assert.equal(accepted(await platform.provision('i-1', { ...slow, context, parameters: {} }, ASYNC)), operation)
    refused(await platform.provision('i-1', provisionBody(plans.sync), ASYNC), 409, /exists already/)
    refused(await platform.provision('i-1', { ...slow, parameters: { a: 1 } }, ASYNC), 409, /exists already/)

    answered(await platform.update('i-1', { parameters: { a: 1 } }, ASYNC), 422, concurrencyError)
    answered(await platform.bind('i-1', 'b-1', { service_id: ids.service, plan_id: plans.slow }, ASYNC), 422, {
      ...concurrencyError
    })
    refused(await platform.fetch('i-1'), 404, /"i-1"/)
    assert.equal(answered(await platform.poll(i1, operation), 200).state, 'in progress')
  })

  test(`DELETE instance: during an asynchronous create, on ${testStore}, halts it and leaves nothing`, async (t) => {
    const provider = new ScriptedProvider({
      provision: ({ signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
    })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'either' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    // With an asynchronous delete and with a synchronous one; the same id comes again after each.
    for (const query of [ALSO_ASYNC, '']) {
      const create = accepted(await platform.provision('i-1', provisionBody(), ASYNC))
      await until('the provider is at work', () => provider.calls.at(-1) === 'provision')
      const reply = await platform.deprovision('i-1', deleteQuery(plans.sync, query))
      if (query === '') answered(reply, 200, {})
      else {
        const remove = accepted(reply)
        assert.notEqual(remove, create)
        answered(await platform.ended(i1, remove), 200, succeeded)
      }
      const halted = answered(await platform.poll(i1, create), 200)
      assert.equal(halted.state, 'failed')
      assert.ok(halted.description !== '')
      assert.deepEqual(provider.calls.splice(0), ['provision', 'deprovision'])
      refused(await platform.fetch('i-1'), 404, /"i-1"/)
      refused(await platform.deprovision('i-1'), 410, /does not exist/)
    }
  })

  test(`DELETE instance: during a synchronous create, on ${testStore}, answers 200 and the create fails`, async (t) => {
    const provider = new ScriptedProvider({
      provision: ({ signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
    })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'sync' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    const create = platform.provision('i-1')
    await until('the provider is at work', () => provider.calls.at(-1) === 'provision')
    answered(await platform.deprovision('i-1'), 200, {})
    answered(await create, 422, concurrencyError)
    assert.deepEqual(provider.calls, ['provision', 'deprovision'])
    refused(await platform.fetch('i-1'), 404, /"i-1"/)
    refused(await platform.deprovision('i-1'), 410, /does not exist/)
  })

  test(`PUT instance: that failed, on ${testStore}, is failed in last_operation, 404, repeatable and removable`, async (t) => {
    let failing = true
    const provider = new ScriptedProvider({
      provision: async () => {
        if (failing) throw new Rejected(500, 'No room is left.')
      }
    })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'either' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })

    const first = accepted(await platform.provision('i-1', provisionBody(), ASYNC))
    answered(await platform.ended(i1, first), 200, { state: 'failed', description: 'No room is left.' })
    answered(await platform.poll(i1), 200, { state: 'failed', description: 'No room is left.' })
    refused(await platform.fetch('i-1'), 404, /"i-1"/)
    refused(await platform.update('i-1', { parameters: { a: 1 } }), 404, /"i-1"/)
    refused(await platform.bind('i-1', 'b-1'), 404, /"i-1"/)
    refused(await platform.provision('i-1', provisionBody(plans.sync, { space_guid: 'x' }), ASYNC), 409, /exists/)

    failing = false
    const second = accepted(await platform.provision('i-1', provisionBody(), ASYNC))
    assert.notEqual(second, first)
    answered(await platform.ended(i1, second), 200, succeeded)
    assert.equal(answered(await platform.poll(i1, first), 200).state, 'failed')
    answered(await platform.fetch('i-1'), 200, { service_id: ids.service, plan_id: plans.sync })

    failing = true
    answered(
      await platform.ended(instancePath('i-2'), accepted(await platform.provision('i-2', provisionBody(), ASYNC))),
      200
    )
    answered(await platform.deprovision('i-2'), 200, {})
    refused(await platform.deprovision('i-2'), 410, /does not exist/)

    // Synchronously the platform believes that nothing is there, and so it is.
    refused(await platform.provision('i-3'), 500, /No room is left/)
    refused(await platform.fetch('i-3'), 404, /"i-3"/)
    failing = false
    answered(await platform.provision('i-3', provisionBody(plans.sync, { space_guid: 'another' })), 201, {})
  })

  test(`PATCH instance: on ${testStore} merges parameters, keeps what is not named, and is atomic`, async (t) => {
    const catalog = catalogOf([
      planOf(plans.sync, { mode: 'sync' }),
      planOf(plans.either, { mode: 'either', options: { delay_ms: 50 } }),
      planOf(plans.failing, { mode: 'either', options: { fail_on: ['update'] } }),
      planOf('bolted', { mode: 'sync' }, { plan_updateable: false })
    ])
    const platform = await onePlatform(t, { testStore, catalog })
    const is = async (plan_id: string, parameters?: object) =>
      answered(await platform.fetch('i-1'), 200, {
        service_id: ids.service,
        plan_id,
        ...(parameters === undefined ? {} : { parameters })
      })
    answered(await platform.provision('i-1', provisionBody(plans.sync, { parameters: { a: 1, b: { c: 2 } } })), 201)

    answered(await platform.update('i-1', { parameters: { a: 3, d: 4 } }), 200, {})
    await is(plans.sync, { a: 3, b: { c: 2 }, d: 4 })
    answered(await platform.update('i-1', { parameters: { b: { e: 5 } } }), 200, {})
    await is(plans.sync, { a: 3, b: { e: 5 }, d: 4 })

    // What Cloud Controller sends when nothing is to change.
    const unchanged = {
      plan_id: plans.sync,
      parameters: {},
      context: { platform: 'cloudfoundry' },
      previous_values: { plan_id: plans.sync, service_id: ids.service, maintenance_info: null }
    }
    answered(await platform.update('i-1', unchanged, ASYNC), 200, {})
    answered(await platform.update('i-1', {}), 200, {})
    await is(plans.sync, { a: 3, b: { e: 5 }, d: 4 })

    refused(await platform.update('i-1', { plan_id: plans.failing, parameters: { a: 9 } }), 500, /fails on update/)
    await is(plans.sync, { a: 3, b: { e: 5 }, d: 4 })
    const failing = accepted(await platform.update('i-1', { plan_id: plans.failing, parameters: { a: 9 } }, ASYNC))
    const failed = answered(await platform.ended(i1, failing), 200)
    assert.equal(failed.state, 'failed')
    assert.match(String(failed.description), /fails on update/)
    await is(plans.sync, { a: 3, b: { e: 5 }, d: 4 })

    const moving = accepted(await platform.update('i-1', { plan_id: plans.either, parameters: { f: 6 } }, ASYNC))
    answered(await platform.ended(i1, moving), 200, succeeded)
    await is(plans.either, { a: 3, b: { e: 5 }, d: 4, f: 6 })
    answered(await platform.update('i-1', { plan_id: 'bolted' }), 200, {})
    await is('bolted', { a: 3, b: { e: 5 }, d: 4, f: 6 })

    const locked = answered(await platform.update('i-1', { plan_id: plans.sync }), 422)
    assert.equal(locked.error, undefined)
    assert.match(String(locked.description), /"bolted" cannot be changed/)
    assert.deepEqual([locked.instance_usable, locked.update_repeatable], [true, false])
    answered(await platform.update('i-1', { plan_id: 'bolted', parameters: { a: 0 } }), 200, {})
    await is('bolted', { a: 0, b: { e: 5 }, d: 4, f: 6 })
  })

  test(`PATCH instance: running, on ${testStore}, answers 202 with the same operation, else ConcurrencyError`, async (t) => {
    const { open, opened } = gateFor(t)
    const provider = new ScriptedProvider({ update: () => opened })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'either' }), planOf(plans.either, { mode: 'either' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    answered(await platform.provision('i-1', provisionBody(plans.sync, { parameters: { a: 1 } })), 201)
    const change = { plan_id: plans.either, parameters: { a: 2 }, context: { name: 'x' } }
    const operation = accepted(await platform.update('i-1', change, ASYNC))
    assert.equal(accepted(await platform.update('i-1', { ...change, context: { name: 'y' } }, ASYNC)), operation)

    answered(await platform.update('i-1', { ...change, parameters: { a: 3 } }, ASYNC), 422, concurrencyError)
    answered(await platform.fetch('i-1'), 422, concurrencyError)
    answered(await platform.provision('i-1', provisionBody(plans.sync, { parameters: { a: 1 } }), ASYNC), 422, {
      ...concurrencyError
    })
    answered(await platform.bind('i-1', 'b-1'), 422, concurrencyError)
    answered(await platform.poll(i1, operation), 200)
    open()
    answered(await platform.ended(i1, operation), 200, succeeded)
    answered(await platform.fetch('i-1'), 200, {
      service_id: ids.service,
      plan_id: plans.either,
      parameters: { a: 2 }
    })
    assert.deepEqual(provider.calls, ['provision', 'update'])
  })

  test(`DELETE instance: with bindings left, on ${testStore}, removes them too; running it answers 202 again`, async (t) => {
    const { open, opened } = gateFor(t)
    const provider = new ScriptedProvider({ unbind: () => opened })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'either' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    answered(await platform.provision('i-1'), 201)
    credentialsOf(await platform.bind('i-1', 'b-1'), 201)
    credentialsOf(await platform.bind('i-1', 'b-2'), 201)
    const query = deleteQuery(plans.sync, ALSO_ASYNC)
    const operation = accepted(await platform.deprovision('i-1', query))
    assert.equal(accepted(await platform.deprovision('i-1', query)), operation)
    answered(await platform.provision('i-1', provisionBody(), ASYNC), 422, concurrencyError)
    answered(await platform.unbind('i-1', 'b-2', query), 422, concurrencyError)
    open()
    answered(await platform.ended(i1, operation), 200, succeeded)
    assert.deepEqual(provider.calls.slice(3), ['unbind b-1', 'unbind b-2', 'deprovision'])
    for (const binding of ['b-1', 'b-2']) {
      refused(await platform.fetchBinding('i-1', binding), 404, /"b-/)
      refused(await platform.unbind('i-1', binding), 410, /does not exist/)
    }
    refused(await platform.deprovision('i-1', query), 410, /does not exist/)
  })

  test(`PUT instance: of another platform, on ${testStore}, answers 409; to the other it does not exist`, async (t) => {
    const [one, two] = await twoPlatforms(t, { testStore })
    answered(await one.provision('i-1', provisionBody(plans.either)), 201)
    credentialsOf(await one.bind('i-1', 'b-1', { service_id: ids.service, plan_id: plans.either }), 201)
    const query = deleteQuery(plans.either)

    refused(await two.fetch('i-1'), 404, /"i-1"/)
    refused(await two.provision('i-1', provisionBody(plans.either)), 409, /"i-1" exists already/)
    refused(await two.provision('i-1', provisionBody(plans.either), ASYNC), 409, /"i-1" exists already/)
    refused(await two.update('i-1', { parameters: { a: 1 } }), 404, /"i-1"/)
    refused(await two.bind('i-1', 'b-2', { service_id: ids.service, plan_id: plans.either }), 404, /"i-1"/)
    refused(await two.bind('i-1', 'b-1', { service_id: ids.service, plan_id: plans.either }), 404, /"i-1"/)
    refused(await two.fetchBinding('i-1', 'b-1'), 404, /"b-1"/)
    refused(await two.unbind('i-1', 'b-1', query), 410, /does not exist/)
    refused(await two.deprovision('i-1', query), 410, /does not exist/)
    refused(await two.poll(i1), 404, /no operation/)
    refused(await two.poll(bindingPath('i-1', 'b-1')), 404, /no operation/)

    const operation = accepted(await one.update('i-1', { parameters: { a: 1 } }, ASYNC))
    refused(await two.poll(i1, operation), 404, /no operation/)
    answered(await one.ended(i1, operation), 200, succeeded)
    answered(await one.deprovision('i-1', query), 200, {})
    answered(await two.provision('i-1', provisionBody(plans.sync)), 201, {})
    refused(await one.fetch('i-1'), 404, /"i-1"/)
    refused(await one.provision('i-1', provisionBody(plans.either)), 409, /"i-1" exists already/)
    refused(await one.deprovision('i-1', query), 410, /does not exist/)
    // As any token that it was never given.
    answered(await two.poll(i1, operation), 200, succeeded)
    answered(await one.poll(i1), 200, succeeded)
    answered(await two.fetch('i-1'), 200, { service_id: ids.service, plan_id: plans.sync })
  })

  test(`PUT instance: longer than the deadline, on ${testStore}, goes on where the platform can poll, else 504`, async (t) => {
    const { open, opened } = gateFor(t)
    const provider = new ScriptedProvider({
      provision: async ({ saveState, signal, instanceId }) => {
        await saveState({ name: instanceId })
        await new Promise<void>((resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason), { once: true })
          void opened.then(resolve)
        })
      }
    })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'sync' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider], syncDeadlineMs: 250 })

    const late = await platform.provision('i-1')
    refused(late, 504, /0\.25 s/)
    assert.match(String(late.headers['retry-after']), /^\d+$/)
    refused(await platform.fetch('i-1'), 404, /"i-1"/)
    await until('it is undone', () => provider.calls.includes('deprovision'))
    await until('it is gone', async () => (await platform.deprovision('i-1')).statusCode === 410)

    const operation = accepted(await platform.provision('i-2', provisionBody(), ASYNC))
    assert.equal(accepted(await platform.provision('i-2', provisionBody(), ASYNC)), operation)
    open()
    answered(await platform.ended(instancePath('i-2'), operation), 200, succeeded)
    answered(await platform.fetch('i-2'), 200, { service_id: ids.service, plan_id: plans.sync })
  })
}

test('PUT instance: mode async answers 202, and 422 AsyncRequired without accepts_incomplete=true', async (t) => {
  const platform = await onePlatform(t)
  const body = provisionBody(plans.async)
  for (const query of ['', '?accepts_incomplete=false']) {
    answered(await platform.provision('i-1', body, query), 422, asyncRequired)
  }
  refused(await platform.poll(i1), 404, /no operation/)
  answered(await platform.ended(i1, accepted(await platform.provision('i-1', body, ASYNC))), 200, succeeded)
  answered(await platform.update('i-1', { parameters: { a: 1 } }), 422, asyncRequired)
  answered(await platform.deprovision('i-1', deleteQuery(plans.async)), 422, asyncRequired)
  answered(await platform.fetch('i-1'), 200, { service_id: ids.service, plan_id: plans.async })
})

test('PATCH instance: to a plan of mode async without accepts_incomplete answers 422 AsyncRequired', async (t) => {
  const platform = await onePlatform(t)
  answered(await platform.provision('i-1'), 201)
  answered(await platform.update('i-1', { plan_id: plans.async }), 422, asyncRequired)
  const operation = accepted(await platform.update('i-1', { plan_id: plans.async }, ASYNC))
  answered(await platform.ended(i1, operation), 200, succeeded)
  // From here on the plan asked for decides: back to the synchronous one.
  answered(await platform.update('i-1', { plan_id: plans.sync }), 200, {})
})

test('PUT instance: mode sync ignores accepts_incomplete and answers 201', async (t) => {
  const platform = await onePlatform(t)
  answered(await platform.provision('i-1', provisionBody(), ASYNC), 201, {})
  answered(await platform.update('i-1', { parameters: { a: 1 } }, ASYNC), 200, {})
  answered(await platform.deprovision('i-1', deleteQuery(plans.sync, ALSO_ASYNC)), 200, {})
})

test('PUT instance: identical and synchronous waits for the first and answers 200', async (t) => {
  const { open, opened } = gateFor(t)
  const provider = new ScriptedProvider({ provision: () => opened })
  const catalog = catalogOf([planOf(plans.sync, { mode: 'sync' })])
  const platform = await onePlatform(t, { catalog, providers: [provider] })
  const first = platform.provision('i-1')
  await until('the provider is at work', () => provider.calls.length === 1)
  const second = platform.provision('i-1')
  open()
  answered(await first, 201, {})
  answered(await second, 200, {})
  assert.deepEqual(provider.calls, ['provision'])
})

test('PUT instance: maintenance_info of another version answers 422 MaintenanceInfoConflict; `{}` means absent', async (t) => {
  const versioned = planOf('versioned', {}, { maintenance_info: { version: '2.1.1+abc', description: 'New' } })
  const platform = await onePlatform(t, { catalog: catalogOf([versioned, planOf(plans.sync)]) })
  const conflict = {
    error: 'MaintenanceInfoConflict',
    description: 'The maintenance information for the requested service plan has changed.'
  }
  const put = (plan: string, maintenance_info: object) =>
    platform.provision('i-1', provisionBody(plan, { maintenance_info }))
  answered(await put('versioned', { version: '2.1.0' }), 422, conflict)
  answered(await put(plans.sync, { version: '2.1.1+abc' }), 422, conflict)
  refused(await platform.fetch('i-1'), 404, /"i-1"/)
  // Cloud Controller sends the whole object, its description included.
  answered(await put('versioned', { version: '2.1.1+abc', description: 'New' }), 201, {})
  answered(await put('versioned', {}), 200, {})
  const fetched = { service_id: ids.service, plan_id: 'versioned', maintenance_info: { version: '2.1.1+abc' } }
  answered(await platform.fetch('i-1'), 200, fetched)
  answered(await platform.update('i-1', { maintenance_info: { version: '3.0.0' } }), 422, conflict)
  answered(await platform.update('i-1', { plan_id: plans.sync, maintenance_info: { version: '2.1.1+abc' } }), 422, {
    ...conflict
  })
  answered(await platform.fetch('i-1'), 200, fetched)
  answered(await platform.update('i-1', { maintenance_info: {} }), 200, {})
  answered(await platform.update('i-1', { plan_id: plans.sync, maintenance_info: {} }), 200, {})
  answered(await platform.fetch('i-1'), 200, { service_id: ids.service, plan_id: plans.sync })
  answered(await platform.update('i-1', { plan_id: 'versioned' }), 200, {})
  answered(await platform.fetch('i-1'), 200, fetched)
})

test('PATCH instance: only context is kept where allow_context_updates is, and never asks the provider', async (t) => {
  for (const allowed of [true, false]) {
    const provider = new ScriptedProvider()
    const catalog = catalogOf([planOf(plans.sync, { mode: 'sync' })], { allow_context_updates: allowed })
    const platform = await onePlatform(t, { catalog, providers: [provider] })
    answered(await platform.provision('i-1', provisionBody(plans.sync, { context: { name: 'old' } })), 201)
    answered(await platform.update('i-1', { context: { name: 'new' } }), 200, {})
    answered(await platform.update('i-1', { parameters: { a: 1 } }), 200, {})
    assert.deepEqual(provider.calls, ['provision', 'update'])
    assert.deepEqual(provider.tasks.at(-1)?.context, { name: allowed ? 'new' : 'old' })
  }
})

test('PATCH instance: of a service without update answers 422', async (t) => {
  const { update: _none, ...plain } = new ScriptedProvider()
  const catalog = catalogOf([planOf(plans.sync)], { plan_updateable: false })
  const platform = await onePlatform(t, { catalog, providers: [{ ...plain, name: 'example' }] })
  answered(await platform.provision('i-1'), 201)
  const refusal = answered(await platform.update('i-1', { parameters: { a: 1 } }), 422)
  assert.match(String(refusal.description), /does not support updates/)
  assert.equal(refusal.error, undefined)
})

test('GET instance: where instances are not retrievable answers 404', async (t) => {
  const catalog = catalogOf([planOf(plans.sync)], { instances_retrievable: false })
  const platform = await onePlatform(t, { catalog })
  answered(await platform.provision('i-1'), 201)
  refused(await platform.fetch('i-1'), 404, /does not let its service instances be fetched/)
})

test('GET instance: hints in the query, even wrong ones, answers 200', async (t) => {
  const platform = await onePlatform(t)
  answered(await platform.provision('i-1'), 201)
  answered(await platform.get(`${i1}?service_id=stale&plan_id=stale`), 200)
})

test('PUT instance: dashboard_url and metadata are in 201, 200 and GET, and absent otherwise', async (t) => {
  const metadata = { labels: { tier: 'gold' }, attributes: { size: 1 } }
  const reply = { dashboard_url: 'https://example.com/i-1', metadata }
  const provider = new ScriptedProvider({ provision: async () => ({ ...reply, state: { secret: 'kept to itself' } }) })
  const platform = await onePlatform(t, { catalog: catalogOf([planOf(plans.sync)]), providers: [provider] })
  answered(await platform.provision('i-1'), 201, reply)
  answered(await platform.provision('i-1'), 200, reply)
  answered(await platform.update('i-1', { parameters: { a: 1 } }), 200)
  const fetched = answered(await platform.fetch('i-1'), 200)
  assert.deepEqual(fetched, { service_id: ids.service, plan_id: plans.sync, ...reply, parameters: { a: 1 } })
})

test('DELETE instance: a stale plan_id is accepted, another service_id answers 400', async (t) => {
  const platform = await onePlatform(t)
  answered(await platform.provision('i-1'), 201)
  for (const service of [ids.other, 'unknown']) {
    refused(
      await platform.deprovision('i-1', `?service_id=${service}&plan_id=${plans.sync}`),
      400,
      new RegExp(`not of the service "${service}"`)
    )
  }
  for (const query of ['', `?service_id=${ids.service}`, `?plan_id=${plans.sync}`, '?service_id=&plan_id=']) {
    refused(await platform.deprovision('i-1', query), 400, /"(service_id|plan_id)" is required/)
  }
  answered(await platform.fetch('i-1'), 200)
  answered(await platform.deprovision('i-1', deleteQuery('a-plan-that-is-gone')), 200, {})
  refused(await platform.fetch('i-1'), 404, /"i-1"/)
})

test('DELETE instance: ids that need form encoding (a space is +) answers 200', async (t) => {
  const { services } = catalogOf([planOf('plan+& one')], { id: 'service ü 1' })
  const platform = await onePlatform(t, { catalog: { services } })
  const body = provisionBody('plan+& one', { service_id: 'service ü 1' })
  answered(await platform.provision('an id/with ü', body), 201)
  answered(await platform.fetch('an id/with ü'), 200, { service_id: 'service ü 1', plan_id: 'plan+& one' })
  const query = new URLSearchParams({ service_id: 'service ü 1', plan_id: 'plan+& one' })
  assert.match(String(query), /\+/)
  answered(await platform.deprovision('an id/with ü', `?${query}`), 200, {})
})

test('PUT, PATCH, DELETE instance: the order of refusals', async (t) => {
  const platform = await onePlatform(t)
  const { app } = platform
  const unknown = provisionBody('unknown')

  // 401 before 412, 412 before 400.
  const bare = await app.inject({ method: 'PUT', url: i1, payload: unknown })
  answered(bare, 401)
  const { authorization } = headers
  for (const version of [{}, { 'x-broker-api-version': '' }]) {
    answered(
      await app.inject({ method: 'PUT', url: i1, headers: { authorization, ...version }, payload: unknown }),
      412
    )
  }
  answered(await app.inject({ method: 'PUT', url: i1, headers: { authorization }, payload: 'not json' }), 412)

  // 400 for unknown ids before 404, 409, 410 and AsyncRequired.
  refused(await platform.provision('i-1', unknown), 400, /no plan "unknown"/)
  refused(await platform.update('i-1', { service_id: 'unknown' }), 400, /no service offering "unknown"/)
  refused(await platform.update('i-1', { plan_id: 'unknown' }), 400, /no plan "unknown"/)
  refused(await platform.deprovision('i-1', ''), 400, /"service_id" is required/)
  refused(await platform.deprovision('i-1', deleteQuery('unknown')), 400, /no plan "unknown"/)
  refused(await platform.deprovision('i-1', '?service_id=unknown&plan_id=unknown'), 400, /no service offering/)
  refused(await platform.deprovision('i-1', deleteQuery(plans.other)), 400, /no plan/)

  // 404, not 410, on PATCH and bind; 410 on DELETE.
  refused(await platform.update('i-1', { parameters: {} }), 404, /"i-1"/)
  refused(await platform.bind('i-1', 'b-1'), 404, /"i-1"/)
  refused(await platform.deprovision('i-1'), 410, /does not exist/)

  // AsyncRequired before 410, and before 409.
  answered(await platform.deprovision('i-1', deleteQuery(plans.async)), 422, asyncRequired)
  answered(await platform.provision('i-1'), 201)
  answered(await platform.provision('i-1', provisionBody(plans.async)), 422, asyncRequired)
  refused(await platform.provision('i-1', unknown), 400, /no plan "unknown"/)
  refused(await platform.update('i-1', { plan_id: plans.other }), 400, /no plan/)
  refused(
    await platform.update('i-1', { service_id: ids.other, plan_id: plans.other }),
    400,
    /not of the service "service-2"/
  )
  answered(await platform.fetch('i-1'), 200, { service_id: ids.service, plan_id: plans.sync })
})

test('DELETE instance: again on an async-only plan without accepts_incomplete answers 422 before 410', async (t) => {
  const platform = await onePlatform(t)
  const { provision, deprovision } = platform
  const query = deleteQuery(plans.async)
  answered(
    await platform.ended(i1, accepted(await provision('i-1', provisionBody(plans.async), ASYNC))),
    200,
    succeeded
  )
  answered(await platform.ended(i1, accepted(await deprovision('i-1', query + ALSO_ASYNC))), 200, succeeded)
  refused(await deprovision('i-1', query + ALSO_ASYNC), 410, /does not exist/)
  answered(await deprovision('i-1', query), 422, asyncRequired)
})

test('PUT instance: parameters that break the schema of the plan answers 400 and makes nothing', async (t) => {
  const parameters = {
    $schema: 'http://json-schema.org/draft-04/schema#',
    type: 'object',
    properties: { size: { type: 'integer', minimum: 1 } },
    additionalProperties: false
  }
  const schemas = { service_instance: { create: { parameters }, update: { parameters } } }
  const platform = await onePlatform(t, { catalog: catalogOf([planOf(plans.sync, {}, { schemas })]) })
  for (const wrong of [{ size: 0 }, { size: '1' }, { size: null }, { other: 1 }]) {
    refused(await platform.provision('i-1', provisionBody(plans.sync, { parameters: wrong })), 400, /size|other/)
  }
  refused(await platform.fetch('i-1'), 404, /"i-1"/)
  answered(await platform.provision('i-1', provisionBody(plans.sync, { parameters: { size: 1 } })), 201)
  refused(await platform.update('i-1', { parameters: { size: 0 } }), 400, /size/)
  assert.deepEqual(answered(await platform.fetch('i-1'), 200).parameters, { size: 1 })
  answered(await platform.provision('i-2'), 201, {})
})

test('PUT instance: again after a delete makes a new one', async (t) => {
  const platform = await onePlatform(t)
  for (const parameters of [{ a: 1 }, { b: 2 }]) {
    answered(await platform.provision('i-1', provisionBody(plans.sync, { parameters })), 201, {})
    credentialsOf(await platform.bind('i-1', 'b-1'), 201)
    answered(await platform.deprovision('i-1'), 200, {})
  }
  answered(await platform.provision('i-1'), 201)
  refused(await platform.fetchBinding('i-1', 'b-1'), 404, /"b-1"/)
})
