import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import { Rejected, Unavailable } from '../../../src/core/provider.ts'
import { bindBody, deleteQuery, headers, ids, pollUntilEnded, provisionBody, testStores } from '../../helper/app.ts'
import { type AnyTask, gate, ScriptedProvider, until, untilAborted } from '../../helper/scripted-provider.ts'
import { catalogWith, replica, storeOf } from './setup.ts'

const path = (id: string) => `/v2/service_instances/${id}`
const asynchronous = '?accepts_incomplete=true'
const put = (url: string, payload: object) => ({ method: 'PUT', url, headers, payload }) as const

/** What a provider does, and how its operation fails. */
interface Odd {
  readonly name: string
  readonly provision: (task: AnyTask) => unknown
  readonly statuses: readonly number[]
  /** Of the failed operation; that of a retried one goes on. */
  readonly description: RegExp
  /** Of a synchronous request, if it is another one. */
  readonly answer?: RegExp
}

const INTERNAL = {
  // The last try may still run when the time of the request is up.
  statuses: [500, 504],
  description: /^The work failed\. It was given up after \d+ attempts in \d+ s\.$/,
  answer:
    /^The operation failed\. The cause is in the log of the broker\.$|^The work did not end within 2 s\. It is being undone\.$/
}
const NO_JSON = {
  statuses: [500],
  description: /^The provider of this service answered something .*: "state" is no object that JSON can represent\.$/
}

const oddities: readonly Odd[] = [
  {
    name: 'a rejection with NUL in its message and its code',
    provision: () => {
      throw new Rejected(400, 'There is no\0 such size.', { error: 'No\0Size' })
    },
    statuses: [400],
    description: /^There is no such size\.$/
  },
  {
    name: 'a rejection with half of a surrogate pair in its message',
    provision: () => {
      throw new Rejected(400, 'There is no size \ud83d.')
    },
    statuses: [400],
    description: /^There is no size \ufffd\.$/
  },
  {
    name: 'a passing failure with NUL in its message',
    provision: () => {
      throw new Unavailable('The server\0 is away.')
    },
    statuses: [503],
    description: /^The server is away\. It was given up after \d+ attempts in \d+ s\.$/,
    answer: /^The server is away\.$/
  },
  {
    name: 'a frozen error',
    provision: () => {
      throw Object.freeze(new Error('It is frozen.'))
    },
    ...INTERNAL
  },
  {
    name: 'a frozen rejection',
    provision: () => {
      throw Object.freeze(new Rejected(400, 'There is no such size.'))
    },
    statuses: [400],
    description: /^There is no such size\.$/
  },
  {
    name: 'a rejection with the status of a success',
    provision: () => {
      throw new Rejected(200, 'There is no such size.')
    },
    statuses: [500],
    description: /^There is no such size\.$/
  },
  {
    name: 'a rejection with a status that is none',
    provision: () => {
      throw new Rejected(Number.NaN, 'There is no such size.')
    },
    statuses: [500],
    description: /^There is no such size\.$/
  },
  {
    name: 'an error whose message cannot be read',
    provision: () => {
      const message = { get: () => assert.fail('The message was read.') }
      throw Object.defineProperty(new Error('unread'), 'message', message)
    },
    ...INTERNAL
  },
  {
    name: 'something that is no error and cannot be read',
    provision: () => Promise.reject(Object.defineProperty({}, 'message', { get: () => assert.fail('It was read.') })),
    ...INTERNAL
  },
  { name: 'a saved state with a BigInt', provision: ({ saveState }) => saveState({ size: 1n }), ...NO_JSON },
  { name: 'a saved state that is cyclic', provision: ({ saveState }) => saveState(cyclic()), ...NO_JSON },
  { name: 'a state with a BigInt', provision: () => ({ state: { size: 1n } }), ...NO_JSON },
  { name: 'a cyclic state', provision: () => ({ state: cyclic() }), ...NO_JSON }
]

function cyclic(): Record<string, unknown> {
  const value: Record<string, unknown> = { password: 'secret-2' }
  value.self = value
  return value
}

