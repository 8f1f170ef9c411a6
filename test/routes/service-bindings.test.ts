import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JsonObject } from '../../schemas/common.ts'
import { Rejected } from '../../src/core/provider.ts'
import { bindBody, deleteQuery, ids, provisionBody, testStores } from '../helper/app.ts'
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
  onePlatform,
  planOf,
  refused,
  requiresApp,
  succeeded
} from './support.ts'

const { plans } = ids
const b1 = bindingPath('i-1', 'b-1')

for (const testStore of testStores) {
  test(`PUT binding: identical but for what does not count, on ${testStore}, answers 200; else 409`, async (t) => {
    const platform = await onePlatform(t, { testStore })
    answered(await platform.provision('i-1'), 201)
    const parameters = { role: 'reader', nested: { list: [1, 2] } }
    const bind_resource = { app_guid: 'app', route: 'example.com' }
    const body = bindBody(plans.sync, { parameters, bind_resource, context: { platform: 'cloudfoundry' } })
    const first = credentialsOf(await platform.bind('i-1', 'b-1', body), 201)

    const identical: object[] = [
      body,
      { ...body, context: { platform: 'kubernetes' } },
      { ...body, app_guid: 'app' },
      { ...body, parameters: { nested: { list: [1, 2] }, role: 'reader' } },
      { ...body, bind_resource: { ...bind_resource, 'vendor.example/field': 1 }, unknown: null }
    ]
    for (const same of identical) {
      assert.deepEqual(credentialsOf(await platform.bind('i-1', 'b-1', same), 200), first)
    }
    const different: object[] = [
      { ...body, parameters: { ...parameters, role: 'writer' } },
      { ...body, parameters: {} },
      { ...body, bind_resource: { ...bind_resource, app_guid: 'another' } },
      { ...body, bind_resource: { app_guid: 'app' } },
      { ...body, bind_resource: { ...bind_resource, route: 'another.com' } },
      // 409 for an id that is taken comes before "not the instance's service or plan".
      { ...body, plan_id: plans.either },
      { ...body, service_id: ids.other, plan_id: plans.other },
      { ...body, predecessor_binding_id: 'b-1' }
    ]
    for (const other of different) {
      refused(await platform.bind('i-1', 'b-1', other), 409, /"b-1" exists already/)
    }
    answered(await platform.fetchBinding('i-1', 'b-1'), 200, { credentials: first, parameters })

    const second = credentialsOf(await platform.bind('i-1', 'b-2'), 201)
    assert.notDeepEqual(second, first)
    assert.deepEqual(credentialsOf(await platform.bind('i-1', 'b-2', bindBody(plans.sync, { parameters: {} })), 200), {
      ...second
    })
    answered(await platform.fetchBinding('i-1', 'b-2'), 200, { credentials: second })
    // The same binding id of another instance is another binding.
    answered(await platform.provision('i-2'), 201)
    assert.notDeepEqual(credentialsOf(await platform.bind('i-2', 'b-1', body), 201), first)
    answered(await platform.unbind('i-2', 'b-1'), 200, {})
    assert.deepEqual(credentialsOf(await platform.bind('i-1', 'b-1', body), 200), first)
  })

  test(`PUT binding: asynchronously, on ${testStore}, answers 202 without credentials, which a GET then has`, async (t) => {
    const { open, opened } = gateFor(t)
    const provider = new ScriptedProvider({ bind: () => opened })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'either' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    answered(await platform.provision('i-1'), 201)
    const operation = accepted(await platform.bind('i-1', 'b-1', bindBody(), ASYNC))
    assert.equal(accepted(await platform.bind('i-1', 'b-1', bindBody(plans.sync, { context: {} }), ASYNC)), operation)
    refused(
      await platform.bind('i-1', 'b-1', bindBody(plans.sync, { parameters: { a: 1 } }), ASYNC),
      409,
      /exists already/
    )
    refused(await platform.fetchBinding('i-1', 'b-1'), 404, /"b-1"/)
    answered(await platform.update('i-1', { parameters: { a: 1 } }, ASYNC), 422, concurrencyError)
    answered(await platform.deprovision('i-1', deleteQuery(plans.sync, ALSO_ASYNC)), 422, concurrencyError)
    const progress = await platform.poll(b1, operation)
    assert.equal(answered(progress, 200).state, 'in progress')
    assert.match(String(progress.headers['retry-after']), /^[1-9]\d*$/)
    open()
    answered(await platform.ended(b1, operation), 200, succeeded)
    const bound = credentialsOf(await platform.fetchBinding('i-1', 'b-1'), 200)
    assert.deepEqual(credentialsOf(await platform.bind('i-1', 'b-1', bindBody(), ASYNC), 200), bound)
  })

  test(`DELETE binding: during a create, on ${testStore}, halts it and leaves nothing`, async (t) => {
    const provider = new ScriptedProvider({
      bind: ({ signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
    })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'either' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    answered(await platform.provision('i-1'), 201)
    provider.calls.length = 0
    for (const query of [ALSO_ASYNC, '']) {
      const create = accepted(await platform.bind('i-1', 'b-1', bindBody(), ASYNC))
      await until('the provider is at work', () => provider.calls.at(-1) === 'bind b-1')
      const reply = await platform.unbind('i-1', 'b-1', deleteQuery(plans.sync, query))
      if (query === '') answered(reply, 200, {})
      else answered(await platform.ended(b1, accepted(reply)), 200, succeeded)
      assert.equal(answered(await platform.poll(b1, create), 200).state, 'failed')
      assert.deepEqual(provider.calls.splice(0), ['bind b-1', 'unbind b-1'])
      refused(await platform.fetchBinding('i-1', 'b-1'), 404, /"b-1"/)
      refused(await platform.unbind('i-1', 'b-1'), 410, /does not exist/)
    }
    const create = platform.bind('i-1', 'b-1')
    await until('the provider is at work', () => provider.calls.at(-1) === 'bind b-1')
    answered(await platform.unbind('i-1', 'b-1'), 200, {})
    answered(await create, 422, concurrencyError)
    refused(await platform.unbind('i-1', 'b-1'), 410, /does not exist/)
    answered(await platform.fetch('i-1'), 200)
  })

  test(`PUT binding: that failed, on ${testStore}, is failed in last_operation, 404, repeatable and removable`, async (t) => {
    let failing = true
    const provider = new ScriptedProvider({
      bind: async () => {
        if (failing) throw new Rejected(500, 'No user can be made.')
      }
    })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'either' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    answered(await platform.provision('i-1'), 201)
    for (const binding of ['b-1', 'b-2']) {
      const operation = accepted(await platform.bind('i-1', binding, bindBody(), ASYNC))
      answered(await platform.ended(bindingPath('i-1', binding), operation), 200, {
        state: 'failed',
        description: 'No user can be made.'
      })
      refused(await platform.fetchBinding('i-1', binding), 404, /"b-/)
    }
    refused(await platform.bind('i-1', 'b-3'), 500, /No user can be made/)
    refused(await platform.fetchBinding('i-1', 'b-3'), 404, /"b-3"/)
    answered(await platform.unbind('i-1', 'b-2'), 200, {})
    refused(await platform.unbind('i-1', 'b-2'), 410, /does not exist/)
    failing = false
    credentialsOf(await platform.bind('i-1', 'b-1'), 201)
    credentialsOf(await platform.bind('i-1', 'b-1'), 200)
    credentialsOf(await platform.bind('i-1', 'b-3', bindBody(plans.sync, { parameters: { a: 1 } })), 201)
  })

  test(`PUT binding: a rotation, on ${testStore}, takes over parameters and leaves both valid`, async (t) => {
    const provider = new ScriptedProvider({ bind: async (task) => ({ credentials: { of: task.operationId } }) })
    const catalog = catalogOf([
      planOf(plans.sync, { mode: 'sync', requires_app: true }, { binding_rotatable: true }),
      planOf(plans.either, { mode: 'sync' })
    ])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    answered(await platform.provision('i-1'), 201)
    answered(await platform.provision('i-2'), 201)
    answered(await platform.provision('i-3', provisionBody(plans.either)), 201)
    const made = bindBody(plans.sync, { parameters: { role: 'reader' }, bind_resource: { app_guid: 'app' } })
    const first = credentialsOf(await platform.bind('i-1', 'b-1', made), 201)
    answered(await platform.bind('i-3', 'b-3', bindBody(plans.either)), 201)

    const rotation = { predecessor_binding_id: 'b-1' }
    const second = credentialsOf(await platform.bind('i-1', 'b-2', rotation), 201)
    assert.notDeepEqual(second, first)
    const task = provider.tasks.at(-1)
    assert.ok(task !== undefined && 'predecessor' in task && 'parameters' in task)
    assert.deepEqual([task.parameters, task.appGuid], [{ role: 'reader' }, 'app'])
    assert.equal(task.predecessor?.bindingId, 'b-1')
    answered(await platform.fetchBinding('i-1', 'b-1'), 200, { credentials: first, parameters: { role: 'reader' } })
    answered(await platform.fetchBinding('i-1', 'b-2'), 200, { credentials: second, parameters: { role: 'reader' } })

    // Repeated it is identical, with the ids and a context that Cloud Controller sends along, too.
    for (const same of [rotation, { ...bindBody(), ...rotation, context: { a: 1 } }]) {
      assert.deepEqual(credentialsOf(await platform.bind('i-1', 'b-2', same), 200), second)
    }
    refused(await platform.bind('i-1', 'b-2', made), 409, /"b-2" exists already/)
    refused(await platform.bind('i-1', 'b-4', { predecessor_binding_id: 'unknown' }), 400, /predecessor "unknown"/)
    refused(await platform.bind('i-2', 'b-4', rotation), 400, /predecessor "b-1"/)
    refused(await platform.bind('i-3', 'b-4', { predecessor_binding_id: 'b-3' }), 400, /does not let .* be rotated/)
    refused(await platform.bind('unknown', 'b-4', rotation), 404, /"unknown"/)
    refused(await platform.fetchBinding('i-1', 'b-4'), 404, /"b-4"/)

    // The repeated answer does not depend on the predecessor; a rotation of the rotation takes over the same.
    answered(await platform.unbind('i-1', 'b-1'), 200, {})
    assert.deepEqual(credentialsOf(await platform.bind('i-1', 'b-2', rotation), 200), second)
    refused(await platform.bind('i-1', 'b-4', rotation), 400, /predecessor "b-1"/)
    credentialsOf(await platform.bind('i-1', 'b-4', { predecessor_binding_id: 'b-2' }), 201)
    assert.deepEqual(answered(await platform.fetchBinding('i-1', 'b-4'), 200).parameters, { role: 'reader' })
  })

  test(`PUT binding: whose predecessor has expired, on ${testStore}, answers 400; metadata is answered as given`, async (t) => {
    const times = { past: '2020-01-02T03:04:05.0Z', future: '2999-01-02T03:04:05.0Z' }
    const provider = new ScriptedProvider({
      bind: async (task) => {
        const expired = 'bindingId' in task && task.bindingId === 'expired'
        return { credentials: { a: 1 }, metadata: { expires_at: expired ? times.past : times.future } }
      }
    })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'sync' }, { binding_rotatable: true })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    answered(await platform.provision('i-1'), 201)
    const metadata = { expires_at: times.future }
    answered(await platform.bind('i-1', 'expired'), 201)
    answered(await platform.bind('i-1', 'lasting'), 201, { credentials: { a: 1 }, metadata })
    answered(await platform.bind('i-1', 'lasting'), 200, { credentials: { a: 1 }, metadata })
    answered(await platform.fetchBinding('i-1', 'lasting'), 200, { credentials: { a: 1 }, metadata })
    refused(await platform.bind('i-1', 'b-1', { predecessor_binding_id: 'expired' }), 400, /has expired/)
    answered(await platform.bind('i-1', 'b-1', { predecessor_binding_id: 'lasting' }), 201)
  })

  test(`DELETE binding: running, on ${testStore}, answers 202 with the same operation, else ConcurrencyError`, async (t) => {
    const { open, opened } = gateFor(t)
    const provider = new ScriptedProvider({ unbind: () => opened })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'either' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    answered(await platform.provision('i-1'), 201)
    answered(await platform.bind('i-1', 'b-1'), 201)
    const query = deleteQuery(plans.sync, ALSO_ASYNC)
    const operation = accepted(await platform.unbind('i-1', 'b-1', query))
    assert.equal(accepted(await platform.unbind('i-1', 'b-1', query)), operation)
    answered(await platform.bind('i-1', 'b-1', bindBody(), ASYNC), 422, concurrencyError)
    answered(await platform.deprovision('i-1', query), 422, concurrencyError)
    answered(await platform.update('i-1', { parameters: { a: 1 } }, ASYNC), 422, concurrencyError)
    // Bindings of one instance change side by side.
    answered(await platform.bind('i-1', 'b-2'), 201)
    open()
    answered(await platform.ended(b1, operation), 200, succeeded)
    refused(await platform.unbind('i-1', 'b-1', query), 410, /does not exist/)
    answered(await platform.fetchBinding('i-1', 'b-2'), 200)
  })
}

test('PUT binding: mode async answers 202, and 422 AsyncRequired without accepts_incomplete=true', async (t) => {
  const platform = await onePlatform(t)
  const body = bindBody(plans.async)
  const i1 = '/v2/service_instances/i-1'
  answered(await platform.ended(i1, accepted(await platform.provision('i-1', provisionBody(plans.async), ASYNC))), 200)
  answered(await platform.bind('i-1', 'b-1', body), 422, asyncRequired)
  answered(await platform.ended(b1, accepted(await platform.bind('i-1', 'b-1', body, ASYNC))), 200, succeeded)
  answered(await platform.unbind('i-1', 'b-1', deleteQuery(plans.async)), 422, asyncRequired)
  // AsyncRequired before 410, too.
  answered(await platform.unbind('i-1', 'unknown', deleteQuery(plans.async)), 422, asyncRequired)
  credentialsOf(await platform.fetchBinding('i-1', 'b-1'), 200)
})

test('PUT binding: mode async where bindings are not retrievable answers 201, never 202', async (t) => {
  const catalog = catalogOf([planOf(plans.async, { mode: 'async' })], { bindings_retrievable: false })
  const platform = await onePlatform(t, { catalog })
  const i1 = '/v2/service_instances/i-1'
  answered(await platform.ended(i1, accepted(await platform.provision('i-1', provisionBody(plans.async), ASYNC))), 200)
  credentialsOf(await platform.bind('i-1', 'b-1', bindBody(plans.async), ASYNC), 201)
  refused(await platform.fetchBinding('i-1', 'b-1'), 404, /does not let its service bindings be fetched/)
})

test('PUT binding: an overlong one where bindings are not retrievable answers 504, not 202', async (t) => {
  const catalog = catalogOf([planOf(plans.slow, { mode: 'either', options: { delay_ms: 0 } })], {
    bindings_retrievable: false
  })
  const provider = new ScriptedProvider({
    bind: ({ signal }) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
  })
  const platform = await onePlatform(t, { catalog, providers: [provider], syncDeadlineMs: 150 })
  answered(await platform.provision('i-1', provisionBody(plans.slow)), 201)
  refused(await platform.bind('i-1', 'b-1', bindBody(plans.slow), ASYNC), 504, /0\.15 s/)
})

test('PUT binding: without an app where the plan requires one answers 422 RequiresApp', async (t) => {
  const platform = await onePlatform(t, { catalog: catalogOf([planOf(plans.sync, { requires_app: true })]) })
  answered(await platform.provision('i-1'), 201)
  answered(await platform.bind('i-1', 'b-1'), 422, requiresApp)
  answered(await platform.bind('i-1', 'b-1', bindBody(plans.sync, { bind_resource: { route: 'a' } })), 422, requiresApp)
  refused(await platform.fetchBinding('i-1', 'b-1'), 404, /"b-1"/)
  credentialsOf(await platform.bind('i-1', 'b-1', bindBody(plans.sync, { app_guid: 'app' })), 201)
  const body = bindBody(plans.sync, { bind_resource: { app_guid: 'app' } })
  credentialsOf(await platform.bind('i-1', 'b-1', body), 200)
  credentialsOf(await platform.bind('i-1', 'b-2', body), 201)
})

test('PUT binding: of a plan or service that is not the instance’s, or not bindable, answers 400', async (t) => {
  const { services } = catalogOf([planOf(plans.sync), planOf(plans.either, {}, { bindable: false })])
  const platform = await onePlatform(t, { catalog: { services } })
  answered(await platform.provision('i-1'), 201)
  answered(await platform.provision('i-2', provisionBody(plans.either)), 201)
  const notIts = /not of this service and plan/
  refused(await platform.bind('i-1', 'b-1', bindBody(plans.either)), 400, notIts)
  refused(await platform.bind('i-1', 'b-1', { service_id: ids.other, plan_id: plans.other }), 400, notIts)
  refused(await platform.bind('i-1', 'b-1', bindBody(plans.other)), 400, /no plan/)
  refused(await platform.bind('i-1', 'b-1', bindBody('unknown')), 400, /no plan "unknown"/)
  refused(await platform.bind('i-1', 'b-1', { ...bindBody(), service_id: 'unknown' }), 400, /no service offering/)
  refused(await platform.bind('i-2', 'b-1', bindBody(plans.either)), 400, /no service bindings/)
  refused(await platform.fetchBinding('i-1', 'b-1'), 404, /"b-1"/)
})

test('PUT, DELETE binding: the order of refusals', async (t) => {
  const platform = await onePlatform(t)
  // Unknown ids before an unknown instance; 404, not 410, for that.
  refused(await platform.bind('i-1', 'b-1', {}), 400, /"service_id"/)
  refused(await platform.bind('i-1', 'b-1', { service_id: ids.service }), 400, /"plan_id"/)
  refused(await platform.bind('i-1', 'b-1', bindBody('unknown')), 400, /no plan "unknown"/)
  refused(await platform.bind('i-1', 'b-1'), 404, /"i-1"/)
  answered(await platform.bind('i-1', 'b-1', bindBody(plans.async)), 422, asyncRequired)
  // On unbind 410 for an unknown binding before 400.
  for (const query of ['', deleteQuery('unknown'), '?service_id=unknown&plan_id=unknown', deleteQuery()]) {
    refused(await platform.unbind('i-1', 'b-1', query), 410, /does not exist/)
  }
  answered(await platform.provision('i-1'), 201)
  for (const query of ['', deleteQuery('unknown'), deleteQuery()]) {
    refused(await platform.unbind('i-1', 'b-1', query), 410, /does not exist/)
  }
  credentialsOf(await platform.bind('i-1', 'b-1'), 201)
  for (const query of ['', `?service_id=${ids.service}`, `?plan_id=${plans.sync}`]) {
    refused(await platform.unbind('i-1', 'b-1', query), 400, /"(service_id|plan_id)" is required/)
  }
  refused(await platform.unbind('i-1', 'b-1', `?service_id=${ids.other}&plan_id=x`), 400, /not of the service/)
  credentialsOf(await platform.fetchBinding('i-1', 'b-1'), 200)
  answered(await platform.unbind('i-1', 'b-1', deleteQuery('a-plan-that-is-gone')), 200, {})
})

test('PUT binding: endpoints are sent only where the plan wants them', async (t) => {
  const catalog = catalogOf([planOf(plans.sync), planOf(plans.either, { endpoints: true })])
  const platform = await onePlatform(t, { catalog })
  answered(await platform.provision('i-1'), 201)
  credentialsOf(await platform.bind('i-1', 'b-1'), 201)
  answered(await platform.provision('i-2', provisionBody(plans.either)), 201)
  const { endpoints } = answered(await platform.bind('i-2', 'b-1', bindBody(plans.either)), 201)
  assert.deepEqual(endpoints, [{ host: 'example.invalid', ports: ['5432'] }])
  assert.deepEqual(answered(await platform.fetchBinding('i-2', 'b-1'), 200).endpoints, endpoints)
})

test('PUT binding: drains, routes and volumes are answered only with the matching requires, else 500', async (t) => {
  const mount = { driver: 'nfs', container_dir: '/data', mode: 'rw', device_type: 'shared', device: { volume_id: 'v' } }
  const fields: Record<string, [string, unknown]> = {
    syslog_drain: ['syslog_drain_url', 'syslog-tls://example.com:6514'],
    route_forwarding: ['route_service_url', 'https://example.com/'],
    volume_mount: ['volume_mounts', [mount]]
  }
  for (const [permission, [field, value]] of Object.entries(fields)) {
    const reply: JsonObject = { credentials: { a: 1 }, [field]: value }
    const provider = new ScriptedProvider({ bind: async () => reply })
    const with_ = await onePlatform(t, {
      catalog: catalogOf([planOf(plans.sync)], { requires: [permission] }),
      providers: [provider]
    })
    answered(await with_.provision('i-1'), 201)
    answered(await with_.bind('i-1', 'b-1'), 201, reply)
    answered(await with_.fetchBinding('i-1', 'b-1'), 200, reply)
    const without = await onePlatform(t, { catalog: catalogOf([planOf(plans.sync)]), providers: [provider] })
    answered(await without.provision('i-1'), 201)
    refused(await without.bind('i-1', 'b-1'), 500, new RegExp(permission))
    refused(await without.fetchBinding('i-1', 'b-1'), 404, /"b-1"/)
  }
})

test('PUT binding: parameters that break the schema of the plan answers 400 and makes nothing', async (t) => {
  const parameters = {
    $schema: 'http://json-schema.org/draft-04/schema#',
    type: 'object',
    properties: { role: { enum: ['reader', 'writer'] } }
  }
  const catalog = catalogOf([planOf(plans.sync, {}, { schemas: { service_binding: { create: { parameters } } } })])
  const platform = await onePlatform(t, { catalog })
  answered(await platform.provision('i-1'), 201)
  refused(await platform.bind('i-1', 'b-1', bindBody(plans.sync, { parameters: { role: 'owner' } })), 400, /role/)
  refused(await platform.fetchBinding('i-1', 'b-1'), 404, /"b-1"/)
  credentialsOf(await platform.bind('i-1', 'b-1', bindBody(plans.sync, { parameters: { role: 'reader' } })), 201)
  credentialsOf(await platform.bind('i-1', 'b-2'), 201)
})

test('PUT binding: of a plan that the instance has left answers 400, the binding made before stays', async (t) => {
  const platform = await onePlatform(t)
  answered(await platform.provision('i-1'), 201)
  const kept = credentialsOf(await platform.bind('i-1', 'b-1'), 201)
  answered(await platform.update('i-1', { plan_id: plans.either }), 200)
  refused(await platform.bind('i-1', 'b-2', bindBody(plans.sync)), 400, /not of this service and plan/)
  assert.deepEqual(credentialsOf(await platform.fetchBinding('i-1', 'b-1'), 200), kept)
  assert.deepEqual(credentialsOf(await platform.bind('i-1', 'b-1'), 200), kept)
  answered(await platform.unbind('i-1', 'b-1', deleteQuery(plans.sync)), 200, {})
})
