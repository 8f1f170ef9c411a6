import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import { apiVersion } from '../../plugins/api-version.ts'
import { auth } from '../../plugins/auth.ts'
import { errors } from '../../plugins/errors.ts'
import { identity } from '../../plugins/identity.ts'
import { operations } from '../../plugins/operations.ts'
import { storage } from '../../plugins/storage.ts'
import { validation } from '../../plugins/validation.ts'
import { ReloadableCatalog } from '../../src/core/reloadable-catalog.ts'
import { ids, newEncryptionKeys, provisionBody, testCall, testCatalog } from '../helper/app.ts'
import { ScriptedProvider, until } from '../helper/scripted-provider.ts'
import { gateFor } from '../routes/support.ts'

const pluginName: symbol = Symbol.for('plugin-meta')

function metaOf(plugin: object): { name: string; dependencies?: string[] } {
  return Object.getOwnPropertyDescriptor(plugin, pluginName)?.value
}

async function withOperations(t: TestContext, provider: ScriptedProvider, store: 'memory' | string = 'memory') {
  const app = Fastify({ logger: false })
  t.after(() => app.close())
  await app.register(storage, {
    store: store === 'memory' ? 'memory' : { connectionString: store },
    encryptionKeys: newEncryptionKeys()
  })
  const catalog = new ReloadableCatalog(testCatalog())
  await catalog.load({ providers: [provider], store: app.osbStorage.store })
  await app.register(operations, {
    providers: [provider],
    catalog: () => catalog.current,
    syncDeadlineMs: 1_000,
    deletedLastOperation: 'succeeded'
  })
  return app
}

test('operations plugin: starts providers when the app is ready, and stops them when it closes', async (t) => {
  const calls: string[] = []
  const provider = Object.assign(new ScriptedProvider(), {
    start: async () => void calls.push('start'),
    stop: async () => void calls.push('stop')
  })
  const app = await withOperations(t, provider)
  assert.equal(app.osbLifecycle.ready, false)
  assert.deepEqual(calls, [])
  await app.ready()
  assert.equal(app.osbLifecycle.ready, true)
  assert.deepEqual(calls, ['start'])
  await app.close()
  assert.deepEqual(calls, ['start', 'stop'])
})

test('operations plugin: a provider that cannot start keeps the app from booting', async (t) => {
  const provider = Object.assign(new ScriptedProvider(), {
    start: async () => {
      throw new Error('no server is there')
    }
  })
  const app = await withOperations(t, provider)
  await assert.rejects(async () => app.ready(), /no server is there/)
})

test('operations plugin: closing while an operation is being claimed does not let its work begin', async (t) => {
  const claiming = gateFor(t)
  const claimed = gateFor(t)
  const finished = gateFor(t)
  let aborted: boolean | undefined
  const provider = new ScriptedProvider({
    provision: async ({ signal }) => {
      aborted = signal.aborted
      await finished.opened
    }
  })
  const app = await withOperations(t, provider)
  await app.ready()
  const { store } = app.osbStorage
  const claim = store.claim.bind(store)
  t.mock.method(store, 'claim', async (operationId: string) => {
    const result = await claim(operationId)
    claiming.open()
    await claimed.opened
    return result
  })
  const call = testCall({ platform: 'default', acceptsIncomplete: true })
  const outcome = await app.osbLifecycle.instances.provision(call, 'i-1', provisionBody(ids.plans.either))
  assert.equal(outcome.kind, 'accepted')
  await claiming.opened
  const closed = app.close()
  await new Promise((resolve) => setImmediate(resolve))
  claimed.open()
  await until('it is closed, or at work', async () => {
    const first = await Promise.race([closed.then(() => 'closed'), new Promise((resolve) => setImmediate(resolve))])
    return first === 'closed' || provider.calls.length > 0
  })
  finished.open()
  await closed
  assert.notEqual(aborted, false, 'the work began after the stop, with a signal that never aborts')
})

test('operations plugin: a database that is away lets the app boot, not ready', async (t) => {
  const app = await withOperations(t, new ScriptedProvider(), 'postgres://nobody@127.0.0.1:1/none')
  await app.ready()
  assert.equal(app.osbLifecycle.ready, false)
  await assert.rejects(async () => app.osbStorage.store.health())
})

test('plugins: each has its name, and a wrong order does not boot', async (t) => {
  const expected: [object, string, string[]][] = [
    [errors, 'osb-errors', []],
    [validation, 'osb-validation', []],
    [identity, 'osb-identity', []],
    [storage, 'osb-storage', []],
    [operations, 'osb-operations', ['osb-storage']],
    [auth, 'osb-auth', ['osb-identity']],
    [apiVersion, 'osb-api-version', ['osb-auth']]
  ]
  for (const [plugin, name, dependencies] of expected) {
    const meta = metaOf(plugin)
    assert.deepEqual([meta.name, meta.dependencies ?? []], [name, dependencies])
  }
  const boot = async (register: (app: ReturnType<typeof Fastify>) => PromiseLike<unknown>) => {
    const app = Fastify({ logger: false })
    t.after(() => app.close())
    await register(app)
  }
  await assert.rejects(() => boot((app) => app.register(auth, { credentials: false })), /osb-identity/)
  await assert.rejects(() => boot((app) => app.register(apiVersion, {})), /osb-auth/)
  const options = {
    providers: [],
    catalog: () => assert.fail(),
    syncDeadlineMs: 1,
    deletedLastOperation: 'gone' as const
  }
  await assert.rejects(() => boot((app) => app.register(operations, options)), /osb-storage/)
})
