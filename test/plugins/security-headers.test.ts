import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify, { type LightMyRequestResponse } from 'fastify'
import { openServiceBroker } from '../../src/app.ts'
import { serverOptions } from '../../src/server.ts'
import { buildApp, credentials, headers, testCatalog } from '../helper/app.ts'
import { get, guarded, put } from '../server/lines.ts'

function securityHeadersOf({ headers }: LightMyRequestResponse) {
  return [headers['x-content-type-options'], headers['referrer-policy']]
}

const expected = ['nosniff', 'no-referrer']

const answers: [string, string, number][] = [
  ['the catalog', get('/v2/catalog'), 200],
  ['HEAD', get('/v2/catalog').replace('GET', 'HEAD'), 200],
  ['a health check', get('/healthz'), 200],
  ['a readiness check', get('/readyz'), 200],
  ['the document of the routes', get('/docs/json'), 200],
  ['the viewer', get('/docs/'), 200],
  ['a file of the viewer', get('/docs/static/swagger-ui.css'), 200],
  ['a file that the viewer does not have', get('/docs/static/none.css'), 404],
  ['no credentials', get('/v2/catalog').replace(/Authorization[^\r]*\r\n/, ''), 401],
  ['no version', get('/v2/catalog').replace(/X-Broker[^\r]*\r\n/, ''), 412],
  ['an unknown path', get('/unknown'), 404],
  ['an unknown method of a path', get('/v2/catalog').replace('GET', 'DELETE'), 405],
  ['a method that no route has', get('/v2/catalog').replace('GET', 'PROPFIND'), 405],
  ['a bad percent escape', get('/v2/%zz'), 400],
  ['an id that is too long', get(`/v2/service_instances/${'x'.repeat(2_000)}`), 400],
  ['an instance that is not there', get('/v2/service_instances/i-1'), 404],
  ['a body that is not JSON', put('/v2/service_instances/i-1', '{'), 400],
  ['no HTTP', 'nonsense\r\n\r\n', 400],
  ['headers over 16 KiB', get('/healthz', `A: ${'x'.repeat(20_000)}\r\n`), 431],
  ['more than 100 headers', get('/healthz', 'A: b\r\n'.repeat(100)), 431],
  ['CONNECT', 'CONNECT other:443 HTTP/1.1\r\nHost: other\r\n\r\n', 405],
  ['an expectation', put('/v2/service_instances/i-1', '{}', 'Expect: miracles\r\n'), 417]
]

test('security headers: they are on every answer of the server', async (t) => {
  const { dial } = await guarded(t)
  for (const [what, text, status] of answers) {
    const line = await dial()
    line.send(text.replace('Host', 'Connection: close\r\nHost'))
    const closed = new Promise((resolve) => line.socket.once('close', resolve))
    await closed
    const [head = ''] = line.said.split('\r\n\r\n', 1)
    assert.match(head, new RegExp(`^HTTP/1.1 ${status} `), what)
    assert.match(head, /\r\nx-content-type-options: nosniff(\r\n|$)/i, what)
    assert.match(head, /\r\nreferrer-policy: no-referrer(\r\n|$)/i, what)
  }
})

test('security headers: embedded, they are on the answers of the broker and on no other', async (t) => {
  const app = Fastify(serverOptions)
  t.after(() => app.close())
  app.get('/host', async () => ({}))
  await app.register(openServiceBroker, { prefix: '/osb', catalog: testCatalog(), auth: credentials })
  for (const url of ['/osb/v2/catalog', '/osb/healthz', '/osb/unknown', '/osb/docs/json']) {
    assert.deepEqual(securityHeadersOf(await app.inject({ url, headers })), expected, url)
  }
  for (const url of ['/host', '/unknown']) {
    assert.deepEqual(securityHeadersOf(await app.inject(url)), [undefined, undefined], url)
  }
})

test('security headers: they are on the answers of every verb', async (t) => {
  const app = await buildApp(t)
  for (const method of ['GET', 'PUT', 'PATCH', 'DELETE'] as const) {
    const url = '/v2/service_instances/i-1'
    assert.deepEqual(securityHeadersOf(await app.inject({ method, url, headers })), expected, method)
  }
})
