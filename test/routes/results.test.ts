import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JsonObject } from '../../schemas/common.ts'
import { Rejected } from '../../src/core/provider.ts'
import { bindBody, buildApp, ids, pollUntilEnded, provisionBody, testStores } from '../helper/app.ts'
import { ScriptedProvider, until } from '../helper/scripted-provider.ts'
import { ASYNC, answered, onePlatform, Platform, refused } from './support.ts'

const { plans } = ids
const dashboard = (id: string, plan: string) => `https://dashboard.example/${id}?plan=${plan}`

/** A provider that can tell its dashboard before anything is made. */
function withDashboard(script: ConstructorParameters<typeof ScriptedProvider>[0] = {}) {
  return Object.assign(new ScriptedProvider(script), {
    dashboardUrl: ({ instanceId, plan }: { instanceId: string; plan: { id: string } }) => dashboard(instanceId, plan.id)
  })
}

for (const testStore of testStores) {
  test(`PUT instance, ${testStore}: dashboard_url is in the first answer, sync and async, and wherever it is asked for`, async (t) => {
    const app = await buildApp(t, { testStore, providers: [withDashboard()] })
    const platform = new Platform(app)
    const made = { dashboard_url: dashboard('i-1', plans.sync) }
    answered(await platform.provision('i-1'), 201, made)
    answered(await platform.provision('i-1'), 200, made)
    assert.equal(answered(await platform.fetch('i-1'), 200).dashboard_url, made.dashboard_url)

    const accepted = answered(await platform.provision('i-2', provisionBody(plans.async), ASYNC), 202)
    assert.equal(accepted.dashboard_url, dashboard('i-2', plans.async))
    await pollUntilEnded(app, '/v2/service_instances/i-2/last_operation')
    assert.equal(answered(await platform.fetch('i-2'), 200).dashboard_url, dashboard('i-2', plans.async))

    const changed = answered(await platform.update('i-2', { plan_id: plans.either }, ASYNC), 202)
    assert.equal(changed.dashboard_url, dashboard('i-2', plans.either))
    await pollUntilEnded(app, '/v2/service_instances/i-2/last_operation')
    assert.equal(answered(await platform.fetch('i-2'), 200).dashboard_url, dashboard('i-2', plans.either))
    answered(await platform.update('i-1', { plan_id: plans.either }), 200, {
      dashboard_url: dashboard('i-1', plans.either)
    })
  })
}

test('PATCH instance: a failed update leaves the dashboard_url as it was', async (t) => {
  const update = async () => {
    throw new Rejected(422, 'Not to this plan.')
  }
  const platform = await onePlatform(t, { providers: [withDashboard({ update })] })
  answered(await platform.provision('i-1'), 201)
  refused(await platform.update('i-1', { plan_id: plans.either }), 422, /Not to this plan/)
  assert.equal(answered(await platform.fetch('i-1'), 200).dashboard_url, dashboard('i-1', plans.sync))
})

test('PUT instance: labels and attributes of the provider are answered and fetched, an update replaces them', async (t) => {
  const metadata = (size: number) => ({ labels: { size: String(size) }, attributes: { 'broker.size': String(size) } })
  const provider = new ScriptedProvider({
    provision: async () => ({ metadata: metadata(1) }),
    update: async () => ({ metadata: metadata(2) })
  })
  const platform = await onePlatform(t, { providers: [provider] })
  answered(await platform.provision('i-1'), 201, { metadata: metadata(1) })
  assert.deepEqual(answered(await platform.fetch('i-1'), 200).metadata, metadata(1))
  answered(await platform.update('i-1', { parameters: { a: 1 } }), 200, { metadata: metadata(2) })
  assert.deepEqual(answered(await platform.fetch('i-1'), 200).metadata, metadata(2))
})

test('PUT binding: dates are written as the specification wants them', async (t) => {
  const metadata = { expires_at: '2030-01-01T12:00:00+02:00', renew_before: '2029-12-01' }
  const provider = new ScriptedProvider({ bind: async () => ({ credentials: { a: 1 }, metadata }) })
  const platform = await onePlatform(t, { providers: [provider] })
  answered(await platform.provision('i-1'), 201)
  const written = { expires_at: '2030-01-01T10:00:00.000Z', renew_before: '2029-12-01T00:00:00.000Z' }
  assert.deepEqual(answered(await platform.bind('i-1', 'b-1'), 201).metadata, written)
  assert.deepEqual(answered(await platform.fetchBinding('i-1', 'b-1'), 200).metadata, written)
})

