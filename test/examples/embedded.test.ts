import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { buildApp } from '../../examples/embedded/app.ts'
import { credentials, headers } from '../helper/app.ts'

const ids = { service_id: '0c4a7c9e-51c8-4a5b-9d6a-2f6a1f3a8b10', plan_id: '6d0e3b52-3b0e-4f0c-8f39-6d3a4f2b7c21' }
const larger = { ...ids, plan_id: 'a2f0c8d4-7e55-4b7f-9c1d-1e8b5a6d4f32' }
const provision = { ...ids, organization_guid: 'org', space_guid: 'space' }
const instance = '/osb/v2/service_instances/i-1'
const deleteQuery = `?service_id=${ids.service_id}&plan_id=${ids.plan_id}`

test('example embedded: the routes of the host are open, those of the broker are not', async (t) => {
  const { app } = await example(t)
  const open = await app.inject('/')
  assert.equal(open.statusCode, 200)
  assert.deepEqual(open.json(), { hello: 'world' })
  const unknown = await app.inject('/nowhere')
  assert.equal(unknown.statusCode, 404)
  assert.equal(unknown.json().error, 'Not Found', "the host's own answer")
  assert.equal((await app.inject('/osb/v2/catalog')).statusCode, 401)
  assert.equal((await app.inject('/v2/catalog')).statusCode, 404)
  assert.equal((await app.inject({ url: '/osb/v2/catalog', headers })).statusCode, 200)
})

test('example embedded: keys are made, work, and end with their binding', async (t) => {
  const { call, whoami } = await example(t)
  assert.equal((await call('PUT', instance, provision)).statusCode, 201)
  assert.equal((await call('PUT', instance, provision)).statusCode, 200)

  const bound = await call('PUT', `${instance}/service_bindings/b-1`, ids)
  assert.equal(bound.statusCode, 201)
  const { uri, key } = bound.json().credentials
  assert.equal(uri, 'https://keys.example/whoami')
  assert.deepEqual((await call('GET', `${instance}/service_bindings/b-1`)).json().credentials, { uri, key })
  const known = await whoami(key)
  assert.equal(known.statusCode, 200)
  assert.match(known.json().space, /^space-/)
  assert.equal((await whoami('another')).statusCode, 401)

  assert.equal((await call('DELETE', `${instance}/service_bindings/b-1${deleteQuery}`)).statusCode, 200)
  assert.equal((await whoami(key)).statusCode, 401)
  assert.equal((await call('DELETE', `${instance}/service_bindings/b-1${deleteQuery}`)).statusCode, 410)
  assert.equal((await call('DELETE', instance + deleteQuery)).statusCode, 200)
  assert.equal((await call('GET', instance)).statusCode, 404)
})

test('example embedded: a key too many answers 400 and leaves nothing; a larger plan makes room', async (t) => {
  const { call } = await example(t)
  await call('PUT', instance, provision)
  for (const name of ['b-1', 'b-2']) {
    assert.equal((await call('PUT', `${instance}/service_bindings/${name}`, ids)).statusCode, 201)
  }
  const refused = await call('PUT', `${instance}/service_bindings/b-3`, ids)
  assert.equal(refused.statusCode, 400)
  assert.deepEqual(refused.json(), { description: 'This plan allows 2 keys.' })
  assert.equal((await call('GET', `${instance}/service_bindings/b-3`)).statusCode, 404)

  assert.equal((await call('PATCH', instance, larger)).statusCode, 200)
  assert.equal((await call('PUT', `${instance}/service_bindings/b-3`, larger)).statusCode, 201)
})

test('example embedded: a deprovision ends the keys that are left', async (t) => {
  const { call, whoami } = await example(t)
  await call('PUT', instance, provision)
  const { key } = (await call('PUT', `${instance}/service_bindings/b-1`, ids)).json().credentials
  assert.equal((await call('DELETE', instance + deleteQuery)).statusCode, 200)
  assert.equal((await whoami(key)).statusCode, 401)
})

async function example(t: TestContext) {
  const app = await buildApp({ auth: credentials, baseUrl: 'https://keys.example' })
  t.after(() => app.close())
  const call = (method: 'GET' | 'PUT' | 'PATCH' | 'DELETE', url: string, payload?: object) =>
    app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) })
  const whoami = (key: string) => app.inject({ url: '/whoami', headers: { 'x-api-key': key } })
  return { app, call, whoami }
}
