import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import { apiVersion } from '../../plugins/api-version.ts'
import { auth } from '../../plugins/auth.ts'
import { errors } from '../../plugins/errors.ts'
import { identity } from '../../plugins/identity.ts'

async function versioned(t: TestContext, options: { missingStatus?: 400 | 412 } = {}) {
  const app = Fastify({ logger: false })
  t.after(() => app.close())
  await app.register(errors, { answerUnknownRoutes: true })
  await app.register(identity)
  await app.register(auth, { platforms: false })
  await app.register(apiVersion, options)
  app.get('/', async (request) => ({ minor: request.osbMinor }))
  return (version?: string) =>
    app.inject({ url: '/', headers: version === undefined ? {} : { 'x-broker-api-version': version } })
}

test('api-version plugin: every 2.x is taken', async (t) => {
  const get = await versioned(t)
  const minors: [string, number][] = [
    ['2.0', 0],
    ['2.1', 1],
    ['2.11', 11],
    ['2.13', 13],
    ['2.14', 14],
    ['2.15', 15],
    ['2.16', 16],
    ['2.17', 17],
    ['2.18', 18],
    ['2.99', 99],
    [' 2.17 ', 17]
  ]
  for (const [version, minor] of minors) {
    const reply = await get(version)
    assert.deepEqual([reply.statusCode, reply.json()], [200, { minor }], version)
  }
})

test('api-version plugin: another version answers 412 and names the one that works', async (t) => {
  const get = await versioned(t, { missingStatus: 400 })
  const versions = ['1.0', '3.0', '2', '2.', '2.x', '.17', 'v2.17', '2.17.0', '2,17', '-2.17', '2.-1', '2.17, 2.16']
  for (const version of [...versions, '2.1e1', '22.17', '2 .17', 'latest', '2.99999999999999999999']) {
    const reply = await get(version)
    assert.equal(reply.statusCode, 412, version)
    assert.deepEqual(reply.json(), {
      description: 'X-Broker-API-Version must be 2.x; this broker implements 2.17.'
    })
  }
})

test('api-version plugin: a missing or empty header answers 412, or 400 by option', async (t) => {
  for (const [options, status] of [
    [{}, 412],
    [{ missingStatus: 412 }, 412],
    [{ missingStatus: 400 }, 400]
  ] as const) {
    const get = await versioned(t, options)
    for (const version of [undefined, '', '  ']) {
      const reply = await get(version)
      assert.equal(reply.statusCode, status)
      assert.match(reply.json().description, /X-Broker-API-Version is required/)
    }
  }
})
