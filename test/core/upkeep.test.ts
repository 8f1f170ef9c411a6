import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Bindings } from '../../src/core/bindings.ts'
import { loadCatalog } from '../../src/core/catalog/index.ts'
import { Instances } from '../../src/core/instances.ts'
import { Operations } from '../../src/core/operations.ts'
import type {
  DescribeTask,
  Description,
  Finding,
  RepairTask,
  ServiceProvider,
  StandingInstance,
  WatchRound
} from '../../src/core/provider.ts'
import { repairInstances, Watches } from '../../src/core/upkeep.ts'
import { InProcessRunner } from '../../src/runners/in-process.ts'
import { MemoryStore } from '../../src/stores/memory.ts'
import { bindBody, ids, provisionBody, testCall, testCatalog } from '../helper/app.ts'
import { gate, type Script, ScriptedProvider, until } from '../helper/scripted-provider.ts'
import { claimed, started } from '../stores/contract/opened.ts'
import { bindStart } from '../stores/records.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const call = testCall()
const binding = { instance_id: 'i-1', binding_id: 'b-1' }
const query = { service_id: ids.service, plan_id: ids.plans.sync }

/** A provider that keeps a name for all it makes, with a binding of a lifetime where the test wants one. */
async function scene(t: TestContext, { lifetimeMs, script = {}, more = {} }: SceneOptions = {}) {
  const saving: Script = {
    provision: async (task) => task.saveState({ name: 'instance' }),
    bind: async (task) => {
      await task.saveState({ name: 'binding' })
      if (lifetimeMs === undefined) return {}
      const expires = new Date(Date.now() + lifetimeMs).toISOString()
      return { credentials: { token: 'secret' }, metadata: { expires_at: expires } }
    },
    ...script
  }
  const provider = Object.assign(new ScriptedProvider(saving), more)
  const catalog = await loadCatalog(testCatalog(), { providers: [provider] })
  const store = new MemoryStore()
  const engine = new Operations({
    store,
    runner: new InProcessRunner(log),
    providers: new Map([[provider.name, provider]]),
    catalog: () => catalog,
    log,
    syncDeadlineMs: 8_000
  })
  await engine.begin()
  t.after(() => engine.end())
  const [instances, bindings] = [new Instances(engine), new Bindings(engine)]
  await instances.provision(call, 'i-1', provisionBody())
  await bindings.bind(call, binding, bindBody())
  return { provider, engine, store, instances, bindings }
}

interface SceneOptions {
  readonly lifetimeMs?: number
  readonly script?: Script
  readonly more?: object
}

test('upkeep: a binding past its time is revoked once, and stays for the platform to unbind', async (t) => {
  const { provider, engine, store, bindings } = await scene(t, { lifetimeMs: 200 })
  await engine.sweeps.upkeep()
  assert.ok(!provider.calls.includes('unbind b-1'))
  await sleep(250)
  await engine.sweeps.upkeep()
  await until('the binding is revoked', async () => (await store.getBinding('i-1', 'b-1'))?.revokedAt !== undefined)
  await engine.sweeps.upkeep()
  assert.equal(provider.calls.filter((name) => name === 'unbind b-1').length, 1)

  const { metadata, credentials } = await bindings.fetch(call, binding)
  assert.ok(new Date(metadata?.expires_at ?? '') < new Date())
  assert.deepEqual(credentials, { token: 'secret' })
  assert.equal(
    (await store.latestOperation({ platform: call.platform, instanceId: 'i-1', bindingId: 'b-1' }))?.kind,
    'bind'
  )
  assert.deepEqual(await bindings.unbind(call, binding, query), { kind: 'done', body: {} })
  await assert.rejects(bindings.fetch(call, binding), { status: 404 })
  assert.equal(provider.calls.filter((name) => name === 'unbind b-1').length, 2)
})

