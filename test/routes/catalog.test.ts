import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { InjectOptions } from 'fastify'
import { buildApp, headers, testCatalog } from '../helper/app.ts'
import { answered, onePlatform, refused } from './support.ts'

const url = '/v2/catalog'

test('GET catalog: answers 200 with what was loaded, without our key', async (t) => {
  const platform = await onePlatform(t)
  const reply = await platform.get(url)
  const strip = ({ 'x-broker': _ours, ...rest }: Record<string, unknown>) => rest
  const services = testCatalog().services.map((service) => ({
    ...strip(service),
    plans: service.plans.map((plan) => strip(plan))
  }))
  answered(reply, 200, { services })
  assert.equal(reply.headers['content-length'], String(Buffer.byteLength(reply.body)))
  assert.match(String(reply.headers.etag), /^"[^"]+"$/)
  assert.equal(new Date(String(reply.headers['last-modified'])).toUTCString(), reply.headers['last-modified'])
})

test('GET catalog: vendor fields and non-ASCII text are served as they stand', async (t) => {
  const { services } = testCatalog()
  const catalog = { 'vendor.example/top': { a: [null, 1] }, services: services.map((s) => ({ ...s, 'x-ü': '🙂' })) }
  const platform = await onePlatform(t, { catalog })
  const served = answered(await platform.get(url), 200)
  assert.deepEqual(served['vendor.example/top'], { a: [null, 1] })
  assert.ok(Array.isArray(served.services))
  assert.equal(served.services[0]['x-ü'], '🙂')
})

test('GET catalog: If-None-Match of the same catalog answers 304 without a body, else 200', async (t) => {
  const app = await buildApp(t)
  const first = await app.inject({ url, headers })
  const etag = String(first.headers.etag)
  for (const match of [etag, `W/${etag}`, `"other", ${etag}`, `"other",W/${etag}`, '*']) {
    const reply = await app.inject({ url, headers: { ...headers, 'if-none-match': match } })
    assert.equal(reply.statusCode, 304, match)
    assert.equal(reply.body, '')
    assert.equal(reply.headers.etag, etag)
  }
  for (const match of ['"other"', '', etag.slice(1, -1), `${etag}x`]) {
    answered(await app.inject({ url, headers: { ...headers, 'if-none-match': match } }), 200)
  }
  // The same bytes have the same tag, also in another process.
  assert.equal((await (await buildApp(t)).inject({ url, headers })).headers.etag, etag)
})

test('GET catalog: If-Modified-Since answers 304 when it has not changed since; If-None-Match decides before it', async (t) => {
  const app = await buildApp(t)
  const first = await app.inject({ url, headers })
  const modified = Date.parse(String(first.headers['last-modified']))
  const since = async (date: string, more: Record<string, string> = {}) =>
    (await app.inject({ url, headers: { ...headers, 'if-modified-since': date, ...more } })).statusCode
  const http = (ms: number) => new Date(ms).toUTCString()
  assert.equal(await since(http(modified)), 304)
  assert.equal(await since(http(modified + 60_000)), 304)
  assert.equal(await since(http(modified - 1_000)), 200)
  assert.equal(await since('yesterday'), 200)
  assert.equal(await since(''), 200)
  assert.equal(await since(http(modified + 60_000), { 'if-none-match': '"other"' }), 200)
  assert.equal(await since(http(modified - 60_000), { 'if-none-match': String(first.headers.etag) }), 304)
})

test('GET catalog: without credentials or version is refused before a 304', async (t) => {
  const app = await buildApp(t)
  const etag = String((await app.inject({ url, headers })).headers.etag)
  refused(await app.inject({ url, headers: { 'if-none-match': etag } }), 401, /credentials/)
  const { authorization } = headers
  refused(await app.inject({ url, headers: { authorization, 'if-none-match': etag } }), 412, /X-Broker-API-Version/)
})

test('GET catalog: the version header’s status is an option', async (t) => {
  const app = await buildApp(t, { missingVersionStatus: 400 })
  const { authorization } = headers
  for (const version of [{}, { 'x-broker-api-version': '' }]) {
    refused(await app.inject({ url, headers: { authorization, ...version } }), 400, /required/)
  }
  refused(await app.inject({ url, headers: { authorization, 'x-broker-api-version': '1.0' } }), 412, /2\.17/)
  answered(await app.inject({ url, headers }), 200)
})

test('any route: the request identity is echoed on every answer', async (t) => {
  const app = await buildApp(t, { prefix: '/osb' })
  const identity = { 'x-broker-api-request-identity': '26969dfe-7d68-4ee2-b0d6-3a6e9c4f5d2c' }
  const all = { ...headers, ...identity }
  const instance = '/osb/v2/service_instances/i-1'
  const cases: [number, InjectOptions][] = [
    [200, { url: '/osb/v2/catalog', headers: all }],
    [401, { url: '/osb/v2/catalog', headers: identity }],
    [412, { url: '/osb/v2/catalog', headers: { authorization: headers.authorization, ...identity } }],
    [404, { url: '/osb/v2/unknown', headers: all }],
    [404, { url: instance, headers: all }],
    [400, { url: `${instance.replace('i-1', '%00')}`, headers: all }],
    [410, { method: 'DELETE', url: `${instance}?service_id=service-1&plan_id=plan-sync`, headers: all }],
    [400, { method: 'PUT', url: instance, headers: { ...all, 'content-type': 'application/json' }, payload: '{' }],
    [400, { url: instance.replace('i-1', '%zz'), headers: all }],
    [400, { url: instance.replace('i-1', 'x'.repeat(5_000)), headers: all }]
  ]
  for (const [status, request] of cases) {
    const reply = await app.inject(request)
    answered(reply, status)
    assert.equal(
      reply.headers['x-broker-api-request-identity'],
      identity['x-broker-api-request-identity'],
      `${status} ${String(request.url).slice(0, 60)}`
    )
  }
  const none = await app.inject({ url: '/osb/v2/catalog', headers })
  assert.equal(none.headers['x-broker-api-request-identity'], undefined)
})