const wrongBindings: [string, JsonObject, RegExp][] = [
  ['a date that is none', { metadata: { expires_at: 'soon' } }, /"expires_at" is no date/],
  [
    'renewal after the end',
    { metadata: { expires_at: '2030-01-01T00:00:00Z', renew_before: '2031-01-01T00:00:00Z' } },
    /"renew_before" is after "expires_at"/
  ],
  ['a key that platforms refuse', { credentials: { 'a b': 1 } }, /a key of "credentials"/],
  ['credentials that are too large', { credentials: { a: 'x'.repeat(50_000) } }, /platforms take less than 48 kB/],
  ['credentials that are no object', { credentials: 'secret-word' }, /"\/credentials" is not as the specification/],
  ['ports as numbers', { endpoints: [{ host: 'h', ports: [5432] }] }, /"\/endpoints\/0\/ports\/0" is not as/],
  ['a text that cannot be kept', { credentials: { a: 'x\0' } }, /NUL/]
]
for (const [what, reply, message] of wrongBindings) {
  test(`PUT binding: a provider that answers ${what} answers 500, and what it made is unbound`, async (t) => {
    const provider = new ScriptedProvider({ bind: async () => ({ ...reply, state: { login: 'l-1' } }) })
    const platform = await onePlatform(t, { providers: [provider] })
    answered(await platform.provision('i-1'), 201)
    const response = await platform.bind('i-1', 'b-1')
    refused(response, 500, message)
    assert.doesNotMatch(response.payload, /secret-word/)
    await until('the login is removed', () => provider.calls.includes('unbind b-1'))
    assert.deepEqual(provider.tasks.at(-1)?.state, { login: 'l-1' })
    refused(await platform.fetchBinding('i-1', 'b-1'), 404, /b-1/)
  })
}

test('PUT instance: a dashboard_url that is none answers 500, and what was made is removed', async (t) => {
  for (const url of ['not a url', 'javascript:alert(1)', `https://x/${'y'.repeat(16_000)}`]) {
    const provider = new ScriptedProvider({ provision: async () => ({ dashboard_url: url, state: { name: 'n-1' } }) })
    const platform = await onePlatform(t, { providers: [provider] })
    refused(await platform.provision('i-1'), 500, /"dashboard_url" is no URL of a web page/)
    await until('the instance is removed', () => provider.calls.includes('deprovision'))
  }
})

test('PUT instance, PUT binding: instance_usable and update_repeatable do not belong there', async (t) => {
  const refusal = async () => {
    throw new Rejected(400, 'No.', { instanceUsable: false, updateRepeatable: false })
  }
  const failing = await onePlatform(t, { providers: [new ScriptedProvider({ provision: refusal })] })
  answered(await failing.provision('i-1'), 400, { description: 'No.' })
  const provider = new ScriptedProvider({ bind: refusal, deprovision: refusal, update: refusal })
  const platform = await onePlatform(t, { providers: [provider] })
  answered(await platform.provision('i-1'), 201)
  answered(await platform.bind('i-1', 'b-1'), 400, { description: 'No.' })
  answered(await platform.update('i-1', { parameters: { a: 1 } }), 400, {
    description: 'No.',
    instance_usable: false,
    update_repeatable: false
  })
  answered(await platform.deprovision('i-1'), 400, { description: 'No.', instance_usable: false })
})

test('PUT binding: endpoints are left out where the plan does not want them', async (t) => {
  const endpoints = [{ host: 'h', ports: ['1'] }]
  const provider = new ScriptedProvider({ bind: async () => ({ credentials: { a: 1 }, endpoints }) })
  const platform = await onePlatform(t, { providers: [provider] })
  answered(await platform.provision('i-1'), 201)
  answered(await platform.bind('i-1', 'b-1', bindBody(plans.sync)), 201, { credentials: { a: 1 } })
})
