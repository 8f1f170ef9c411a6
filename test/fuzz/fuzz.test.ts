import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { Store } from '../../src/core/store.ts'
import { openMemoryBroker } from './memory-broker.ts'
import { openBrokerProcess } from './process.ts'
import { sequences } from './sequences.ts'
import { watched } from './watch.ts'
import { wire } from './wire.ts'

const seed = 1
/** As in a whole run. */
const MAX_KEPT_BYTES = 1_500

/** What the fuzzer finds in a broker into which a fault was put. */
async function foundIn(t: TestContext, plant?: (app: FastifyInstance, store: () => Store) => void) {
  const broker = await openMemoryBroker(plant)
  t.after(() => broker.close())
  const part = await sequences(broker, { requests: 330, seed })
  return { part, errors: broker.errors }
}

test('fuzz: a broker without a planted fault is good', async (t) => {
  const { part, errors } = await foundIn(t)
  assert.equal(part.failure, undefined)
  assert.deepEqual(errors, [])
  assert.ok(part.sent >= 150, `${part.sent} requests`)
  for (const [what, reached] of [
    ['a binding', 'bind 201'],
    ['an operation', 'provision 202'],
    ['a conflict', 'provision 409'],
    ['a delete', 'deprovision 200']
  ]) {
    assert.ok(part.answers.has(reached ?? ''), `${what}: ${[...part.answers.keys()]}`)
  }
})

test('fuzz: a 500 for one input is found, and made short', async (t) => {
  const { part, errors } = await foundIn(t, (app) => {
    app.addHook('preHandler', async ({ method, body }) => {
      if (method === 'PATCH' && Object(body).parameters !== undefined) throw new Error('planted')
    })
  })
  assert.match(part.failure?.message ?? '', /^PATCH \S+: 500 /)
  const { example = [] } = part.failure ?? {}
  assert.ok(example.length > 0 && example.length <= 2, example.join('\n'))
  assert.ok(errors.length > 0)
})

test('fuzz: the seed and the path of a failure lead to it at once', async (t) => {
  const plant = (app: FastifyInstance) => {
    app.addHook('onSend', async (_request, reply, payload) => (reply.statusCode === 409 ? 'conflict' : payload))
  }
  const { part } = await foundIn(t, plant)
  assert.match(part.failure?.message ?? '', /409 with no JSON object: conflict/)
  const broker = await openMemoryBroker(plant)
  t.after(() => broker.close())
  const again = await sequences(broker, { requests: 330, seed, path: part.failure?.path })
  assert.deepEqual(again.failure?.example, part.failure?.example)
  assert.ok(again.sent <= 60, `${again.sent} requests`)
})

test('fuzz: a write by a refused request is found', async (t) => {
  const { part } = await foundIn(t, (app, store) => {
    app.addHook('onSend', async (_request, reply, payload) => {
      // What was done is forgotten.
      if (reply.statusCode === 422) await store().forgetOperations(-60_000)
      return payload
    })
  })
  assert.match(part.failure?.message ?? '', /: 422 has changed the state$/)
})

test('fuzz: an answer that the specification does not know is found', async (t) => {
  const { part } = await foundIn(t, (app) => {
    app.addHook('onSend', async (_request, reply, payload) => {
      if (reply.statusCode === 202) reply.code(203)
      return payload
    })
  })
  assert.match(part.failure?.message ?? '', /: 203, which \w+ \S+ \(\S+\) cannot be answered/)
})

test('fuzz: bytes that are answered with no JSON are found', async (t) => {
  const broker = await openMemoryBroker()
  t.after(() => broker.close())
  assert.equal((await wire(broker.url, { requests: 100, seed })).failure, undefined)
  const bare = await openMemoryBroker((app) => {
    app.server.prependListener('clientError', (_error, socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  })
  t.after(() => bare.close())
  const { failure } = await wire(bare.url, { requests: 100, seed })
  assert.match(failure?.message ?? '', /an answer that is no JSON/)
  assert.ok((failure?.example.length ?? 9) <= 2)
})

const planted: [string, RegExp][] = [
  ['leak', /^memory: \d+ bytes are kept of \d+ requests/m],
  ['descriptors', /^file descriptors: \d+ before, \d+ after/m],
  ['rejection', /the process ended by itself/],
  ['block', /^\/healthz took \d+ ms/m]
]
test('fuzz: processes with planted faults are found', async (t) => {
  for (const [plant, expected] of planted) {
    await t.test(plant, async () => assert.match((await problemsOf(plant)).join('\n'), expected))
  }
})

async function problemsOf(plant: string): Promise<string[]> {
  const broker = await openBrokerProcess({
    variables: { BROKER_STORAGE: 'memory', PLANT: plant },
    slowMs: 100,
    nodeOptions: [`--import=${import.meta.dirname}/plant.ts`]
  })
  const { problems } = await watched(broker, MAX_KEPT_BYTES, async (half) => {
    return (await sequences({ url: broker.url }, { requests: 140, seed: half === 'first' ? 1 : 2 })).sent
  })
  return [...problems, ...(await broker.stop())]
}