test('forget: credentials that nobody has fetched in time are dropped, and the log says so', async (t) => {
  const lines: [object, string | undefined][] = []
  const { engine, store, bindings } = await scene(t)
  const ids = { instance_id: 'i-1', binding_id: 'late' }
  await started(store, bindStart('late'))
  const operation = await store.unfinishedOperation('i-1', 'late')
  await store.finish(await claimed(store, operation ?? { operationId: '' }), {
    state: 'succeeded',
    binding: { status: 'ready', reply: {} },
    undelivered: { credentials: { token: 'late' }, forMs: -1 }
  })
  const warn = (fields: object, message?: string) => void lines.push([fields, message])
  const telling = new Operations({ ...engine.options, log: { ...log, warn } })
  for (let round = 0; round < 2; round += 1) await telling.sweeps.forget()
  assert.deepEqual(lines, [[{ dropped: 1 }, 'deleted credentials that were not fetched in time']])
  assert.deepEqual(await bindings.fetch(call, ids), {})
})

test('upkeep: an unbind that comes while an expired binding is revoked waits, then removes it', async (t) => {
  const work = gate()
  const { provider, engine, bindings } = await scene(t, { lifetimeMs: 1, script: { unbind: () => work.opened } })
  await sleep(20)
  await engine.sweeps.upkeep()
  await until('the revocation has begun', () => provider.calls.includes('unbind b-1'))
  const removing = bindings.unbind(call, binding, query)
  setTimeout(work.open, 100)
  assert.deepEqual(await removing, { kind: 'done', body: {} })
  await assert.rejects(bindings.fetch(call, binding), { status: 404 })
})

test('watch: a provider sees its instances with their plan, state and bindings; one that fails keeps no other from it', async (t) => {
  const seen: StandingInstance[] = []
  const watch = async (round: WatchRound) => {
    for await (const one of round.instances()) seen.push(one)
    throw new Error('of no consequence')
  }
  const { engine } = await scene(t, { more: { watch } })
  let second = false
  const other = Object.assign(new ScriptedProvider(), {
    name: 'other',
    watch: async () => {
      second = true
    }
  })
  const providers = new Map<string, ServiceProvider>([...engine.options.providers, ['other', other]])
  await new Watches({ ...engine.options, providers }).run(new AbortController().signal)
  assert.deepEqual(seen, [
    {
      instanceId: 'i-1',
      options: {},
      parameters: {},
      state: { name: 'instance' },
      bindings: [{ bindingId: 'b-1', parameters: {}, state: { name: 'binding' }, settled: true }]
    }
  ])
  assert.ok(second)
})

test('watch: a provider that hangs delays neither another provider nor the revocation, and is not called again', async (t) => {
  let watches = 0
  let others = 0
  const lines: string[] = []
  const watch = () => {
    watches += 1
    return new Promise<void>(() => {})
  }
  const { engine, store } = await scene(t, { lifetimeMs: 1, more: { watch } })
  const other = Object.assign(new ScriptedProvider(), {
    name: 'other',
    watch: async () => {
      others += 1
    }
  })
  const providers = new Map<string, ServiceProvider>([...engine.options.providers, ['other', other]])
  const error = (_fields: object, message?: string) => void lines.push(message ?? '')
  const both = new Watches({ ...engine.options, providers, log: { ...log, error } })
  const { signal } = new AbortController()
  const hanging = both.run(signal)
  await until('the other provider was called', () => others === 1)
  // The first round has to see that the other provider settled.
  await new Promise(setImmediate)
  await both.run(signal)
  assert.deepEqual([watches, others], [1, 2])
  assert.deepEqual(lines, ['the last watch of a provider still runs; this round skips it'])
  await until('the binding is revoked', async () => {
    await engine.sweeps.upkeep()
    return (await store.getBinding('i-1', 'b-1'))?.revokedAt !== undefined
  })
  const first = await Promise.race([hanging.then(() => 'ended'), Promise.resolve('hanging')])
  assert.equal(first, 'hanging')
})

