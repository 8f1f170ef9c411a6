import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { Client } from 'pg'
import { bindBody, buildApp, deleteQuery, headers, newEncryptionKeys, provisionBody } from '../helper/app.ts'
import { testPostgres } from '../helper/postgres.ts'

const instance = '/v2/service_instances/i-1'
const put = (app: FastifyInstance, url = instance, payload: object = provisionBody()) =>
  app.inject({ method: 'PUT', url, headers, payload })

/** Keeps the event loop late for as long as the condition holds. */
async function late(condition: () => boolean): Promise<void> {
  const sleeping = new Int32Array(new SharedArrayBuffer(4))
  while (condition()) {
    Atomics.wait(sleeping, 0, 0, 1_500)
    await nextTurn()
  }
}

test('PUT instance: while the event loop is late it answers 503 with Retry-After; probes, polls and deletes do not', async (t) => {
  const app = await buildApp(t, { shedLoad: true })
  assert.equal((await put(app)).statusCode, 201)
  assert.equal((await put(app, `${instance}/service_bindings/b-1`, bindBody())).statusCode, 201)
  const end = Date.now() + 2_000
  await late(() => Date.now() < end)

  const refused = await Promise.all([
    put(app, '/v2/service_instances/i-2'),
    put(app, `${instance}/service_bindings/b-2`, bindBody()),
    app.inject({ method: 'PATCH', url: instance, headers, payload: { service_id: 'service-1' } }),
    app.inject({ url: '/v2/catalog', headers }),
    app.inject({ url: instance, headers }),
    app.inject('/healthz'),
    app.inject('/readyz'),
    app.inject({ url: `${instance}/last_operation`, headers }),
    app.inject({ method: 'DELETE', url: `${instance}/service_bindings/b-1${deleteQuery()}`, headers })
  ])
  const served = refused.splice(5)
  for (const reply of refused) {
    assert.deepEqual([reply.statusCode, reply.json()], [503, { description: 'The broker is overloaded.' }])
    assert.equal(reply.headers['retry-after'], '5')
  }
  assert.deepEqual(
    served.map((reply) => [reply.statusCode, reply.json()]),
    [
      [200, { status: 'ok' }],
      [200, { status: 'ok' }],
      [200, { state: 'succeeded' }],
      [200, {}]
    ]
  )

  for (const stop = Date.now() + 20_000; (await put(app)).statusCode !== 200; await delay(50)) {
    assert.ok(Date.now() < stop, 'it serves again')
  }
})

test('PUT instance: in a broker that is embedded nothing is refused for load', async (t) => {
  const app = await buildApp(t)
  const end = Date.now() + 2_000
  await late(() => Date.now() < end)
  assert.equal((await put(app)).statusCode, 201)
})

test('PUT instance: 500 at once on a database that hangs are all answered in time, and all is well when it is back', async (t) => {
  const { app, lock } = await withLock(t)
  const release = await lock()
  const began = Date.now()
  const took: number[] = []
  const replies = await Promise.all(
    Array.from({ length: 500 }, async (_, index) => {
      const reply = await put(app, `/v2/service_instances/i-${index}`)
      took.push(Date.now() - began)
      return reply
    })
  )
  for (const reply of replies) {
    assert.deepEqual([reply.statusCode, reply.headers['retry-after']], [503, '5'])
    assert.match(reply.json().description, /^The broker('s database| cannot| is overloaded)|^The database/)
  }
  assert.ok(Math.max(...took) < 8_000, `the last was answered after ${Math.max(...took)} ms`)
  await release()
  assert.equal((await put(app)).statusCode, 201)
})

test('PUT instance: while those before it wait long for the store it answers 503 at once; polls and deletes wait', async (t) => {
  const { app, lock } = await withLock(t)
  const release = await lock()
  // One after the other: those that come at once ask the store together
  const waiting: Promise<unknown>[] = []
  for (let index = 0; index < 40; index += 1) {
    waiting.push(put(app))
    await delay(5)
  }
  const more = Array.from({ length: 40 }, () => app.inject({ url: `${instance}/last_operation`, headers }))
  await delay(1_500)
  const began = Date.now()
  const reply = await put(app)
  assert.deepEqual([reply.statusCode, reply.json()], [503, { description: 'The broker is overloaded.' }])
  assert.ok(Date.now() - began < 1_000)
  assert.equal((await app.inject('/healthz')).statusCode, 200)
  await release()
  await Promise.all(waiting)
  for (const poll of await Promise.all(more)) assert.notEqual(poll.json().description, 'The broker is overloaded.')
  // Made by one of those that waited, or now.
  assert.deepEqual((await put(app)).json(), {})
})

/** A broker whose table of instances can be locked away from it. */
async function withLock(t: TestContext) {
  const connectionString = await (await testPostgres()).createDatabase()
  const app = await buildApp(t, {
    shedLoad: true,
    store: { connectionString },
    encryptionKeys: newEncryptionKeys()
  })
  const client = new Client({ connectionString })
  await client.connect()
  t.after(() => client.end())
  return {
    app,
    lock: async () => {
      await client.query('BEGIN; LOCK TABLE osb.service_instances, osb.operations IN ACCESS EXCLUSIVE MODE')
      return () => client.query('ROLLBACK')
    }
  }
}
