import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { MemoryStore } from '../../src/stores/memory.ts'
import { bindBody, buildApp, deleteQuery, headers, ids, provisionBody } from '../helper/app.ts'
import { gate, ScriptedProvider, until } from '../helper/scripted-provider.ts'

const instance = '/v2/service_instances/i-1'
const binding = `${instance}/service_bindings/b-1`
const provision = { method: 'PUT', url: instance, headers, payload: provisionBody() } as const
const bind = { method: 'PUT', url: binding, headers, payload: bindBody() } as const
const update = { method: 'PATCH', url: instance, headers, payload: { service_id: ids.service } } as const
const remove = (url: string) => ({ method: 'DELETE', url: url + deleteQuery(), headers }) as const

/** A broker with an instance and a binding. Its deletes wait for `removal`. */
async function withBinding(t: TestContext) {
  const removal = gate()
  const provider = new ScriptedProvider({ deprovision: () => removal.opened, unbind: () => removal.opened })
  const app = await buildApp(t, { providers: [provider] })
  assert.equal((await app.inject(provision)).statusCode, 201)
  assert.equal((await app.inject(bind)).statusCode, 201)
  return { app, removal, provider }
}

/** Does something after the next read of an instance or a binding, before the request gets what was read. */
function afterNextRead(t: TestContext, name: 'getInstance' | 'getBinding', act: () => Promise<unknown>): void {
  const original: (this: MemoryStore, ...values: never[]) => Promise<unknown> = MemoryStore.prototype[name]
  let reads = 0
  t.mock.method(MemoryStore.prototype, name, async function (this: MemoryStore, ...values: never[]) {
    reads += 1
    const first = reads === 1
    const record = await original.apply(this, values)
    if (first) await act()
    return record
  })
}

for (const [name, url, read] of [
  ['instance', instance, 'getInstance'],
  ['binding', binding, 'getBinding']
] as const) {
  test(`GET ${name}: a delete that ends during the fetch answers 404, as it did before`, async (t) => {
    const { app, removal, provider } = await withBinding(t)
    const removing = app.inject(remove(url))
    await until('the delete', () => provider.calls.length === 3)
    assert.equal((await app.inject({ url, headers })).statusCode, 404)
    afterNextRead(t, read, async () => {
      removal.open()
      assert.equal((await removing).statusCode, 200)
    })
    assert.equal((await app.inject({ url, headers })).statusCode, 404)
  })
}

test('PUT instance: repeated while the instance is deleted creates it again', async (t) => {
  const { app, removal, provider } = await withBinding(t)
  removal.open()
  afterNextRead(t, 'getInstance', () => app.inject(remove(instance)))
  assert.equal((await app.inject(provision)).statusCode, 201)
  assert.deepEqual(provider.calls.slice(2), ['unbind b-1', 'deprovision', 'provision'])
})

test('PUT binding: repeated while the binding is deleted creates it again', async (t) => {
  const { app, removal, provider } = await withBinding(t)
  removal.open()
  afterNextRead(t, 'getBinding', () => app.inject(remove(binding)))
  assert.equal((await app.inject(bind)).statusCode, 201)
  assert.deepEqual(provider.calls.slice(2), ['unbind b-1', 'bind b-1'])
})

test('PATCH instance: without a change, during the end of a delete, answers 404', async (t) => {
  const { app, removal } = await withBinding(t)
  removal.open()
  afterNextRead(t, 'getInstance', () => app.inject(remove(instance)))
  const reply = await app.inject(update)
  assert.equal(reply.statusCode, 404, reply.body)
})
