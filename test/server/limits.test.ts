import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { guardServer } from '../../src/server/guard.ts'
import { serverOptions } from '../../src/server.ts'
import { headers } from '../helper/app.ts'
import { until } from './broker-process.ts'
import { dial, get, guarded, instance, provision, put, refusedOnce, repliesIn } from './lines.ts'

const broken: [string, string, number, RegExp][] = [
  ['no HTTP', 'nonsense\r\n\r\n', 400, /not a valid HTTP request/],
  ['a method that HTTP does not know', get('/healthz').replace('GET', 'FOO'), 400, /not a valid HTTP request/],
  ['TLS', '\x16\x03\x01\x02\x00\x01\x00', 400, /not a valid HTTP request/],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, /not a valid HTTP request/],
  ['a bare CR within a header', get('/healthz', 'A: b\rc\r\n'), 400, /not a valid HTTP request/],
  ['a header that goes on in the next line', get('/healthz', 'A: b\r\n c\r\n'), 400, /not a valid HTTP request/],
  ['a space before the colon', get('/healthz', 'Content-Length : 5\r\n'), 400, /not a valid HTTP request/],
  ['two different lengths', put(instance, provision, 'Content-Length: 3\r\n'), 400, /not a valid HTTP request/],
  ['a length and chunks', put(instance, provision, 'Transfer-Encoding: chunked\r\n'), 400, /not a valid HTTP request/],
  ['a negative length', get(instance, 'Content-Length: -1\r\n'), 400, /not a valid HTTP request/],
  ['a length that overflows', get(instance, `Content-Length: ${'9'.repeat(30)}\r\n`), 400, /not a valid HTTP request/],
  ['chunks that are not the last coding', get(instance, 'Transfer-Encoding: chunked, x\r\n'), 400, /not a valid HTTP/],
  ['a chunk of no size', get(instance, 'Transfer-Encoding: chunked\r\n\r\nzz\r\n'), 400, /not a valid HTTP request/],
  ['headers over 16 KiB', get('/healthz', `A: ${'x'.repeat(20_000)}\r\n`), 431, /larger than 16 KiB/],
  ['a path over 16 KiB', get(`/${'x'.repeat(20_000)}`), 431, /larger than 16 KiB/],
  ['more than 100 headers', get('/healthz', 'A: b\r\n'.repeat(100)), 431, /more than 100 headers/],
  ['no host', get('/healthz').replace('Host: broker\r\n', ''), 400, /Host is required/],
  ['two hosts', get('/healthz', 'Host: other\r\n'), 400, /more than one host/],
  ['two credentials', get('/v2/catalog', 'Authorization: Basic YTpi\r\n'), 400, /more than one authorization/],
  ['CONNECT', 'CONNECT other:443 HTTP/1.1\r\nHost: other\r\n\r\n', 405, /no CONNECT/],
  ['an expectation', put(instance, provision, 'Expect: miracles\r\n'), 417, /only 100-continue/]
]
for (const [what, text, status, description] of broken) {
  test(`server: ${what} answers ${status} with a description, and closes the connection`, async (t) => {
    const { app, dial } = await guarded(t)
    const line = await dial()
    line.send(text)
    await refusedOnce(line, status, description)
    assert.equal((await app.inject({ url: instance, headers })).statusCode, 404)
  })
}

test('server: what has to be understood is understood', async (t) => {
  const { dial } = await guarded(t)
  const cases: [string, number][] = [
    [get('http://broker/healthz'), 200],
    [get('/healthz', 'Connection: upgrade\r\nUpgrade: websocket\r\n'), 200],
    [get('/healthz', 'Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n'), 200],
    ['GET /healthz HTTP/1.0\r\n\r\n', 200],
    [get('/healthz').replace('GET', 'TRACE'), 405],
    [get('/healthz').replace('GET', 'PROPFIND'), 405],
    [get('/unknown').replace('GET', 'PROPFIND'), 404],
    [get('*').replace('GET', 'OPTIONS'), 404],
    [put(instance, provision, 'Expect: 100-continue\r\n'), 100]
  ]
  for (const [text, status] of cases) {
    const line = await dial()
    line.send(text)
    await until('an answer comes', () => line.said.endsWith('}'))
    const [first, second] = repliesIn(line.said)
    assert.equal(first?.status, status, `${text}${line.said}`)
    if (status === 100) assert.equal(second?.status, 201)
  }
})

