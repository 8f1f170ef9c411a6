import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { PlatformRules } from '../../src/core/platform-rules.ts'
import { deleteQuery, ids, provisionBody, type TestStore, testStores } from '../helper/app.ts'
import { gate, ScriptedProvider } from '../helper/scripted-provider.ts'
import {
  ALSO_ASYNC,
  ASYNC,
  accepted,
  answered,
  asyncRequired,
  catalogOf,
  instancePath,
  planOf,
  refused,
  statusCounts,
  succeeded,
  twoPlatforms
} from './support.ts'

const { plans } = ids
const usedUp = (plan: string, held: string) => ({
  description:
    `The quota of the plan "${plan}" is used up: this platform may have ${held} of it at once. ` +
    'Delete one, or ask the operator of the broker for more.'
})

/** Two platforms with the plans `sync` and `async`, of which the first has quotas that a test may replace. */
async function scene(t: TestContext, testStore: TestStore, quotas: PlatformRules['quotas'] = []) {
  const state = { quotas }
  const work = gate()
  t.after(work.open)
  const hold = ({ parameters }: { parameters?: object }) =>
    'hold' in (parameters ?? {}) ? work.opened : Promise.resolve()
  const provider = new ScriptedProvider({ provision: hold, update: hold })
  const schema = { $schema: 'http://json-schema.org/draft-04/schema#', properties: { size: { type: 'integer' } } }
  const schemas = { service_instance: { create: { parameters: schema } } }
  const all = [
    planOf(plans.sync, { mode: 'either' }, { name: 'small', schemas, maintenance_info: { version: '1.0.0' } }),
    planOf(plans.async, { mode: 'async' }, { name: 'large' })
  ]
  const platformRules = (platform: string) => (platform === 'one' ? state : {})
  const [one, two] = await twoPlatforms(t, { testStore, catalog: catalogOf(all), providers: [provider], platformRules })
  return { state, provider, work, one, two }
}

const quota = (plan: string, instances: number) => [{ service: 'example', plan, instances }]

for (const testStore of testStores) {
  test(`PUT instance: beyond the quota of a plan, on ${testStore}, answers 400 and leaves nothing`, async (t) => {
    const { one, two, provider } = await scene(t, testStore, quota('small', 2))
    const replies = await Promise.all(Array.from({ length: 12 }, (_, index) => one.provision(`i-${index}`)))
    assert.deepEqual(statusCounts(replies), { 201: 2, 400: 10 })
    assert.equal(provider.calls.length, 2)
    for (const [index, reply] of replies.entries()) {
      if (reply.statusCode === 201) continue
      answered(reply, 400, usedUp('small', '2 service instances'))
      refused(await one.fetch(`i-${index}`), 404, /no service instance/)
      refused(await one.poll(instancePath(`i-${index}`)), 404, /no operation/)
    }
    answered(await two.provision('other'), 201, {})
    const large = await one.provision('large', provisionBody(plans.async), ASYNC)
    answered(await one.ended(instancePath('large'), accepted(large)), 200, succeeded)
    answered(await one.provision('large-too', provisionBody(plans.sync), ASYNC), 400)

    const made = replies.findIndex(({ statusCode }) => statusCode === 201)
    answered(await one.provision(`i-${made}`), 200, {})
    answered(await one.deprovision(`i-${made}`), 200, {})
    answered(await one.provision('next'), 201, {})
  })

  test(`PUT instance: a place is held, on ${testStore}, from the first request to the end of the delete`, async (t) => {
    const { one, work, provider } = await scene(t, testStore, quota('small', 1))
    const held = provisionBody(plans.sync, { parameters: { hold: true } })
    const creating = accepted(await one.provision('i-1', held, ASYNC))
    answered(await one.provision('i-2'), 400, usedUp('small', '1 service instance'))
    assert.equal(accepted(await one.provision('i-1', held, ASYNC)), creating)
    work.open()
    answered(await one.ended(instancePath('i-1'), creating), 200, succeeded)
    answered(await one.provision('i-2'), 400)
    const removing = accepted(await one.deprovision('i-1', deleteQuery(plans.sync, ALSO_ASYNC)))
    answered(await one.ended(instancePath('i-1'), removing), 200, succeeded)
    answered(await one.provision('i-2'), 201, {})
    assert.deepEqual(provider.calls, ['provision', 'deprovision', 'provision'])
  })

  test(`PATCH instance: to a plan whose quota is used up, on ${testStore}, answers 422 and leaves the instance as it was`, async (t) => {
    const { one, work, state } = await scene(t, testStore, quota('small', 1))
    for (const id of ['a', 'b']) {
      const operation = accepted(await one.provision(id, provisionBody(plans.async), ASYNC))
      answered(await one.ended(instancePath(id), operation), 200, succeeded)
    }
    const to = { plan_id: plans.sync }
    const change = accepted(await one.update('a', { ...to, parameters: { hold: true } }, ASYNC))
    const refusal = { ...usedUp('small', '1 service instance'), instance_usable: true, update_repeatable: true }
    answered(await one.update('b', to), 422, refusal)
    answered(await one.provision('c'), 400, usedUp('small', '1 service instance'))
    assert.equal(accepted(await one.update('a', { ...to, parameters: { hold: true } }, ASYNC)), change)
    work.open()
    answered(await one.ended(instancePath('a'), change), 200, succeeded)
    answered(await one.update('b', to), 422, refusal)
    answered(await one.fetch('b'), 200, { service_id: ids.service, plan_id: plans.async })
    // What stays on its plan takes no place, nor does one that is above a quota that was lowered.
    state.quotas = quota('small', 0)
    answered(await one.update('a', { ...to, parameters: { more: 1 } }), 200, {})
    answered(await one.update('b', to), 422, {
      description:
        'This platform may have no service instances of the plan "small". Ask the operator of the broker for some.',
      instance_usable: true,
      update_repeatable: true
    })
    state.quotas = quota('small', 2)
    answered(await one.update('b', to), 200, {})
  })
}

test('PUT instance: the quota is the last of the refusals', async (t) => {
  const { one, two } = await scene(t, 'memory', [...quota('small', 0), ...quota('large', 0)])
  answered(await two.provision('taken'), 201)
  answered(await one.provision('i-1', provisionBody('no-plan')), 400)
  answered(await one.provision('i-1', provisionBody(plans.async)), 422, asyncRequired)
  refused(await one.provision('taken'), 409, /exists already/)
  const body = (more: object) => provisionBody(plans.sync, more)
  refused(await one.provision('i-1', body({ parameters: { size: 'big' } })), 400, /size/)
  refused(await one.provision('i-1', body({ maintenance_info: { version: '2.0.0' } })), 422, /maintenance/)
  refused(await one.provision('i-1'), 400, /may have no service instances of the plan "small"/)
})
