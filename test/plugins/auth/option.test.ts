import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { hashPassword, type OpenServiceBrokerOptions, ReloadablePlatforms } from '../../../src/index.ts'
import { basic, buildApp, provisionBody } from '../../helper/app.ts'

const version = { 'x-broker-api-version': '2.17' }
const password_hash = await hashPassword('hashed')

test('embedding: plain credentials and whole platforms side by side, each a tenant', async (t) => {
  const platforms = [
    { name: 'one', username: 'one', password: 'plain' },
    { name: 'two', basic: [{ username: 'two', password_hash }], quotas: [{ service: 's', plan: 'p', instances: 1 }] }
  ]
  const app = await buildApp(t, { auth: { platforms } })
  const call = (userpass: string, method: 'GET' | 'PUT', payload?: object) => {
    const headers = { ...version, authorization: basic(userpass.split(':')[0] ?? '', userpass.split(':')[1] ?? '') }
    const url = '/v2/service_instances/i-1'
    return app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) })
  }
  assert.equal((await call('one:plain', 'PUT', provisionBody())).statusCode, 201)
  assert.equal((await call('two:hashed', 'GET')).statusCode, 404)
  assert.equal((await call('one:plain', 'GET')).statusCode, 200)
  assert.equal((await call('two:plain', 'GET')).statusCode, 401)
})

test('embedding: a file of platforms that is reloaded', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'osb-option-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'platforms.json')
  const write = (username: string) =>
    writeFileSync(file, JSON.stringify({ platforms: { cf: { basic: [{ username, password_hash }] } } }))
  write('old')
  const auth = await ReloadablePlatforms.open(file)
  const app = await buildApp(t, { auth })
  const statusOf = async (username: string) => {
    const headers = { ...version, authorization: basic(username, 'hashed') }
    return (await app.inject({ url: '/v2/catalog', headers })).statusCode
  }
  assert.deepEqual([await statusOf('old'), await statusOf('new')], [200, 401])
  write('new')
  await auth.reload()
  assert.deepEqual([await statusOf('old'), await statusOf('new')], [401, 200])
})

test('embedding: what a platform sees and may have is what its entry says', async (t) => {
  const quotas = [{ service: 'example', plan: 'sync', instances: 0 }]
  const limited = { catalog: [{ service: 'example', plans: ['sync', 'either'] }], quotas }
  const platforms = [
    { name: 'one', basic: [{ username: 'one', password_hash }], ...limited },
    { name: 'two', username: 'two', password: 'hashed' }
  ]
  const app = await buildApp(t, { auth: { platforms } })
  const headersOf = (username: string) => ({ ...version, authorization: basic(username, 'hashed') })
  const plansOf = async (username: string): Promise<number> => {
    const { services } = (await app.inject({ url: '/v2/catalog', headers: headersOf(username) })).json()
    return services.flatMap(({ plans }: { plans: object[] }) => plans).length
  }
  assert.deepEqual([await plansOf('one'), await plansOf('two')], [2, 6])
  const provision = (username: string) =>
    app.inject({
      method: 'PUT',
      url: `/v2/service_instances/${username}`,
      headers: headersOf(username),
      payload: provisionBody()
    })
  assert.equal((await provision('one')).statusCode, 400)
  assert.equal((await provision('two')).statusCode, 201)
})

test('embedding: platforms with a fault keep the app from booting and name the place', async (t) => {
  const platforms: OpenServiceBrokerOptions['auth'] = {
    platforms: [{ name: 'one', certificate: [{ subject: 'one' }] }]
  }
  await assert.rejects(buildApp(t, { auth: platforms }), {
    name: 'PlatformsError',
    message: /^auth\.platforms has 1 error:\n {2}\[0\]\.certificate\[0\] must be a distinguished name /
  })
})
