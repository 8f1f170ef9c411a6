import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import { errors } from '../../plugins/errors.ts'
import { validation } from '../../plugins/validation.ts'

async function validating(t: TestContext) {
  const app = Fastify({ logger: false })
  t.after(() => app.close())
  await app.register(errors, { answerUnknownRoutes: true })
  await app.register(validation)
  const schema = {
    querystring: Type.Object({ flag: Type.Optional(Type.Boolean()), text: Type.Optional(Type.String()) }),
    body: Type.Object({ text: Type.Optional(Type.String()), flag: Type.Optional(Type.Boolean()) })
  }
  app.put('/:id', { schema }, async ({ params, query, body }) => ({ params, query, body }))
  app.get('/:id', async () => ({}))
  const put = (payload: string, url = '/x', type: string | undefined = 'application/json') =>
    app.inject({ method: 'PUT', url, payload, headers: type === undefined ? {} : { 'content-type': type } })
  return { app, put }
}

test('validation plugin: bodies are never coerced, queries are', async (t) => {
  const { put } = await validating(t)
  const taken = await put('{"text":"5","flag":true,"unknown":null}', '/x?flag=true&text=5&unknown=1')
  assert.deepEqual(taken.json(), {
    params: { id: 'x' },
    query: { flag: true, text: '5', unknown: '1' },
    body: { text: '5', flag: true, unknown: null }
  })
  for (const body of ['{"text":5}', '{"text":null}', '{"flag":"true"}', '{"flag":1}', '[]', 'null', '']) {
    const reply = await put(body)
    assert.equal(reply.statusCode, 400, body)
    assert.match(reply.json().description, /^body/)
  }
  for (const query of ['flag=1', 'flag=yes', 'flag=true&flag=true']) {
    const reply = await put('{}', `/x?${query}`)
    assert.equal(reply.statusCode, 400, query)
    assert.match(reply.json().description, /flag/)
  }
})

test('validation plugin: JSON under any JSON type or none is taken, another type answers 400', async (t) => {
  const { put } = await validating(t)
  for (const type of ['application/json', 'application/JSON ; charset=utf-8', 'application/vnd.x+json', undefined]) {
    assert.equal((await put('{}', '/x', type)).statusCode, 200, type)
  }
  for (const type of ['text/plain', 'text/json', 'application/xml', 'application/json-seq', 'application/jsonp']) {
    const reply = await put('{}', '/x', type)
    assert.equal(reply.statusCode, 400, type)
    assert.match(reply.json().description, new RegExp(`application/json, not "${type}"`))
  }
})

test('validation plugin: text that cannot be stored answers 400 in body, path and query', async (t) => {
  const { app, put } = await validating(t)
  for (const body of ['{"a":"\\u0000"}', '{"a":{"b":["\\ud800"]}}', '{"\\udfff":1}']) {
    const reply = await put(body)
    assert.deepEqual(
      [reply.statusCode, reply.json()],
      [400, { description: 'The body has a NUL character or a lone surrogate.' }]
    )
  }
  assert.match((await put('{}', '/a%00')).json().description, /^The id "a\\u\{0\}" has the character U\+0000\./)
  assert.match((await put('{}', '/a?b=%00')).json().description, /^The query has a NUL/)
  assert.match((await put('{}', '/a?%00=b')).json().description, /^The query has a NUL/)
  assert.equal((await app.inject('/a%00')).statusCode, 400)
  assert.deepEqual((await put('{"a":"🙂 \\ud83d\\ude42"}')).json().body, { a: '🙂 🙂' })
})

test('validation plugin: depth is bounded at 64 levels, whatever the size', async (t) => {
  const { put } = await validating(t)
  const nest = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
  assert.equal((await put(nest(64))).statusCode, 200)
  for (const depth of [65, 10_000, 400_000]) {
    const reply = await put(nest(depth))
    assert.deepEqual([reply.statusCode, reply.json()], [400, { description: 'The body nests deeper than 64 levels.' }])
  }
})

test('validation plugin: the number of values is bounded at 10,000, and of query parameters at 100', async (t) => {
  const { app, put } = await validating(t)
  const list = (length: number) => JSON.stringify({ a: Array.from({ length }, () => 0) })
  assert.equal((await put(list(9_000))).statusCode, 200)
  const pairs = JSON.stringify({ a: Array.from({ length: 5_000 }, () => ({ b: 1 })) })
  for (const body of [list(10_000), list(500_000), pairs]) {
    const reply = await put(body)
    assert.deepEqual([reply.statusCode, reply.json()], [400, { description: 'The body has more than 10000 values.' }])
  }
  const parameters = (count: number) => Array.from({ length: count }, (_, index) => `p${index}=`).join('&')
  assert.equal((await app.inject(`/a?${parameters(100)}`)).statusCode, 200)
  for (const query of [parameters(101), 'p=&'.repeat(101)]) {
    const reply = await app.inject(`/a?${query}`)
    const description = 'The query has more than 100 parameters.'
    assert.deepEqual([reply.statusCode, reply.json()], [400, { description }])
  }
})

test('validation plugin: a body that is compressed answers 415 and is not inflated', async (t) => {
  const { app } = await validating(t)
  const put = (encoding: string, payload: Buffer | string) =>
    app.inject({
      method: 'PUT',
      url: '/x',
      payload,
      headers: { 'content-type': 'application/json', 'content-encoding': encoding }
    })
  for (const encoding of ['gzip', 'GZIP', 'br', 'deflate', 'zstd', 'identity, gzip', 'unknown']) {
    const reply = await put(encoding, gzipSync('{}'))
    assert.equal(reply.statusCode, 415, encoding)
    assert.match(reply.json().description, /Content-Encoding may be identity only/)
    assert.equal(reply.headers['accept-encoding'], 'identity')
  }
  for (const encoding of ['identity', 'Identity', '']) assert.equal((await put(encoding, '{}')).statusCode, 200)
})

test('validation plugin: prototype keys answer 400', async (t) => {
  const { put } = await validating(t)
  for (const body of ['{"__proto__":{}}', '{"a":[{"__proto__":1}]}', '{"\\u005f\\u005fproto__":1}']) {
    assert.match((await put(body)).json().description, /"__proto__"/)
  }
  assert.match((await put('{}', '/x?__proto__=1')).json().description, /"__proto__"/)
})

test('validation plugin: a body over 1 MiB answers 413, even where the host allows more', async (t) => {
  const app = Fastify({ bodyLimit: 10 * 1024 * 1024 })
  t.after(() => app.close())
  await app.register(errors, { answerUnknownRoutes: true })
  await app.register(validation)
  app.put('/', async () => ({}))
  const put = (size: number) => app.inject({ method: 'PUT', url: '/', payload: `"${'x'.repeat(size - 2)}"` })
  assert.equal((await put(1024 * 1024)).statusCode, 200)
  const reply = await put(1024 * 1024 + 1)
  assert.equal(reply.statusCode, 413)
  assert.match(reply.json().description, /too large/)
})