test('server: a path that is none of ours answers 4xx with a description, whatever comes with it', async (t) => {
  const { dial } = await guarded(t)
  const cases: [string, number][] = [
    [get('/unknown'), 404],
    [put('/unknown', '{', 'Content-Type: text/xml\r\n'), 404],
    [get('/v2/catalog').replace('GET', 'QUERY'), 400]
  ]
  for (const [text, status] of cases) {
    const line = await dial()
    line.send(text.replace('Host', 'X-Broker-API-Request-Identity: one\r\nConnection: close\r\nHost'))
    const reply = await refusedOnce(line, status, /\.$/)
    assert.match(reply.head, /\r\nx-broker-api-request-identity: one\r\n/i)
    assert.deepEqual(Object.keys(reply.body), ['description'])
  }
})

test('server: nonsense behind a request does not take the place of its answer', async (t) => {
  const { app, dial } = await guarded(t)
  const line = await dial()
  line.send(`${put(instance, provision)}${get('/healthz')}nonsense\r\n\r\n`)
  const replies = await line.answers()
  assert.deepEqual(
    replies.map(({ status }) => status),
    [201, 200, 400]
  )
  assert.match(String(replies[2]?.body.description), /not a valid HTTP request/)
  assert.equal((await app.inject({ url: instance, headers })).statusCode, 200)
})

test('server: a body that breaks off in nonsense behind a request in work is refused after it', async (t) => {
  const { dial } = await guarded(t)
  const line = await dial()
  const chunked = get(instance, 'Transfer-Encoding: chunked\r\n').replace('GET', 'PATCH')
  line.send(`${put(instance, provision)}${chunked}zz\r\n`)
  assert.deepEqual(
    (await line.answers()).map(({ status }) => status),
    [201, 400]
  )
})

test('server: a body without an end is refused once its answer is known', async (t) => {
  const { dial } = await guarded(t, { requestMs: 300, headersMs: 300 })
  const line = await dial()
  line.send(put(instance, provision, 'Authorization: Basic YTpi\r\n').replace('Content-Length: ', 'Content-Length: 9'))
  await until('the refusal comes', () => line.said.includes('more than one authorization'))
  assert.deepEqual(
    (await line.answers()).map(({ status }) => status),
    [400]
  )
})

test('server: headers that do not end answer 408 in time, and others are served meanwhile', async (t) => {
  const { app, dial } = await guarded(t, { headersMs: 500 })
  const lines = await Promise.all(Array.from({ length: 20 }, dial))
  for (const line of lines) line.send('GET /healthz HTTP/1.1\r\nHost: broker\r\n')
  const dripping = setInterval(
    () => lines.forEach((line, index) => void (line.closed || line.send(`A${index}: b\r\n`))),
    100
  )
  t.after(() => clearInterval(dripping))
  assert.equal((await app.inject('/healthz')).statusCode, 200)
  for (const line of lines) await refusedOnce(line, 408, /did not arrive in time/)
})

test('server: a body that does not end answers 408 in time and changes nothing', async (t) => {
  const { app, dial } = await guarded(t, { headersMs: 200, requestMs: 500 })
  const line = await dial()
  line.send(put(instance, provision).slice(0, -1))
  await refusedOnce(line, 408, /did not arrive in time/)
  assert.equal((await app.inject({ url: instance, headers })).statusCode, 404)
})

test('server: a connection that says nothing is closed without an answer', async (t) => {
  const { dial } = await guarded(t, { headersMs: 200 })
  const line = await dial()
  assert.deepEqual(await line.answers(), [])
})

test('server: connections that are unused, or get no further, do not hold up its end', async (t) => {
  const { app, dial } = await guarded(t)
  const [unused, headersAlone, half] = [await dial(), await dial(), await dial()]
  headersAlone.send('GET /healthz HTTP/1.1\r\n')
  half.send(put(instance, provision).slice(0, -1))
  await until('the request has begun', async () => (await connectionsOf(app)) === 3)
  const began = Date.now()
  await app.close()
  assert.ok(Date.now() - began < 4_000)
  for (const line of [unused, headersAlone, half]) await until('it is closed', () => line.closed)
})

test('server: an answer that is due when the server closes is the last one on its connection', async (t) => {
  const app = Fastify(serverOptions)
  const closeUnused = guardServer(app, { max: 10, maxPerAddress: 10 })
  const closing = Promise.withResolvers<void>()
  app.addHook('preClose', async () => {
    closeUnused()
    closing.resolve()
  })
  const work = Promise.withResolvers<object>()
  const began = Promise.withResolvers<void>()
  app.get('/', () => {
    began.resolve()
    return work.promise
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const address = app.server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const line = await dial(t, address.port)
  line.send(get('/'))
  await began.promise
  const closed = app.close()
  await closing.promise
  work.resolve({ done: true })
  const [reply] = await line.answers()
  assert.equal(reply?.status, 200)
  assert.match(reply?.head ?? '', /connection: close/i)
  await closed
})

function connectionsOf(app: FastifyInstance): Promise<number> {
  return new Promise((resolve, reject) => {
    app.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)))
  })
}
