import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FuzzClient } from '../fuzz/client.ts'
import { openBrokerProcess } from '../fuzz/process.ts'
import { deleteQuery, headers, provisionBody } from '../helper/app.ts'

test('osb serve: while the heap is nearly full PUT answers 503; probes and deletes are served, and make room', async (t) => {
  // The memory store keeps what it is given: the shortest way to a full heap.
  const broker = await openBrokerProcess({
    variables: { BROKER_STORAGE: 'memory' },
    slowMs: 0,
    nodeOptions: ['--max-old-space-size=400']
  })
  const client = new FuzzClient(broker.url)
  t.after(async () => {
    client.close()
    await broker.stop()
  })
  const body = JSON.stringify(provisionBody(undefined, { parameters: { text: 'x'.repeat(1_000_000) } }))
  const put = (id: number) =>
    client.send({
      method: 'PUT',
      path: `/v2/service_instances/i-${id}`,
      headers: { ...headers, 'content-type': 'application/json' },
      body
    })
  let made = 0
  let reply = await put(made)
  for (; reply.status === 201 && made < 400; reply = await put(made)) made += 1
  assert.deepEqual([reply.status, JSON.parse(reply.body)], [503, { description: 'The broker is overloaded.' }])
  assert.equal(reply.headers['retry-after'], '5')
  assert.equal((await client.send({ method: 'GET', path: '/healthz', headers: {} })).status, 200)
  for (let id = 0; id < made; id += 1) {
    const path = `/v2/service_instances/i-${id}${deleteQuery()}`
    assert.equal((await client.send({ method: 'DELETE', path, headers })).status, 200)
  }
  await broker.memory()
  assert.equal((await put(made)).status, 201)
})
