import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { buildApp } from '../helper/app.ts'
import { ScriptedProvider } from '../helper/scripted-provider.ts'
import { gateFor } from './support.ts'

function providerWith(health: () => Promise<void>) {
  return Object.assign(new ScriptedProvider(), { health })
}

test('GET /readyz: what works answers 200, without credentials', async (t) => {
  const app = await buildApp(t)
  const reply = await app.inject('/readyz')
  assert.deepEqual([reply.statusCode, reply.json()], [200, { status: 'ok' }])
})

test('GET /readyz: a provider that fails answers 503 with its name and nothing of its error', async (t) => {
  const provider = providerWith(async () => {
    throw new Error('hush-address cannot be reached')
  })
  const app = await buildApp(t, { providers: [provider] })
  const reply = await app.inject('/readyz')
  assert.deepEqual([reply.statusCode, reply.json()], [503, { status: 'not ready', failing: ['example'] }])
})

test('GET /readyz: a provider that hangs is asked once and answers 503 within the time of a probe', async (t) => {
  const hang = gateFor(t)
  let asked = 0
  const provider = providerWith(() => {
    asked += 1
    return hang.opened
  })
  const app = await buildApp(t, { providers: [provider] })
  const began = performance.now()
  const replies = await Promise.all(Array.from({ length: 5 }, () => app.inject('/readyz')))
  assert.ok(performance.now() - began < 4_000)
  for (const reply of replies) {
    assert.deepEqual([reply.statusCode, reply.json()], [503, { status: 'not ready', failing: ['example'] }])
  }
  assert.equal(asked, 1)
  hang.open()
  // The check that hung ends: until then a probe joins it
  await setImmediate()
  assert.equal((await app.inject('/readyz')).statusCode, 200)
  assert.equal(asked, 2)
})
