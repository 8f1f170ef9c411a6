import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildApp } from '../../examples/host-auth/app.ts'

const ids = { service_id: '5b6e2d1e-0a0f-4c0e-9d0a-2f9c8f6b7a10', plan_id: '9b3c7f7e-3d4e-4f59-8d0c-6f7b8a9c0d21' }
const headersOf = (token: string) => ({ authorization: `Bearer ${token}`, 'x-broker-api-version': '2.17' })

test('example host-auth: each platform comes in with its token, and sees its own instances alone', async (t) => {
  const app = await buildApp({ 'cf-prod': 'token-1', 'cf-staging': 'token-2' })
  t.after(() => app.close())
  assert.deepEqual((await app.inject('/')).json(), { hello: 'world' })

  const stranger = await app.inject({ url: '/osb/v2/catalog', headers: headersOf('token-3') })
  assert.equal(stranger.statusCode, 401)
  assert.equal(typeof stranger.json().description, 'string')
  assert.equal((await app.inject('/osb/v2/catalog')).statusCode, 401)

  const payload = { ...ids, organization_guid: 'org', space_guid: 'space' }
  const url = '/osb/v2/service_instances/i-1'
  const made = await app.inject({ method: 'PUT', url, headers: headersOf('token-1'), payload })
  assert.equal(made.statusCode, 201)
  assert.equal((await app.inject({ url, headers: headersOf('token-1') })).statusCode, 200)
  assert.equal((await app.inject({ url, headers: headersOf('token-2') })).statusCode, 404)
})
