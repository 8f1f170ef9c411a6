import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { PlatformRules } from '../../src/core/platform-rules.ts'
import { ReloadableCatalog } from '../../src/core/reloadable-catalog.ts'
import { bindBody, deleteQuery, ids, provisionBody, testCatalog } from '../helper/app.ts'
import { gate, ScriptedProvider } from '../helper/scripted-provider.ts'
import {
  ASYNC,
  accepted,
  answered,
  catalogOf,
  credentialsOf,
  instancePath,
  type Platform,
  planOf,
  refused,
  succeeded,
  twoPlatforms
} from './support.ts'

const url = '/v2/catalog'
const { plans, service } = ids
const noPlan = (planId: string) => ({ description: `The service offering "${service}" has no plan "${planId}".` })
const noService = (id: string) => ({ description: `There is no service offering "${id}" in the catalog.` })

/** Two platforms, the second with rules that a test may replace. */
async function scene(t: TestContext, rules: PlatformRules, more: Parameters<typeof twoPlatforms>[1] = {}) {
  const state = { rules }
  const platformRules = (platform: string) => (platform === 'two' ? state.rules : {})
  const [one, two] = await twoPlatforms(t, { platformRules, ...more })
  return { state, one, two }
}

function conditional(platform: Platform, more: Record<string, string>) {
  return platform.app.inject({ url, headers: { ...platform.headers, ...more } })
}

test('GET catalog: a platform with rules is served its part, another all of it, each with a tag of its own', async (t) => {
  const { one, two } = await scene(t, { catalog: [{ service: 'example', plans: ['async'] }] })
  const [all, part] = [await one.get(url), await two.get(url)]
  const [example] = testCatalog().services
  const { 'x-broker': _ours, plans: _plans, ...offering } = { ...example }
  answered(part, 200, {
    services: [{ ...offering, plans: [{ id: plans.async, name: 'async', description: 'async' }] }]
  })
  const served = answered(all, 200)
  assert.ok(Array.isArray(served.services))
  assert.equal(served.services.length, 2)
  assert.match(String(part.headers.etag), /^"[^"]+"$/)
  assert.notEqual(part.headers.etag, all.headers.etag)
  assert.equal(part.headers['content-length'], String(Buffer.byteLength(part.body)))
})

test('GET catalog: no cache may give the answer of one platform to another', async (t) => {
  const { one, two } = await scene(t, { catalog: [{ service: 'other' }] })
  for (const platform of [one, two]) {
    const reply = await platform.get(url)
    assert.equal(reply.headers['cache-control'], 'private, no-cache')
    const match = { 'if-none-match': String(reply.headers.etag) }
    const same = await conditional(platform, match)
    assert.deepEqual([same.statusCode, same.body, same.headers['cache-control']], [304, '', 'private, no-cache'])
    const other = platform === one ? two : one
    assert.equal((await conditional(other, match)).statusCode, 200)
  }
  assert.equal((await one.fetch('i-1')).headers['cache-control'], 'no-store')
  assert.equal((await one.app.inject({ url })).headers['cache-control'], 'no-store')
})

test('GET catalog: rules that change are followed at once, whatever date the platform has', async (t) => {
  const { state, one, two } = await scene(t, {})
  const whole = await two.get(url)
  const since = { 'if-modified-since': new Date(Date.now() + 3_600_000).toUTCString() }
  assert.equal((await conditional(two, since)).statusCode, 304)
  state.rules = { catalog: [{ service: 'other' }] }
  const part = await conditional(two, since)
  assert.equal(part.statusCode, 200)
  assert.equal(part.headers['last-modified'], undefined)
  assert.equal((await conditional(two, { 'if-none-match': String(whole.headers.etag) })).statusCode, 200)
  assert.equal((await conditional(one, since)).statusCode, 304)
  state.rules = {}
  assert.deepEqual((await two.get(url)).rawPayload, whole.rawPayload)
})

test('GET catalog: rules that leave nothing answer an empty catalog', async (t) => {
  const { two } = await scene(t, { catalog: [] })
  answered(await two.get(url), 200, { services: [] })
  refused(await two.provision('i-1'), 400, /no service offering/)
})

test('GET catalog: a reload of the catalog renews the parts', async (t) => {
  const source = testCatalog()
  const catalog = new ReloadableCatalog(source)
  const { two } = await scene(t, { catalog: [{ service: 'example', plans: ['sync'] }] }, { catalog })
  const before = await two.get(url)
  assert.equal((await two.get(url)).headers.etag, before.headers.etag)
  const [first] = source.services
  assert.ok(first)
  first.description = 'Another description'
  await catalog.reload()
  const after = await two.get(url)
  assert.match(after.body, /Another description/)
  assert.notEqual(after.headers.etag, before.headers.etag)
})

