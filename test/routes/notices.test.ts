import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bindBody, buildApp, ids, pollUntilEnded, provisionBody, testStores } from '../helper/app.ts'
import { ScriptedProvider } from '../helper/scripted-provider.ts'
import { ASYNC, answered, onePlatform, Platform } from './support.ts'

const { plans } = ids
const description = 'The storage quota is used up.'
const succeeded = { state: 'succeeded', description }

for (const testStore of testStores) {
  test(`GET last_operation, ${testStore}: has what the provider says of an operation that succeeded`, async (t) => {
    const provider = new ScriptedProvider({
      provision: async () => ({ description }),
      update: async (task) => {
        const bindings = 'bindings' in task ? await task.bindings() : []
        return { description: `${description} ${bindings.length}` }
      },
      bind: async () => ({ credentials: { a: 1 }, description, state: { b: 1 } })
    })
    const app = await buildApp(t, { testStore, providers: [provider] })
    const platform = new Platform(app)
    const [instance, binding] = ['/v2/service_instances/i-1', '/v2/service_instances/i-1/service_bindings/b-1']
    answered(await platform.provision('i-1', provisionBody(plans.async), ASYNC), 202)
    answered(await pollUntilEnded(app, `${instance}/last_operation`), 200, succeeded)
    answered(await platform.send('PUT', `${binding}${ASYNC}`, bindBody(plans.async)), 202)
    answered(await pollUntilEnded(app, `${binding}/last_operation`), 200, succeeded)
    assert.deepEqual(answered(await platform.get(binding), 200), { credentials: { a: 1 } })
    answered(await platform.update('i-1', { parameters: { a: 1 } }, ASYNC), 202)
    answered(await pollUntilEnded(app, `${instance}/last_operation`), 200, {
      state: 'succeeded',
      description: `${description} 1`
    })
    // The answer to a synchronous request has no field for it; last_operation has
    answered(await platform.provision('i-2'), 201, {})
    answered(await platform.get('/v2/service_instances/i-2/last_operation'), 200, succeeded)
  })
}

test('GET instance: has the labels that the provider adds now, and does without them when it fails', async (t) => {
  let labels = async (): Promise<Record<string, string>> => ({ storage_quota: 'used-up' })
  const provision = async () => ({ metadata: { labels: { size: 'small' }, attributes: { a: '1' } }, state: { a: 1 } })
  const provider = Object.assign(new ScriptedProvider({ provision }), { labels: () => labels() })
  const platform = await onePlatform(t, { providers: [provider] })
  const stored = answered(await platform.provision('i-1'), 201).metadata
  const fetched = async () => answered(await platform.fetch('i-1'), 200).metadata
  assert.deepEqual(await fetched(), {
    labels: { size: 'small', storage_quota: 'used-up' },
    attributes: { a: '1' }
  })
  labels = async () => ({})
  assert.deepEqual(await fetched(), stored)
  labels = async () => {
    throw new Error('no answer')
  }
  assert.deepEqual(await fetched(), stored)
  labels = () => new Promise(() => {})
  assert.deepEqual(await fetched(), stored)
})
