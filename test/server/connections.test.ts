import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect as tls } from 'node:tls'
import Fastify, { type FastifyInstance } from 'fastify'
import { guardServer } from '../../src/server/guard.ts'
import { serverOptions } from '../../src/server.ts'
import { until } from './broker-process.ts'
import { get, guarded, instance, type Line, provision, put, refusedOnce } from './lines.ts'

type Dial = (from?: string) => Promise<Line>

/** Connections of a platform that stay open after their first answer. */
async function authenticated(dial: Dial, count: number, from?: string): Promise<Line[]> {
  const lines = await Promise.all(Array.from({ length: count }, () => dial(from)))
  for (const line of lines) line.send(get('/v2/catalog'))
  for (const line of lines) await until('the catalog comes', () => line.said.includes('200 OK'))
  return lines
}

/** A request without credentials. */
function anonymous(path: string): string {
  return get(path).replace(/Authorization[^\r]*\r\n/, '')
}

async function statusOf(dial: Dial, path: string, from?: string): Promise<number | undefined> {
  const line = await dial(from)
  line.send(get(path, 'Connection: close\r\n'))
  return (await line.answers())[0]?.status
}

test('connections: a thousand idle ones from one host keep nobody out, with the defaults', async (t) => {
  const { dial } = await guarded(t, { max: 1_000, maxPerAddress: 500 })
  const idle: Line[] = []
  while (idle.length < 1_100) idle.push(...(await Promise.all(Array.from({ length: 50 }, () => dial('127.0.0.9')))))
  assert.equal(await statusOf(dial, '/healthz'), 200)
  assert.equal(await statusOf(dial, '/v2/catalog'), 200)
  assert.equal(await statusOf(dial, '/v2/catalog', '127.0.0.9'), 200)
  await until('the oldest are closed', () => idle.filter(({ closed }) => closed).length === 601)
  assert.ok(idle.slice(0, 601).every(({ closed }) => closed))
})

test('connections: idle ones from many hosts keep nobody out either', async (t) => {
  const { dial } = await guarded(t, { max: 100, maxPerAddress: 50 })
  const hosts = Array.from({ length: 40 }, (_, index) => `127.0.1.${index + 1}`)
  const idle = await Promise.all(hosts.flatMap((host) => [dial(host), dial(host), dial(host), dial(host)]))
  await until('the surplus is closed', () => idle.filter(({ closed }) => closed).length === 60)
  assert.equal(await statusOf(dial, '/v2/catalog'), 200)
})

test('connections: over the limit, those that were never used are closed, the oldest first', async (t) => {
  const { dial } = await guarded(t, { max: 3 })
  const oldest = await dial()
  const slow = await dial()
  slow.send('GET /healthz HTTP/1.1\r\nHost: ')
  const [used] = await authenticated(dial, 1)
  assert.equal(await statusOf(dial, '/v2/catalog'), 200)
  assert.deepEqual([oldest.closed, slow.closed, used?.closed], [true, false, false])
  const [further] = await authenticated(dial, 1)
  assert.equal(await statusOf(dial, '/v2/catalog'), 200)
  await until('incomplete headers count as unused', () => slow.closed)
  assert.deepEqual([used?.closed, further?.closed], [false, false])
})

test('connections: over the limit, idle ones without credentials make room, those of a platform do not', async (t) => {
  const { dial } = await guarded(t, { max: 2 })
  const stranger = await dial()
  stranger.send(anonymous('/healthz'))
  await until('it is served', () => stranger.said.includes('200 OK'))
  const [first] = await authenticated(dial, 1)
  const [second] = await authenticated(dial, 1)
  await until('the stranger is gone', () => stranger.closed)
  const surplus = await dial()
  surplus.send(get('/v2/catalog'))
  const reply = await refusedOnce(surplus, 503, /has too many connections\.$/)
  assert.match(reply.head, /\r\nretry-after: 5\r\n/i)
  assert.equal(await statusOf(dial, '/healthz'), 200)
  assert.deepEqual([first?.closed, second?.closed], [false, false])
  first?.socket.destroy()
  await until('there is room', async () => (await statusOf(dial, '/v2/catalog')) === 200)
})

test('connections: over the limit, those that do not read their answers make room after a while', async (t) => {
  const { dial } = await guarded(t, { max: 2 })
  const platform = await dial()
  platform.send(put(instance, provision).slice(0, -1))
  const greedy = await dial()
  greedy.socket.pause()
  greedy.send(anonymous('/docs/static/swagger-ui-bundle.js').repeat(30))
  await until('the answer begins', () => greedy.socket.readableLength > 0)
  assert.equal(await statusOf(dial, '/v2/catalog'), 503)
  await until('there is room', async () => (await statusOf(dial, '/v2/catalog')) === 200, 30_000)
  platform.send(provision.slice(-1))
  await until('the request with credentials is answered', () => platform.said.includes('201 Created'))
})

test('connections: those of two addresses that read no answers keep no other address out', async (t) => {
  const greedy: Line[] = []
  // Before the server closes, because it waits for answers.
  t.after(() => greedy.forEach(({ socket }) => void socket.destroy()))
  const { dial } = await guarded(t, { max: 6, maxPerAddress: 3 })
  const from = ['127.0.0.2', '127.0.0.2', '127.0.0.2', '127.0.0.3', '127.0.0.3', '127.0.0.3']
  greedy.push(...(await Promise.all(from.map(dial))))
  for (const { socket, send } of greedy) {
    socket.pause()
    send(anonymous('/docs/static/swagger-ui-bundle.js').repeat(10))
  }
  await until('the answers begin', () => greedy.every(({ socket }) => socket.readableLength > 0))
  for (const _ of [1, 2]) await authenticated(dial, 1)
})

