import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import type {
  BindTask,
  InstanceTask,
  RemovalTask,
  ServiceProvider,
  UnbindTask,
  UpdateTask
} from '../../src/core/provider.ts'
import { ContractViolation, type ProviderContractOptions, providerContract, wrap } from '../../src/testing/index.ts'

/** A service that sells rooms and keys to them. */
class Outside {
  readonly rooms = new Map<string, { size: number }>()
  readonly keys = new Map<string, string>()

  async putRoom(name: string, size: number) {
    this.rooms.set(name, { size })
  }
  async removeRoom(name: string) {
    this.rooms.delete(name)
  }
  async putKey(name: string, secret: string) {
    this.keys.set(name, secret)
  }
  async removeKey(name: string) {
    this.keys.delete(name)
  }
  names() {
    return [...this.rooms.keys(), ...this.keys.keys()]
  }
}

type Verbs = Partial<Pick<ServiceProvider, 'provision' | 'update' | 'deprovision' | 'bind' | 'unbind'>>
/** What a fault may use of the outside: each call is a step. */
type Api = Outside

/** Does everything right, but for what is replaced. */
function roomProvider(api: Api, broken: Verbs = {}): ServiceProvider {
  return {
    name: 'rooms',
    options: Type.Object({ size: Type.Optional(Type.Integer()) }, { additionalProperties: false }),
    mode: 'sync',
    async provision(task: InstanceTask) {
      const state = task.state ?? { room: randomUUID() }
      await task.saveState(state)
      await api.putRoom(String(state.room), Number(task.options.size ?? 1))
      return {}
    },
    async update(task: UpdateTask) {
      await api.putRoom(String(task.state?.room), Number(task.options.size ?? 1))
      return {}
    },
    async deprovision(task: RemovalTask) {
      if (task.state !== undefined) await api.removeRoom(String(task.state.room))
    },
    async bind(task: BindTask) {
      const state = task.state ?? { key: randomUUID(), secret: `secret-${randomUUID()}` }
      await task.saveState(state)
      await api.putKey(String(state.key), String(state.secret))
      return { credentials: { name: state.key, secret: state.secret } }
    },
    async unbind(task: UnbindTask) {
      if (task.state !== undefined) await api.removeKey(String(task.state.key))
    },
    ...broken
  }
}

/** The checks that fail, by name. */
async function failuresOf(
  broken: (api: Api, outside: Outside) => Verbs,
  more: Pick<ProviderContractOptions, 'keepCredentials'> = {}
): Promise<string[]> {
  const outside = new Outside()
  const api = wrap(outside)
  const checks = providerContract({
    provider: roomProvider(api, broken(api, outside)),
    options: { size: 2 },
    update: { options: { size: 3 } },
    leftovers: async () => outside.names(),
    works: async ({ name, secret }) => outside.keys.get(String(name)) === secret,
    abortWithinMs: 50,
    ...more
  })
  const failed: string[] = []
  for (const { name, run } of checks) {
    try {
      await run()
    } catch (error) {
      assert.ok(error instanceof ContractViolation, `${name}: ${error}`)
      failed.push(name)
    }
    outside.rooms.clear()
    outside.keys.clear()
  }
  return failed
}

test('providerContract: a provider that does everything right passes all checks', async () => {
  assert.deepEqual(await failuresOf(() => ({})), [])
})

const stateOf = (task: { state: Record<string, unknown> | undefined }, name: string) => String(task.state?.[name])

