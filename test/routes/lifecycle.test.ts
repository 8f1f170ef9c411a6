import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { basic, buildApp, credentials, testStores } from '../helper/app.ts'
import {
  ALSO_ASYNC,
  ASYNC,
  accepted,
  answered,
  bindingPath,
  credentialsOf,
  instancePath,
  onePlatform,
  Platform,
  refused,
  succeeded
} from './support.ts'

const catalog = join(import.meta.dirname, '../fixtures/seed-catalog.yaml')
const service_id = '6c1b9c4e-2f0d-4c52-9b0e-6a2f1d8e7a10'
const small = '2d5f0b1c-8f3a-4a6e-8d57-0c9f2b7e4a21'
const large = '7a9e3c60-1b4d-4f8c-a2e5-5d6c8b0f9e32'
const query = `?service_id=${service_id}&plan_id=${small}`

function body(plan_id = small, more: object = {}) {
  return { service_id, plan_id, organization_guid: 'org', space_guid: 'space', ...more }
}

for (const testStore of testStores) {
  test(`PUT … DELETE seed lifecycle: on ${testStore} answers as the reference broker`, async (t) => {
    const platform = await onePlatform(t, { catalog, testStore })
    const { app } = platform
    const served = answered(await platform.get('/v2/catalog'), 200)
    assert.deepEqual(Object.keys(served), ['services'])
    assert.ok(!JSON.stringify(served).includes('x-broker'))

    const nobody = await app.inject({ url: '/v2/catalog', headers: { 'x-broker-api-version': '2.17' } })
    refused(nobody, 401, /credentials/)
    const authorization = basic(credentials.username, credentials.password)
    refused(await app.inject({ url: '/v2/catalog', headers: { authorization } }), 412, /X-Broker-API-Version/)

    answered(await platform.provision('i-1', body()), 201, {})
    answered(await platform.provision('i-1', body()), 200, {})
    refused(await platform.provision('i-1', body(large)), 409, /"i-1" exists already/)
    answered(await platform.fetch('i-1'), 200, { service_id, plan_id: small })

    const first = credentialsOf(await platform.bind('i-1', 'b-1', { service_id, plan_id: small }), 201)
    assert.deepEqual(credentialsOf(await platform.bind('i-1', 'b-1', { service_id, plan_id: small }), 200), first)
    assert.deepEqual(credentialsOf(await platform.fetchBinding('i-1', 'b-1'), 200), first)
    answered(await platform.unbind('i-1', 'b-1', query), 200, {})
    refused(await platform.unbind('i-1', 'b-1', query), 410, /does not exist/)
    answered(await platform.deprovision('i-1', query), 200, {})
    refused(await platform.deprovision('i-1', query), 410, /does not exist/)
    refused(await platform.fetch('i-1'), 404, /"i-1"/)

    refused(await platform.provision('i-2', body(small, { service_id: 'unknown' })), 400, /"unknown"/)
    refused(await platform.provision('i-2', body(small, { parameters: { db_name: '' } })), 400, /db_name/)
    refused(await platform.fetch('i-2'), 404, /"i-2"/)
    const parameters = { db_name: 'my_db' }
    answered(await platform.provision('i-2', body(small, { parameters })), 201, {})
    answered(await platform.fetch('i-2'), 200, { service_id, plan_id: small, parameters })
  })

  test(`PUT … DELETE seed lifecycle, asynchronously: on ${testStore} each operation is seen in progress, then succeeded`, async (t) => {
    const platform = new Platform(await buildApp(t, { catalog, testStore, exampleDelayMs: 150 }))
    const instance = instancePath('i-1')
    const binding = bindingPath('i-1', 'b-1')
    const follow = async (path: string, operation: string) => {
      const first = await platform.poll(path, operation)
      assert.equal(answered(first, 200).state, 'in progress')
      assert.match(String(first.headers['retry-after']), /^[1-9]\d*$/)
      answered(await platform.ended(path, operation), 200, succeeded)
      assert.equal((await platform.poll(path, operation)).headers['retry-after'], undefined)
    }

    await follow(instance, accepted(await platform.provision('i-1', body(), ASYNC)))
    answered(await platform.fetch('i-1'), 200, { service_id, plan_id: small })
    const change = { service_id, plan_id: large, parameters: { db_name: 'x' } }
    await follow(instance, accepted(await platform.update('i-1', change, ASYNC)))
    answered(await platform.fetch('i-1'), 200, { service_id, plan_id: large, parameters: { db_name: 'x' } })

    await follow(binding, accepted(await platform.bind('i-1', 'b-1', { service_id, plan_id: large }, ASYNC)))
    credentialsOf(await platform.fetchBinding('i-1', 'b-1'), 200)
    await follow(binding, accepted(await platform.unbind('i-1', 'b-1', query + ALSO_ASYNC)))
    refused(await platform.fetchBinding('i-1', 'b-1'), 404, /"b-1"/)
    await follow(instance, accepted(await platform.deprovision('i-1', query + ALSO_ASYNC)))
    refused(await platform.fetch('i-1'), 404, /"i-1"/)
    refused(await platform.deprovision('i-1', query + ALSO_ASYNC), 410, /does not exist/)
  })
}