test('watch: a provider that ignores its abort is given up after the limit and its grace', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let aborted = false
  const lines: string[] = []
  const watch = ({ signal }: WatchRound) => {
    signal.addEventListener('abort', () => {
      aborted = true
    })
    return new Promise<void>(() => {})
  }
  const provider = Object.assign(new ScriptedProvider(), { watch })
  const error = (_fields: object, message?: string) => void lines.push(message ?? '')
  const catalog = await loadCatalog(testCatalog(), { providers: [provider] })
  const stage = { store: new MemoryStore(), providers: new Map([['example', provider]]), catalog: () => catalog }
  const watching = new Watches({ ...stage, log: { ...log, error } }).run(new AbortController().signal)
  t.mock.timers.tick(10 * 60_000)
  assert.ok(aborted)
  assert.deepEqual(lines, [])
  t.mock.timers.tick(10_000)
  await watching
  assert.deepEqual(lines, ['the watch of a provider ignores its abort; it is left to itself'])
})

test('watch: a provider chooses by the options of plans which instances it is given, and whether with their bindings', async (t) => {
  const seen: (string | number)[] = []
  const asked: unknown[] = []
  const watch = async (round: WatchRound) => {
    const all = round.instances({ where: (options) => asked.push(options) > 0, bindings: false })
    for await (const { instanceId, bindings } of all) seen.push(instanceId, bindings.length)
    for await (const { instanceId } of round.instances({ where: () => false })) seen.push(instanceId)
  }
  const { engine } = await scene(t, { more: { watch } })
  const listed = t.mock.method(engine.options.store, 'listResources')
  const other = Object.assign(new ScriptedProvider(), { name: 'other', watch })
  const providers = new Map<string, ServiceProvider>([...engine.options.providers, ['other', other]])
  await new Watches({ ...engine.options, providers }).run(new AbortController().signal)
  assert.deepEqual(seen, ['i-1', 0])
  const plans = engine.options.catalog().plans
  assert.deepEqual(
    asked,
    plans.map(({ options }) => options)
  )
  // The providers watch at the same time, so only the order within each is certain.
  const askedBy = (name: string) =>
    listed.mock.calls.flatMap(({ arguments: [provider, listing] }) =>
      provider === name ? [[listing?.plans?.length, listing?.bindings]] : []
    )
  assert.deepEqual(askedBy('example'), [
    [plans.length, false],
    [0, true]
  ])
  assert.deepEqual(askedBy('other'), [
    [0, false],
    [0, true]
  ])
})

test('upkeep: a store that cannot tidy its tables does not stop the revocation', async (t) => {
  const { engine, store } = await scene(t, { lifetimeMs: 1 })
  let asked = 0
  const tidy = async () => {
    asked += 1
    throw new Error('no')
  }
  Object.assign(store, { tidy })
  const warn = t.mock.method(engine.options.log, 'warn', () => {})
  await until('the binding is revoked', async () => {
    await engine.sweeps.upkeep()
    return (await store.getBinding('i-1', 'b-1'))?.revokedAt !== undefined
  })
  assert.ok(asked > 0)
  assert.equal(warn.mock.callCount(), asked)
})

test('refresh: an instance with an unfinished operation is left alone, one with an unfinished bind is not', async (t) => {
  let refresh: WatchRound['refresh'] | undefined
  const watch = async (round: WatchRound) => {
    refresh = round.refresh
  }
  const [unbind, update] = [gate(), gate()]
  const script = { update: () => update.opened, unbind: () => unbind.opened }
  const { engine, provider, instances, bindings } = await scene(t, { more: { watch }, script })
  await engine.sweeps.watch()
  assert.ok(refresh)
  assert.equal((await refresh('i-1'))?.bindings[0]?.settled, true)
  assert.equal(await refresh('nobody'), undefined)
  const unbinding = bindings.unbind(call, binding, query)
  await until('the unbind has begun', () => provider.calls.includes('unbind b-1'))
  assert.equal((await refresh('i-1'))?.bindings[0]?.settled, false)
  unbind.open()
  await unbinding
  const updating = instances.update(call, 'i-1', { ...query, parameters: { a: 1 } })
  await until('the update has begun', () => provider.calls.includes('update'))
  assert.equal(await refresh('i-1'), undefined)
  update.open()
  assert.equal((await updating).kind, 'done')
  assert.deepEqual((await refresh('i-1'))?.parameters, { a: 1 })
})

