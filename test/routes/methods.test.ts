import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify, { type HTTPMethods } from 'fastify'
import { openServiceBroker } from '../../src/app.ts'
import { guardServer } from '../../src/server/guard.ts'
import { serverOptions } from '../../src/server.ts'
import { buildApp, credentials, headers, testCatalog } from '../helper/app.ts'
import { refused } from './support.ts'

const ALL: HTTPMethods[] = ['GET', 'HEAD', 'PUT', 'PATCH', 'POST', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'LOCK']

/** Paths and the methods that they have. */
const paths: [string, string][] = [
  ['/v2/catalog', 'GET, HEAD'],
  ['/v2/service_instances/i-1', 'DELETE, GET, HEAD, PATCH, PUT'],
  ['/v2/service_instances/a%2Fb/last_operation', 'GET, HEAD'],
  ['/v2/service_instances/i-1/service_bindings/b-1', 'DELETE, GET, PUT'],
  ['/v2/service_instances/i-1/service_bindings/b-1/last_operation', 'GET, HEAD'],
  ['/healthz', 'GET, HEAD'],
  ['/readyz', 'GET, HEAD'],
  ['/docs', 'GET, HEAD'],
  ['/docs/', 'GET, HEAD'],
  ['/docs/json', 'GET, HEAD'],
  ['/docs/static/index.css', 'GET, HEAD']
]

/** A server of the broker's own, and a plugin below a prefix. */
const apps = [
  {
    name: 'own server',
    prefix: '',
    build: async () => {
      const app = Fastify(serverOptions)
      guardServer(app, { max: 10, maxPerAddress: 10 })
      await app.register(openServiceBroker, { catalog: testCatalog(), auth: credentials })
      return app
    }
  },
  { name: 'embedded', prefix: '/osb', build: undefined }
] as const

for (const { name, prefix, build } of apps) {
  test(`any route, ${name}: a method that a known path does not have answers 405 with Allow`, async (t) => {
    const app = build === undefined ? await buildApp(t, { prefix }) : await build()
    t.after(() => app.close())
    for (const [path, allow] of paths) {
      const url = `${prefix}${path}?a=b`
      for (const method of ALL.filter((method) => !allow.split(', ').includes(method))) {
        const reply = await app.inject({ method, url, headers })
        // An answer to HEAD has no body.
        if (method === 'HEAD') assert.equal(reply.statusCode, 405)
        else refused(reply, 405, new RegExp(`^There is no ${method} ${prefix}${path}\\.$`))
        assert.equal(reply.headers.allow, allow, `${method} ${url}`)
      }
    }
    for (const url of [`http://broker${prefix}/healthz`, `${prefix}/v2/%63atalog#a`, `${prefix}/docs/static/a%2Fb`]) {
      const reply = await app.inject({ method: 'POST', url, headers })
      refused(reply, 405, /There is no POST/)
      assert.equal(reply.headers.allow, 'GET, HEAD', url)
    }
    for (const url of [`${prefix}/v2`, `${prefix}/v2/catalog/`, `${prefix}/v2/service_instances/`]) {
      const reply = await app.inject({ method: 'POST', url, headers })
      refused(reply, 404, /There is no POST/)
      assert.equal(reply.headers.allow, undefined)
    }
  })
}

test('any route, embedded: the prefix of the host may have parameters and other scripts', async (t) => {
  for (const [prefix, at] of [
    ['/:tenant/osb', '/x/osb'],
    ['/for-:tenant', '/for-x'],
    ['/ö', '/%C3%B6']
  ] as const) {
    const app = await buildApp(t, { prefix })
    assert.equal((await app.inject({ url: `${at}/v2/catalog`, headers })).statusCode, 200)
    const reply = await app.inject({ method: 'POST', url: `${at}/v2/catalog`, headers })
    assert.deepEqual([reply.statusCode, reply.headers.allow], [405, 'GET, HEAD'], prefix)
  }
})

test('embedding at the root: the host answers methods that are not ours', async (t) => {
  const app = Fastify(serverOptions)
  t.after(() => app.close())
  app.post('/healthz', async () => ({ host: true }))
  await app.register(openServiceBroker, { catalog: testCatalog(), auth: credentials })
  assert.deepEqual((await app.inject({ method: 'POST', url: '/healthz' })).json(), { host: true })
})
