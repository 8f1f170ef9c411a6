import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import { errors } from '../../plugins/errors.ts'
import { identity, parseOriginatingIdentity } from '../../plugins/identity.ts'

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64')
}

async function identified(t: TestContext) {
  const app = Fastify({ logger: false })
  t.after(() => app.close())
  await app.register(errors, { answerUnknownRoutes: true })
  await app.register(identity)
  app.get('/', async ({ osbCall: { log: _log, receivedAt: _receivedAt, ...call } }) => call)
  app.get('/broken', async () => {
    throw new Error('broken')
  })
  return (url: string, headers: Record<string, string> = {}) => app.inject({ url, headers })
}

test('identity plugin: the request identity is echoed, refusals and unknown routes included', async (t) => {
  const get = await identified(t)
  const name = 'x-broker-api-request-identity'
  for (const [url, status] of [
    ['/', 200],
    ['/broken', 500],
    ['/unknown', 404]
  ] as const) {
    const reply = await get(url, { [name]: 'e2f8-1' })
    assert.deepEqual([reply.statusCode, reply.headers[name]], [status, 'e2f8-1'])
    assert.ok(!(name in (await get(url)).headers))
    assert.ok(!(name in (await get(url, { [name]: '' })).headers))
  }
})

test('identity plugin: the call carries the identities, and leaves out what was not sent', async (t) => {
  const get = await identified(t)
  assert.deepEqual((await get('/')).json(), { platform: '', acceptsIncomplete: false })
  const value = { user_id: '683ea748', extra: { groups: ['ü'] } }
  const reply = await get('/', {
    'x-broker-api-request-identity': 'r-1',
    'x-broker-api-originating-identity': `cloudfoundry ${encode(value)}`
  })
  assert.deepEqual(reply.json(), {
    platform: '',
    acceptsIncomplete: false,
    requestIdentity: 'r-1',
    originatingIdentity: { platform: 'cloudfoundry', value }
  })
})

test('identity plugin: an originating identity that breaks the format answers 400', async (t) => {
  const get = await identified(t)
  const wrong = [
    'cloudfoundry',
    encode({}),
    'cloudfoundry !!!!',
    `cloudfoundry ${encode([])}`,
    `cloudfoundry ${encode(null)}`,
    `cloudfoundry ${encode('text')}`,
    `cloudfoundry ${encode({})} ${encode({})}`,
    `cloudfoundry ${Buffer.from('{').toString('base64')}`,
    `cloudfoundry ${encode({ user: 'a\0' })}`,
    `cloudfoundry ${encode({ user: '\ud800' })}`,
    `cloudfoundry ${encode({ user: 'x'.repeat(20_000) })}`
  ]
  for (const header of wrong) {
    const reply = await get('/', { 'x-broker-api-originating-identity': header })
    assert.equal(reply.statusCode, 400, header.slice(0, 80))
    assert.match(reply.json().description, /^X-Broker-API-Originating-Identity must be/)
  }
})

test('parseOriginatingIdentity: the example of the specification', () => {
  const header = 'cloudfoundry eyANCiAgInVzZXJfaWQiOiAiNjgzZWE3NDgtMzA5Mi00ZmY0LWI2NTYtMzljYWNjNGQ1MzYwIg0KfQ=='
  assert.deepEqual(parseOriginatingIdentity(header), {
    platform: 'cloudfoundry',
    value: { user_id: '683ea748-3092-4ff4-b656-39cacc4d5360' }
  })
  assert.equal(parseOriginatingIdentity(undefined), undefined)
})