const faults: [string, string, (api: Api, outside: Outside) => Verbs][] = [
  [
    'an effect before its state is saved',
    'provision: nothing is made before a state is saved',
    (api) => ({
      async provision(task) {
        const state = task.state ?? { room: randomUUID() }
        await api.putRoom(String(state.room), 1)
        await task.saveState(state)
        return {}
      }
    })
  ],
  [
    'no state at all',
    'provision: nothing is made before a state is saved',
    (api) => ({
      async provision({ instanceId }) {
        await api.putRoom(instanceId, 1)
        return {}
      },
      async deprovision({ instanceId }) {
        await api.removeRoom(instanceId)
      }
    })
  ],
  [
    'a new name at each attempt',
    'provision: once more ends in the same place',
    (api) => ({
      async provision(task) {
        const state = { room: randomUUID() }
        await task.saveState(state)
        await api.putRoom(state.room, 1)
        return {}
      }
    })
  ],
  [
    'a deprovision that throws when there is nothing',
    'deprovision: once more succeeds, and nothing is left',
    (api, outside) => ({
      async deprovision(task) {
        if (task.state === undefined) return
        if (!outside.rooms.has(stateOf(task, 'room'))) throw new Error('no such room')
        await api.removeRoom(stateOf(task, 'room'))
      }
    })
  ],
  [
    'a deprovision that wants a state',
    'deprovision: of what was never made succeeds',
    (api) => ({
      async deprovision(task) {
        if (task.state === undefined) throw new Error('no state')
        await api.removeRoom(stateOf(task, 'room'))
      }
    })
  ],
  [
    'a deprovision that wants its plan',
    'deprovision: does not need offering, plan and options',
    (api) => ({
      async deprovision(task) {
        if (task.state === undefined) return
        if (task.plan === undefined) throw new Error('no plan')
        await api.removeRoom(stateOf(task, 'room'))
      }
    })
  ],
  [
    'a deprovision that leaves the room',
    'deprovision: once more succeeds, and nothing is left',
    () => ({ async deprovision() {} })
  ],
  [
    'a deprovision that takes all rooms',
    'instances: do not touch each other',
    (_, outside) => ({
      async deprovision() {
        outside.rooms.clear()
      }
    })
  ],
  [
    'a provision that ignores its signal',
    'provision: an abort at any step ends it in time, and a delete leaves nothing',
    (api) => ({
      async provision(task) {
        const state = task.state ?? { room: randomUUID() }
        await task.saveState(state)
        if (task.signal.aborted) await sleep(200)
        await api.putRoom(String(state.room), 1)
        return {}
      }
    })
  ],
  [
    'a provision that swallows what saveState throws',
    'provision: a crash at any step, then repeated, ends in the same place',
    () => ({
      async provision(task) {
        await task.saveState(task.state ?? { room: randomUUID() }).catch(() => undefined)
        return {}
      }
    })
  ],
  [
    'an update that makes a second room',
    'update: once more ends in the same place',
    (api) => ({
      async update() {
        await api.putRoom(randomUUID(), 1)
        return {}
      }
    })
  ],
  [
    'an update that cannot go back',
    'update: a crash at any step, then an update back, leaves what there was',
    (api) => ({
      async update(task) {
        if (task.options.size === 2) throw new Error('never smaller')
        await api.putRoom(stateOf(task, 'room'), 3)
        return {}
      }
    })
  ],
  [
    'an unbind that leaves the key',
    'bind: its credentials work, and no longer after the unbind',
    () => ({ async unbind() {} })
  ],
  [
    'a second bind that forgets the key of the first',
    'bind: once more with the saved state leaves credentials that work, and one unbind revokes all',
    (api) => ({
      async bind(task) {
        const state = { key: randomUUID(), secret: `secret-${randomUUID()}` }
        await task.saveState(state)
        await api.putKey(state.key, state.secret)
        return { credentials: { name: state.key, secret: state.secret } }
      }
    })
  ],
  [
    'a bind whose state comes only with its result',
    'bind: a crash or an abort at any step, then an unbind, leaves nothing',
    (api) => ({
      async bind(task) {
        const state = task.state ?? { key: randomUUID(), secret: `secret-${randomUUID()}` }
        await api.putKey(String(state.key), String(state.secret))
        return { credentials: { name: state.key, secret: state.secret }, state }
      }
    })
  ],
  [
    'an unbind that takes all keys',
    'bindings: do not touch each other',
    (_, outside) => ({
      async unbind() {
        outside.keys.clear()
      }
    })
  ],
  [
    'an unbind that wants a state',
    'unbind: of what was never made succeeds',
    (api) => ({
      async unbind(task) {
        if (task.state === undefined) throw new Error('no state')
        await api.removeKey(stateOf(task, 'key'))
      }
    })
  ],
  [
    'a rotation that ends the predecessor',
    'bind: a successor and its predecessor both work',
    (api) => ({
      async bind(task) {
        const state = task.state ?? { key: randomUUID(), secret: `secret-${randomUUID()}` }
        await task.saveState(state)
        await api.putKey(String(state.key), String(state.secret))
        if (task.predecessor !== undefined) await api.removeKey(String(task.predecessor.state?.key))
        return { credentials: { name: state.key, secret: state.secret } }
      }
    })
  ],
  [
    'a secret in a progress text',
    'bind: its secrets are told to nobody else',
    (api) => ({
      async bind(task) {
        const state = task.state ?? { key: randomUUID(), secret: `secret-${randomUUID()}` }
        await task.saveState(state)
        await task.progress(`made ${state.secret}`)
        await api.putKey(String(state.key), String(state.secret))
        return { credentials: { name: state.key, secret: state.secret } }
      }
    })
  ],
  [
    'a key of credentials that platforms refuse',
    'bind: its answer can be passed on',
    () => ({ bind: async () => ({ credentials: { 'the key': 'x' } }) })
  ],
  [
    'a dashboard that is no URL',
    'provision: its answer can be passed on',
    () => ({ provision: async () => ({ dashboard_url: 'here' }) })
  ]
]

