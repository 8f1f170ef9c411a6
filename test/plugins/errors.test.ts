import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import { errors, sendError } from '../../plugins/errors.ts'
import { BrokerError, refusals } from '../../src/core/errors.ts'
import { Unavailable } from '../../src/core/provider.ts'

/** An app whose only route throws. */
async function throwing(t: TestContext, thrown: unknown, answerUnknownRoutes = true) {
  const app = Fastify({ logger: false })
  t.after(() => app.close())
  await app.register(errors, { answerUnknownRoutes })
  app.get('/', async () => {
    throw thrown
  })
  return app
}

test('errors plugin: a BrokerError answers its status, its fields and Retry-After', async (t) => {
  const cases: [BrokerError, object][] = [
    [refusals.instanceUnknown('i-1'), { description: 'There is no service instance "i-1".' }],
    [
      refusals.concurrency(),
      {
        error: 'ConcurrencyError',
        description: 'The Service Broker does not support concurrent requests that mutate the same resource.'
      }
    ],
    [
      refusals.unsupportedChange('Not so.'),
      { description: 'Not so.', instance_usable: true, update_repeatable: false }
    ],
    [refusals.unavailable('Away.', 7), { description: 'Away.' }],
    [
      new BrokerError(500, 'Failed.', { instanceUsable: false, cause: new Error('secret') }),
      {
        description: 'Failed.',
        instance_usable: false
      }
    ]
  ]
  for (const [error, body] of cases) {
    const reply = await (await throwing(t, error)).inject('/')
    assert.equal(reply.statusCode, error.status)
    assert.deepEqual(reply.json(), body)
    assert.match(String(reply.headers['content-type']), /^application\/json/)
    assert.equal(reply.headers['retry-after'], error.status === 503 ? '7' : undefined)
  }
})

test('errors plugin: Unavailable answers 503 with Retry-After in whole seconds', async (t) => {
  const reply = await (await throwing(t, new Unavailable('The database is away.'))).inject('/')
  assert.equal(reply.statusCode, 503)
  assert.deepEqual(reply.json(), { description: 'The database is away.' })
  assert.match(String(reply.headers['retry-after']), /^[1-9]\d*$/)
})

test('errors plugin: whatever else is thrown answers a bare 500 that tells nothing', async (t) => {
  const odd = Object.assign(new Error('password=secret'), { statusCode: 503, code: 'EODD' })
  for (const thrown of [new Error('password=secret'), new TypeError('secret'), odd, { secret: 1 }]) {
    const reply = await (await throwing(t, thrown)).inject('/')
    assert.equal(reply.statusCode, 500)
    assert.deepEqual(reply.json(), { description: 'The broker failed. The cause is in its log.' })
  }
})

test('errors plugin: what Fastify refuses keeps its 4xx and says why', async (t) => {
  const app = await throwing(t, undefined)
  app.put('/', { schema: { body: { type: 'object', required: ['a'] } } }, async () => ({}))
  const put = (payload: string, type: string) =>
    app.inject({ method: 'PUT', url: '/', payload, headers: { 'content-type': type } })
  const cases: [Promise<{ statusCode: number; json(): { description: string } }>, number, RegExp][] = [
    [put('{}', 'application/json'), 400, /required property 'a'/],
    [put('{', 'application/json'), 400, /./],
    [put('a', 'text/csv'), 400, /media type/i],
    [put(`"${'x'.repeat(1024 * 1024)}"`, 'application/json'), 413, /too large/]
  ]
  for (const [answer, status, says] of cases) {
    const reply = await answer
    assert.equal(reply.statusCode, status)
    assert.match(reply.json().description, says)
  }
})

test('errors plugin: unknown routes are answered below a prefix, and left to the host otherwise', async (t) => {
  const ours = await (await throwing(t, undefined)).inject('/unknown?password=secret')
  assert.equal(ours.statusCode, 404)
  assert.deepEqual(ours.json(), { description: 'There is no GET /unknown.' })
  const hosts = await (await throwing(t, undefined, false)).inject('/unknown')
  assert.deepEqual([hosts.statusCode, hosts.json().error], [404, 'Not Found'])
})

test('errors plugin: sendError shapes what skips every hook', async (t) => {
  const app = Fastify({
    frameworkErrors: (error, request, reply) => {
      sendError(error, request, reply)
    },
    routerOptions: { maxParamLength: 10 }
  })
  t.after(() => app.close())
  app.get('/:id', async () => ({}))
  for (const [url, says] of [
    ['/%zz', /./],
    [`/${'x'.repeat(50)}`, /./]
  ] as const) {
    const reply = await app.inject(url)
    assert.equal(reply.statusCode, 400)
    assert.match(reply.json().description, says)
    assert.match(String(reply.headers['content-type']), /^application\/json/)
  }
})
