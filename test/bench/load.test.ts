import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { load, perProcessorSecond, perSecond } from '../../bench/harness/load.ts'
import { askProbe, startTarget, type Target } from '../../bench/harness/processes.ts'

const program = new URL('../../bench/targets/bare.ts', import.meta.url).pathname
let target: Target
before(async () => {
  target = await startTarget([program], { env: { BENCH_CATALOG: '{"services":[]}' }, probed: true })
})
after(() => target.stop())

test('load: sends what it is told, and says who was busy', async () => {
  const done = await load(target, { scenario: 'get', path: '/catalog', connections: 2, seconds: 0, amount: 2_000 })
  assert.equal(done.requests, 2_000)
  assert.equal(perSecond(done).value, 2_000 / done.seconds)
  assert.ok((done.busy.load ?? 0) > 0)
  if (process.platform !== 'linux') return
  const { server = 0 } = done.busy
  assert.ok(server > 0 && server < 1.5, `busy: ${server}`)
  assert.equal(perProcessorSecond(done).value, 2_000 / (done.seconds * server))
})

test('load: at a rate sends no more', async () => {
  const { requests } = await load(target, { scenario: 'get', path: '/catalog', connections: 2, seconds: 1, rate: 40 })
  // Without, it would be thousands
  assert.ok(requests > 0 && requests <= 200, `${requests} requests`)
})

test('load: answers that are refusals end the run, and the first is told', async () => {
  const order = { scenario: 'get', path: '/nothing', connections: 1, seconds: 0, amount: 3 } as const
  await assert.rejects(load(target, order), /"refused":3.*request 1 of the scenario was answered 404.*Not Found/)
  await assert.rejects(load(target, { ...order, mayRefuse: 0.9 }))
  assert.equal((await load(target, { ...order, mayRefuse: 1 })).refused, 3)
})

test('probe: tells how long the event loop was blocked, and the heap', async () => {
  const blocking = `console.log('http://127.0.0.1'); setInterval(() => { const end = Date.now() + 150; while (Date.now() < end); }, 1)`
  const blocked = await startTarget(['-e', blocking], { probed: true })
  try {
    await askProbe(blocked.child)
    await sleep(400)
    const { delayP99Ms, heapMegabytes } = await askProbe(blocked.child)
    assert.ok(delayP99Ms >= 140, `${delayP99Ms} ms`)
    assert.ok(heapMegabytes > 1 && heapMegabytes < 50, `${heapMegabytes} MB`)
  } finally {
    await blocked.stop()
  }
})