test('PUT, PATCH instance, PUT binding: a plan that the platform does not see is as unknown as one that is not there', async (t) => {
  const { two } = await scene(t, { catalog: [{ service: 'example', plans: ['sync'] }] })
  answered(await two.provision('mine'), 201)
  const requests = (serviceId: string, planId: string) => [
    two.provision('i-1', provisionBody(planId, { service_id: serviceId })),
    two.provision('i-1', provisionBody(planId, { service_id: serviceId }), ASYNC),
    two.provision('mine', provisionBody(planId, { service_id: serviceId })),
    two.update('mine', { service_id: serviceId, plan_id: planId }),
    two.update('i-1', { service_id: serviceId, plan_id: planId }),
    two.bind('mine', 'b-1', bindBody(planId, { service_id: serviceId })),
    two.bind('i-1', 'b-1', bindBody(planId, { service_id: serviceId })),
    two.deprovision('i-1', `?service_id=${serviceId}&plan_id=${planId}`)
  ]
  for (const planId of [plans.async, 'plan-never']) {
    for (const reply of await Promise.all(requests(service, planId))) answered(reply, 400, noPlan(planId))
  }
  for (const [serviceId, planId] of [
    [ids.other, plans.other],
    ['service-9', plans.other],
    [ids.other, plans.sync]
  ] as const) {
    for (const reply of await Promise.all(requests(serviceId, planId))) answered(reply, 400, noService(serviceId))
    answered(await two.update('mine', { service_id: serviceId }), 400, noService(serviceId))
  }
  // Neither 422 for a plan that is asynchronous, nor 400.
  for (const planId of [plans.async, 'plan-never']) {
    answered(await two.unbind('mine', 'b-1', deleteQuery(planId)), 410, {
      description: 'The service binding does not exist.'
    })
  }
})

test('any verb: an instance of a plan that the platform sees no more goes on, without a way back to the plan', async (t) => {
  const work = gate()
  t.after(work.open)
  const provider = new ScriptedProvider({
    provision: async ({ parameters }) => {
      if ('hold' in parameters) await work.opened
    }
  })
  const all = [
    planOf(plans.sync, { mode: 'sync' }, { binding_rotatable: true }),
    planOf(plans.either, { mode: 'either' }),
    planOf(plans.slow)
  ]
  const { state, two } = await scene(t, {}, { catalog: catalogOf(all), providers: [provider] })
  const held = provisionBody(plans.either, { parameters: { hold: true } })
  answered(await two.provision('mine'), 201)
  credentialsOf(await two.bind('mine', 'b-1'), 201)
  const creating = accepted(await two.provision('held', held, ASYNC))
  state.rules = { catalog: [{ service: 'example', plans: [plans.slow] }] }

  answered(await two.fetch('mine'), 200, { service_id: service, plan_id: plans.sync })
  answered(await two.provision('mine'), 200, {})
  refused(await two.provision('mine', provisionBody(plans.sync, { parameters: { a: 1 } })), 409, /exists already/)
  assert.equal(accepted(await two.provision('held', held, ASYNC)), creating)
  credentialsOf(await two.fetchBinding('mine', 'b-1'), 200)
  credentialsOf(await two.bind('mine', 'b-2'), 201)
  credentialsOf(await two.bind('mine', 'b-3', { predecessor_binding_id: 'b-1' }), 201)
  answered(await two.update('mine', { parameters: { a: 1 } }), 200, {})
  answered(await two.update('mine', { plan_id: plans.sync, parameters: { a: 2 } }), 200, {})
  answered(await two.unbind('mine', 'b-2'), 200, {})
  work.open()
  answered(await two.ended(instancePath('held'), creating), 200, succeeded)

  answered(await two.provision('new'), 400, noPlan(plans.sync))
  answered(await two.update('held', { plan_id: plans.sync }), 400, noPlan(plans.sync))
  answered(await two.update('mine', { plan_id: plans.slow }), 200, {})
  answered(await two.update('mine', { plan_id: plans.sync }), 400, noPlan(plans.sync))
  answered(await two.deprovision('mine', deleteQuery(plans.slow)), 200, {})
  answered(await two.deprovision('held', deleteQuery(plans.either)), 200, {})
})

test('PATCH instance: an unfinished update to a plan that the platform sees no more is answered for when it is repeated', async (t) => {
  const work = gate()
  t.after(work.open)
  const provider = new ScriptedProvider({ update: () => work.opened })
  const all = [planOf(plans.sync, { mode: 'either' }), planOf(plans.either, { mode: 'either' })]
  const { state, two } = await scene(t, {}, { catalog: catalogOf(all), providers: [provider] })
  answered(await two.provision('mine'), 201)
  const change = { plan_id: plans.either }
  const operation = accepted(await two.update('mine', change, ASYNC))
  state.rules = { catalog: [{ service: 'example', plans: [plans.sync] }] }
  assert.equal(accepted(await two.update('mine', change, ASYNC)), operation)
  work.open()
  answered(await two.ended(instancePath('mine'), operation), 200, succeeded)
  answered(await two.update('mine', change), 200, {})
})

test('PUT instance: a provision that failed is not repeated on a plan that the platform sees no more', async (t) => {
  const { state, two } = await scene(t, {})
  const operation = accepted(await two.provision('mine', provisionBody(plans.failing), ASYNC))
  const ended = answered(await two.ended(instancePath('mine'), operation), 200)
  assert.equal(ended.state, 'failed')
  state.rules = { catalog: [{ service: 'other' }] }
  answered(await two.provision('mine', provisionBody(plans.failing), ASYNC), 400, noService(service))
  answered(await two.deprovision('mine', deleteQuery(plans.failing)), 200, {})
})
