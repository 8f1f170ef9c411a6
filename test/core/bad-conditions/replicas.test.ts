import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { bindBody, deleteQuery, headers, ids, pollUntilEnded, provisionBody, testCatalog } from '../../helper/app.ts'
import { type AnyTask, gate, ScriptedProvider } from '../../helper/scripted-provider.ts'
import { oneDatabase, replica, storeAt, withoutKeptCredentials, withoutPlans } from './setup.ts'

const asynchronous = '?accepts_incomplete=true'
const put = (url: string, payload: object) => ({ method: 'PUT', url: url + asynchronous, headers, payload }) as const
const path = (index: number) => `/v2/service_instances/i-${index}`
const HOURS_MS = 3_600_000

describe('replicas that differ', () => {
  test('rolling catalog change: operations on a new plan are performed by the replica that has it', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const common = { store: { connectionString: url }, encryptionKeys }
    const [oldProvider, newProvider] = [new ScriptedProvider(), new ScriptedProvider()]
    const old = await replica(t, { ...common, providers: [oldProvider], catalog: withoutPlans([ids.plans.async]) })
    const fresh = await replica(t, { ...common, providers: [newProvider] })
    const indexes = Array.from({ length: 12 }, (_, index) => index)
    for (const index of indexes) {
      const reply = await fresh.app.inject(put(path(index), provisionBody(ids.plans.async)))
      assert.equal(reply.statusCode, 202, reply.body)
    }
    for (const index of indexes) {
      const end = await pollUntilEnded(fresh.app, `${path(index)}/last_operation`)
      assert.deepEqual(end.json(), { state: 'succeeded' })
    }
    const bind = await fresh.app.inject(put(`${path(0)}/service_bindings/b-1`, bindBody(ids.plans.async)))
    assert.equal(bind.statusCode, 202, bind.body)
    assert.deepEqual((await pollUntilEnded(fresh.app, `${path(0)}/service_bindings/b-1/last_operation`)).json(), {
      state: 'succeeded'
    })
    assert.deepEqual(oldProvider.calls, [])
    // A delete needs no plan: any replica performs it, in the mode of the provider.
    const remove = path(0) + deleteQuery(ids.plans.async, '&accepts_incomplete=true')
    assert.equal((await old.app.inject({ method: 'DELETE', url: remove, headers })).statusCode, 200)
    assert.deepEqual(oldProvider.calls, ['unbind b-1', 'deprovision'])
  })

  test('rolling catalog change: an operation whose replica has gone waits for one that has its plan', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const common = { store: { connectionString: url }, encryptionKeys }
    const blocked = gate()
    const first = await replica(t, {
      ...common,
      providers: [new ScriptedProvider({ provision: () => blocked.opened })],
      workers: 1
    })
    // The second one waits for the only slot, and is left when the replica stops.
    for (const index of [0, 1]) await first.app.inject(put(path(index), provisionBody(ids.plans.async)))
    blocked.open()
    const oldProvider = new ScriptedProvider()
    const old = await replica(t, { ...common, providers: [oldProvider], catalog: withoutPlans([ids.plans.async]) })
    await first.app.close()
    const third = await replica(t, { ...common, providers: [new ScriptedProvider()], catalog: testCatalog() })
    assert.deepEqual((await pollUntilEnded(third.app, `${path(1)}/last_operation`)).json(), { state: 'succeeded' })
    assert.deepEqual(oldProvider.calls, [])
    assert.equal((await old.app.inject({ url: '/readyz' })).statusCode, 200)
  })

  test('skewed clock: a replica two hours ahead performs what another one accepted', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const common = { store: { connectionString: url }, encryptionKeys }
    const blocked = gate()
    const provider = new ScriptedProvider({ provision: () => blocked.opened })
    const first = await replica(t, { ...common, providers: [provider], workers: 1 })
    for (const index of [0, 1, 2]) {
      const reply = await first.app.inject(put(path(index), provisionBody(ids.plans.async)))
      assert.equal(reply.statusCode, 202)
    }
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 2 * HOURS_MS })
    const ahead = await replica(t, { ...common, providers: [new ScriptedProvider()] })
    blocked.open()
    for (const index of [0, 1, 2]) {
      assert.deepEqual((await pollUntilEnded(ahead.app, `${path(index)}/last_operation`)).json(), {
        state: 'succeeded'
      })
    }
  })

  test('skewed clock: operations that a replica far behind accepted keep their time', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const common = { store: { connectionString: url }, encryptionKeys }
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() - 2 * HOURS_MS })
    const behind = await replica(t, { ...common, providers: [new ScriptedProvider()] })
    assert.equal((await behind.app.inject(put(path(0), provisionBody(ids.plans.async)))).statusCode, 202)
    assert.deepEqual((await pollUntilEnded(behind.app, `${path(0)}/last_operation`)).json(), { state: 'succeeded' })
  })

  test('skewed clock: neither operations nor waiting credentials of a replica days ahead are deleted too soon', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const common = { store: { connectionString: url }, encryptionKeys }
    const catalog = withoutKeptCredentials()
    const provider = new ScriptedProvider()
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 9 * 24 * HOURS_MS })
    const { app } = await replica(t, { ...common, catalog, providers: [provider] })
    await app.inject(put(path(0), provisionBody(ids.plans.async)))
    await pollUntilEnded(app, `${path(0)}/last_operation`)
    const binding = `${path(0)}/service_bindings/b-1`
    const bind = await app.inject(put(binding, bindBody(ids.plans.async)))
    assert.equal(bind.statusCode, 202, bind.body)
    await pollUntilEnded(app, `${binding}/last_operation`)
    const store = storeAt(t, { url, encryptionKeys })
    assert.equal(await store.forgetOperations(7 * 24 * HOURS_MS), 0)
    assert.equal(await store.dropUndelivered(), 0)
    assert.deepEqual((await app.inject({ url: binding, headers })).json().credentials, { token: 'b-1' })
  })

  test('skewed clock: a binding expires by the clock of the database', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const now = Date.now()
    const provider = new ScriptedProvider({
      bind: async (task: AnyTask) => ({
        credentials: { token: 'bindingId' in task ? task.bindingId : '' },
        metadata: { expires_at: new Date(now + HOURS_MS).toISOString() }
      })
    })
    const { app } = await replica(t, { store: { connectionString: url }, encryptionKeys, providers: [provider] })
    const send = (url: string, payload: object) => app.inject({ method: 'PUT', url, headers, payload })
    assert.equal((await send(path(0), provisionBody())).statusCode, 201)
    assert.equal((await send(`${path(0)}/service_bindings/b-1`, bindBody())).statusCode, 201)
    t.mock.timers.enable({ apis: ['Date'], now: now + 2 * HOURS_MS })
    const rotation = await send(`${path(0)}/service_bindings/b-2`, { predecessor_binding_id: 'b-1' })
    assert.equal(rotation.statusCode, 201, rotation.body)
  })
})