test('repair: findings carry the instance, and one that cannot be looked at is a finding', async (t) => {
  const asked: boolean[] = []
  const repair = async ({ heal, instance: { instanceId } }: RepairTask): Promise<Finding[]> => {
    asked.push(heal)
    if (instanceId === 'i-2') throw new Error('no answer')
    return [{ resource: 'thing', finding: 'is bent', healed: heal }]
  }
  const { engine, instances } = await scene(t, { more: { repair } })
  await instances.provision(call, 'i-2', provisionBody())
  const found: object[] = []
  const options = { log, heal: false, signal: new AbortController().signal }
  for await (const finding of repairInstances(engine.options, options)) found.push(finding)
  assert.deepEqual(found, [
    { provider: 'example', instanceId: 'i-1', resource: 'thing', finding: 'is bent', healed: false },
    {
      provider: 'example',
      instanceId: 'i-2',
      resource: 'instance',
      finding: 'could not be looked at: no answer',
      healed: false
    }
  ])
  await engine.sweeps.reconcile()
  assert.deepEqual(asked, [false, false, true, true])
})

test('describe: what the provider measures, with the bindings and the latest operations, for its platform alone', async (t) => {
  const describe = async ({ state, options }: DescribeTask): Promise<Description> => {
    assert.deepEqual([state, options], [{ name: 'instance' }, {}])
    return { measures: [{ name: 'storage', unit: 'bytes', used: 7, limit: 10 }], notice: 'Nearly full.' }
  }
  const { instances, bindings } = await scene(t, { more: { describe }, lifetimeMs: 60_000 })
  await bindings.bind(call, { ...binding, binding_id: 'b-2' }, bindBody())
  await bindings.unbind(call, { ...binding, binding_id: 'b-2' }, query)
  const told = await instances.describe(call, 'i-1')
  assert.deepEqual(told.measures, [{ name: 'storage', unit: 'bytes', used: 7, limit: 10 }])
  assert.equal(told.notice, 'Nearly full.')
  assert.deepEqual(
    told.bindings.map(({ bindingId, expiresAt }) => [bindingId, (expiresAt?.getTime() ?? 0) > Date.now()]),
    [['b-1', true]]
  )
  assert.deepEqual(
    told.operations.map(({ kind, bindingId, state }) => [kind, bindingId, state]),
    [
      ['unbind', 'b-2', 'succeeded'],
      ['bind', 'b-2', 'succeeded'],
      ['bind', 'b-1', 'succeeded'],
      ['provision', undefined, 'succeeded']
    ]
  )
  assert.doesNotMatch(JSON.stringify(told), /secret/)
  await assert.rejects(instances.describe({ ...call, platform: 'other' }, 'i-1'), { status: 404 })
})

test('describe: the operations of a platform that had the id before are not told', async (t) => {
  const { instances } = await scene(t)
  await instances.deprovision(call, 'i-1', query)
  const other = { ...call, platform: 'other' }
  await instances.provision(other, 'i-1', provisionBody())
  const { operations } = await instances.describe(other, 'i-1')
  assert.deepEqual(
    operations.map(({ kind }) => kind),
    ['provision']
  )
})

test('describe: a provider that measures nothing has bindings and operations all the same', async (t) => {
  const { instances } = await scene(t)
  const { measures, bindings, operations } = await instances.describe(call, 'i-1')
  assert.deepEqual([measures, bindings.length, operations.length], [[], 1, 2])
})
