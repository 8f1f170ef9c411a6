import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Store } from '../../src/core/store.ts'
import { MemoryStore } from '../../src/stores/memory.ts'
import { buildApp, headers, provisionBody } from '../helper/app.ts'
import { ScriptedProvider } from '../helper/scripted-provider.ts'

const url = '/v2/service_instances/i-1'

/** The calls of every memory store from now on, in their order. */
function callsOf(t: TestContext): string[] {
  const calls: string[] = []
  for (const name of ['getInstance', 'unfinishedOperation', 'start', 'finish'] as const satisfies (keyof Store)[]) {
    const original: (this: MemoryStore, ...values: never[]) => unknown = MemoryStore.prototype[name]
    t.mock.method(MemoryStore.prototype, name, function (this: MemoryStore, ...values: never[]) {
      calls.push(name)
      return original.apply(this, values)
    })
  }
  return calls
}

test('PUT instance: a new id is two calls of the store; one that is taken is looked at and answered as ever', async (t) => {
  const app = await buildApp(t)
  const calls = callsOf(t)
  const put = async (payload: object) => {
    calls.length = 0
    const reply = await app.inject({ method: 'PUT', url, headers, payload })
    return { status: reply.statusCode, body: reply.json(), calls: [...calls] }
  }
  assert.deepEqual(await put(provisionBody()), { status: 201, body: {}, calls: ['start', 'finish'] })
  assert.deepEqual(await put(provisionBody()), {
    status: 200,
    body: {},
    calls: ['start', 'getInstance', 'unfinishedOperation', 'getInstance']
  })
  const other = await put({ ...provisionBody(), space_guid: 'another' })
  assert.deepEqual([other.status, other.calls], [409, ['start', 'getInstance']])
  // It has to be known whose the id is before anything else is refused.
  const version = await put({
    ...provisionBody(),
    space_guid: 'another',
    maintenance_info: { version: '9.9.9' }
  })
  assert.deepEqual([version.status, version.calls], [409, ['getInstance']])
})

test('PUT instance: an attempt after the first is told the state that the first has saved', async (t) => {
  const seen: unknown[] = []
  const provider = new ScriptedProvider({
    provision: async (task) => {
      seen.push(task.state)
      if (seen.length > 1) return
      await task.saveState({ name: 'outside-1' })
      throw new Error('not yet')
    }
  })
  const app = await buildApp(t, { providers: [provider] })
  const reply = await app.inject({ method: 'PUT', url, headers, payload: provisionBody() })
  assert.equal(reply.statusCode, 201)
  assert.deepEqual(seen, [undefined, { name: 'outside-1' }])
})