for (const testStore of testStores) {
  describe(`provision on ${testStore}`, { concurrency: true }, () => {
    for (const { name, provision, statuses, description, answer = description } of oddities) {
      test(`${name}: fails the operation with a description, and the next one succeeds`, async (t) => {
        const provider = new ScriptedProvider({
          provision: async (task) => {
            if (task.instanceId === 'i-next') return
            // Log lines are searched for secrets from now on.
            await task.saveState({ password: 'secret-1' })
            return provision(task)
          }
        })
        const catalog = catalogWith([ids.plans.async], { maximum_polling_duration: 3 })
        const options = { providers: [provider], catalog, workers: 1, syncDeadlineMs: 2_000 }
        const { app, lines } = await replica(t, { ...options, ...(await storeOf(testStore)) })
        const reply = await app.inject(put(path('i-sync'), provisionBody()))
        assert.ok(statuses.includes(reply.statusCode), `${reply.statusCode} ${reply.body}`)
        assert.match(reply.json().description, answer)

        await app.inject(put(path('i-async') + asynchronous, provisionBody(ids.plans.async)))
        const end = (await pollUntilEnded(app, `${path('i-async')}/last_operation`)).json()
        assert.equal(end.state, 'failed')
        assert.match(end.description, description)

        await app.inject(put(path('i-next') + asynchronous, provisionBody(ids.plans.async)))
        const next = await pollUntilEnded(app, `${path('i-next')}/last_operation`)
        assert.deepEqual(next.json(), { state: 'succeeded' })

        // Both have left something outside.
        const url = path('i-async') + deleteQuery(ids.plans.async, '&accepts_incomplete=true')
        assert.equal((await app.inject({ method: 'DELETE', url, headers })).statusCode, 202)
        await until('both are gone', () => provider.calls.filter((call) => call === 'deprovision').length === 2)
        const faults = lines.filter(({ msg }) => /not be executed|not completed|not be written|sweep failed/.test(msg))
        assert.deepEqual(faults, [])
      })
    }
  })
}

describe('bind', { concurrency: true }, () => {
  const unreadable = () => Object.defineProperty({}, 'password', { enumerable: true, get: () => assert.fail('no') })
  for (const testStore of testStores) {
    for (const [name, credentials] of [
      ['cyclic', cyclic],
      ['unreadable', unreadable]
    ] as const) {
      test(`${name} credentials on ${testStore}: fail the operation with a description, and the next one succeeds`, async (t) => {
        const provider = new ScriptedProvider({
          bind: async (task) => ('bindingId' in task && task.bindingId === 'b-1' ? { credentials: credentials() } : {})
        })
        const { app, lines } = await replica(t, { providers: [provider], workers: 1, ...(await storeOf(testStore)) })
        const instance = path('i-1')
        assert.equal((await app.inject(put(instance, provisionBody(ids.plans.either)))).statusCode, 201)
        const bound = async (id: string) => {
          const url = `${instance}/service_bindings/${id}`
          const reply = await app.inject(put(url + asynchronous, bindBody(ids.plans.either)))
          assert.equal(reply.statusCode, 202, reply.body)
          return (await pollUntilEnded(app, `${url}/last_operation`)).json()
        }
        const { state, description } = await bound('b-1')
        assert.equal(state, 'failed')
        assert.match(description, /^The provider of this service answered something that cannot be passed on: /)
        assert.deepEqual(await bound('b-2'), { state: 'succeeded' })
        assert.deepEqual(
          lines.filter(({ level, msg }) => level >= 50 || /not completed/.test(msg)),
          []
        )
      })
    }
  }
})

describe('a provider that does not wait for its calls', { concurrency: true }, () => {
  for (const testStore of testStores) {
    test(`progress, saveState on ${testStore}: after a cancel nothing is left unhandled`, async (t) => {
      const unhandled: unknown[] = []
      const note = (reason: unknown) => void unhandled.push(reason)
      process.on('unhandledRejection', note)
      t.after(() => process.off('unhandledRejection', note))
      const ended = gate()
      const late = gate()
      const refused: Promise<void>[] = []
      const provider = new ScriptedProvider({
        provision: async (task: AnyTask) => {
          await untilAborted(task).catch(() => undefined)
          refused.push(task.progress('99 %'), task.saveState({ name: 'late' }))
          await late.opened
          ended.open()
        }
      })
      const { app } = await replica(t, { providers: [provider], ...(await storeOf(testStore)) })
      const instance = path('i-1')
      await app.inject(put(instance + asynchronous, provisionBody(ids.plans.async)))
      await until('the create runs', () => provider.calls.length === 1)
      const url = instance + deleteQuery(ids.plans.async, '&accepts_incomplete=true')
      assert.equal((await app.inject({ method: 'DELETE', url, headers })).statusCode, 202)
      await until('the calls', () => refused.length === 2)
      // A look at their state adds no handler.
      await until('both are refused', () => refused.every((each) => inspect(each).includes('<rejected>')))
      await new Promise(setImmediate)
      late.open()
      await ended.opened
      assert.deepEqual((await pollUntilEnded(app, `${instance}/last_operation`)).json(), { state: 'succeeded' })
      assert.deepEqual(unhandled, [])
      for (const each of refused) await assert.rejects(each, { name: 'StaleAttempt' })
    })
  }
})