test('documentation: clients that read no answers make room for those that do', async (t) => {
  const greedy: Line[] = []
  t.after(() => greedy.forEach(({ socket }) => void socket.destroy()))
  const { dial } = await guarded(t)
  const path = '/docs/static/swagger-ui-bundle.js'
  greedy.push(...(await Promise.all(Array.from({ length: 32 }, () => dial()))))
  for (const { socket, send } of greedy) {
    socket.pause()
    send(get(path).repeat(10))
  }
  await until('the answers begin', () => greedy.every(({ socket }) => socket.readableLength > 0))
  const refused = await dial()
  refused.send(get(path, 'Connection: close\r\n'))
  const [reply] = await refused.answers()
  assert.equal(reply?.status, 503)
  assert.match(reply.head, /\r\nretry-after: 5\r\n/i)
  assert.equal(await statusOf(dial, '/v2/catalog'), 200)
  const reader = async () => {
    const line = await dial()
    line.send(get(path, 'Connection: close\r\n'))
    await until('the answer ends', () => line.closed)
    return line.said.startsWith('HTTP/1.1 200')
  }
  await until('a stalled answer is given up', reader, 30_000)
})

test('connections: requests that are sent before the answers are handled in turn, and only a few of them', async (t) => {
  const held = Promise.withResolvers<void>()
  t.after(() => held.resolve())
  let handled = 0
  const prepare = (app: FastifyInstance) => {
    app.get('/held', async () => {
      handled += 1
      if (handled === 1) await held.promise
      return { handled }
    })
  }
  const { dial } = await guarded(t, { prepare })
  const line = await dial()
  line.send(get('/held').repeat(100))
  await until('the first is handled', () => handled === 1)
  assert.equal(await statusOf(dial, '/v2/catalog'), 200)
  assert.equal(handled, 1, 'further ones were handled before the first was answered')
  held.resolve()
  const statuses = (await line.answers()).map(({ status }) => status)
  assert.deepEqual(statuses, [...Array(16).fill(200), 429])
  assert.equal(handled, 16)
})

test('connections: the limit of an address holds for this address alone', async (t) => {
  const { dial } = await guarded(t, { maxPerAddress: 2 })
  await authenticated(dial, 2, '127.0.0.2')
  const surplus = await dial('127.0.0.2')
  surplus.send(get('/v2/catalog'))
  await refusedOnce(surplus, 503, /too many connections from this address\.$/)
  assert.equal(await statusOf(dial, '/healthz', '127.0.0.2'), 200)
  assert.equal(await statusOf(dial, '/v2/catalog', '127.0.0.3'), 200)
})

test('connections: a trusted proxy may open as many as all clients together', async (t) => {
  const { dial } = await guarded(t, { max: 5, maxPerAddress: 2, isExempt: (address) => address === '127.0.0.2' })
  await authenticated(dial, 5, '127.0.0.2')
  assert.equal(await statusOf(dial, '/v2/catalog', '127.0.0.2'), 503)
})

test('connections: far over the limit, the oldest of those that wait to be refused are closed', async (t) => {
  const { dial } = await guarded(t, { max: 5 })
  const lines = await authenticated(dial, 5)
  const surplus: Line[] = []
  while (surplus.length < 64) surplus.push(await dial())
  const last = await dial()
  await until('the oldest is closed', () => surplus[0]?.closed)
  assert.equal(await statusOf(dial, '/healthz'), 200)
  assert.equal(await statusOf(dial, '/v2/catalog'), 503)
  assert.deepEqual([last.closed, ...lines.map(({ closed }) => closed)], Array(6).fill(false))
})

async function secureServer(t: TestContext, max: number) {
  const file = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url))
  const https = { ...serverOptions.http, key: file('key.pem'), cert: file('cert.pem') }
  const { http: _, ...options } = serverOptions
  const app = Fastify({ ...options, https })
  t.after(() => app.close())
  const closeUnused = guardServer(app, { max, maxPerAddress: max })
  app.addHook('preClose', async () => closeUnused())
  app.get('/', async () => delay(300, { slow: true }))
  await app.listen({ host: '127.0.0.1', port: 0 })
  const address = app.server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const { port } = address
  const request = async () => {
    const socket = tls({ port, host: '127.0.0.1', rejectUnauthorized: false })
    t.after(() => socket.destroy())
    await once(socket, 'secureConnect')
    const reply = text(socket)
    socket.write('GET / HTTP/1.1\r\nHost: broker\r\n\r\n')
    return { reply }
  }
  return { app, port, request }
}

test('connections: over TLS, handshakes that do not end make room, and requests in progress do not', async (t) => {
  const { app, port, request } = await secureServer(t, 2)
  const silent = connect(port, '127.0.0.1').on('error', () => undefined)
  t.after(() => silent.destroy())
  const closed = once(silent, 'close')
  await once(silent, 'connect')
  const first = await request()
  const second = await request()
  await closed
  const third = await request()
  assert.match(await third.reply, /^HTTP\/1.1 503 [\s\S]*too many connections/)
  const closing = app.close()
  for (const { reply } of [first, second]) assert.match(await reply, /^HTTP\/1.1 200 [\s\S]*"slow":true/)
  await closing
})