for (const [what, expected, broken] of faults) {
  test(`providerContract: ${what} is caught by "${expected}"`, async () => {
    const failed = await failuresOf(broken)
    assert.ok(failed.includes(expected), `failed: ${failed.join(' · ')}`)
  })
}

test('providerContract: for a plan that keeps no credentials, they are not in the state of a binding', async () => {
  assert.deepEqual(await failuresOf(() => ({}), { keepCredentials: false }), ['bind: its answer can be passed on'])
  const forgetful = (api: Api): Verbs => ({
    async bind(task) {
      const state = task.state ?? { key: randomUUID() }
      await task.saveState(state)
      // Of an earlier attempt nobody was told.
      const secret = `secret-${randomUUID()}`
      if (!task.keepCredentials) await api.putKey(String(state.key), secret)
      return { credentials: { name: state.key, secret } }
    }
  })
  assert.deepEqual(await failuresOf(forgetful, { keepCredentials: false }), [])
})

test('providerContract: a fault is told with its place and what to do', async () => {
  const outside = new Outside()
  const checks = providerContract({
    provider: roomProvider(wrap(outside), { async deprovision() {} }),
    leftovers: async () => outside.names()
  })
  const check = checks.find(({ name }) => name.startsWith('provision: a crash at any step, then a delete'))
  await assert.rejects(async () => check?.run(), {
    name: 'ContractViolation',
    message: /^after a crash after step 2 and a deprovision, this is left outside: [0-9a-f-]{36}$/
  })
})

test('providerContract: the defaults of a plan are filled in as the catalog does, those of any JSON schema', async () => {
  const outside = new Outside()
  const size = { type: 'integer', default: 3 }
  const schemas = [Type.Object({ size: Type.Integer({ default: 3 }) }), { type: 'object', properties: { size } }]
  for (const schema of schemas) {
    const provider = { ...roomProvider(wrap(outside)), options: Type.Unsafe(schema) }
    const seen: unknown[] = []
    const provision = provider.provision
    provider.provision = async (task) => {
      seen.push(task.options.size)
      return provision(task)
    }
    for (const check of providerContract({ provider, leftovers: async () => outside.names() })) await check.run()
    assert.deepEqual(new Set(seen), new Set([3]))
  }
})
