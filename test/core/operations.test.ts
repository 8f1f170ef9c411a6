import assert from 'node:assert/strict'
import test from 'node:test'
import { Rejected, StaleAttempt, Unavailable } from '../../src/core/provider.ts'
import {
  bindBody,
  buildApp,
  deleteQuery,
  headers,
  ids,
  pollUntilEnded,
  provisionBody,
  type TestStore,
  testCatalog,
  testStores
} from '../helper/app.ts'
import { type AnyTask, gate, type Script, ScriptedProvider, until, untilAborted } from '../helper/scripted-provider.ts'

const instance = '/v2/service_instances/i-1'
const binding = `${instance}/service_bindings/b-1`
const asynchronous = '?accepts_incomplete=true'
const put = (url: string, payload: object) => ({ method: 'PUT', url: url + asynchronous, headers, payload }) as const
const remove = (url: string, planId: string) =>
  ({ method: 'DELETE', url: url + deleteQuery(planId, '&accepts_incomplete=true'), headers }) as const

async function scripted(t: Parameters<typeof buildApp>[0], script: Script, testStore: TestStore = 'memory') {
  const provider = new ScriptedProvider(script)
  return { provider, app: await buildApp(t, { providers: [provider], testStore }) }
}

for (const store of testStores) {
  test(`operation on ${store}: a failed attempt is described, tried again, and succeeds`, async (t) => {
    let tries = 0
    const { app, provider } = await scripted(
      t,
      {
        provision: async (task) => {
          tries += 1
          await task.saveState({ last: tries })
          if (tries < 3) throw new Unavailable(`The server is away (${tries}).`)
        }
      },
      store
    )
    const { operation } = (await app.inject(put(instance, provisionBody(ids.plans.async)))).json()
    const poll = `${instance}/last_operation?operation=${operation}`
    await until('the description of a failed attempt', async () => {
      const { state, description = '' } = (await app.inject({ url: poll, headers })).json()
      return (
        state === 'in progress' && /^The server is away \(1\)\. Attempt 1 failed; trying again\.$/.test(description)
      )
    })
    assert.equal((await pollUntilEnded(app, poll)).json().state, 'succeeded')
    assert.deepEqual(
      provider.tasks.map(({ attempt, state }) => [attempt, state]),
      [
        [1, undefined],
        [2, { last: 1 }],
        [3, { last: 2 }]
      ]
    )
  })

  test(`operation on ${store}: rejected ends at once, is removable, and repeatable by the same PUT`, async (t) => {
    let broken = true
    const { app, provider } = await scripted(
      t,
      {
        provision: async () => {
          if (broken) throw new Rejected(400, 'There is no room.')
        }
      },
      store
    )
    const first = await app.inject(put(instance, provisionBody(ids.plans.async)))
    const end = await pollUntilEnded(app, `${instance}/last_operation?operation=${first.json().operation}`)
    assert.deepEqual(end.json(), { state: 'failed', description: 'There is no room.' })
    assert.equal((await app.inject({ url: instance, headers })).statusCode, 404)
    broken = false
    const second = await app.inject(put(instance, provisionBody(ids.plans.async)))
    assert.equal(second.statusCode, 202)
    assert.notEqual(second.json().operation, first.json().operation)
    assert.deepEqual((await pollUntilEnded(app, `${instance}/last_operation`)).json(), { state: 'succeeded' })
    const own = await app.inject({ url: `${instance}/last_operation?operation=${first.json().operation}`, headers })
    assert.equal(own.json().state, 'failed')
    assert.deepEqual(provider.calls, ['provision', 'provision'])
  })

  test(`DELETE instance on ${store}: during a create halts it, and begins when the create has let go`, async (t) => {
    const order: string[] = []
    const stopping = gate()
    const { app } = await scripted(
      t,
      {
        provision: async (task) => {
          await task.saveState({ name: 'outside-1' })
          order.push('create begins')
          await untilAborted(task).catch(() => undefined)
          await stopping.opened
          await assert.rejects(task.saveState({ name: 'too late' }), StaleAttempt)
          order.push('create lets go')
        },
        deprovision: async (task) => {
          assert.deepEqual(task.state, { name: 'outside-1' })
          order.push('delete')
        }
      },
      store
    )
    const create = (await app.inject(put(instance, provisionBody(ids.plans.async)))).json().operation
    await until('the create', () => order.length === 1)
    const deletion = await app.inject(remove(instance, ids.plans.async))
    assert.equal(deletion.statusCode, 202, deletion.body)
    const poll = (operation: string) =>
      app.inject({ url: `${instance}/last_operation?operation=${operation}`, headers })
    assert.equal((await poll(create)).json().state, 'failed')
    assert.equal((await poll(deletion.json().operation)).json().state, 'in progress')
    stopping.open()
    const end = await pollUntilEnded(app, `${instance}/last_operation?operation=${deletion.json().operation}`)
    assert.equal(end.json().state, 'succeeded')
    assert.deepEqual(order, ['create begins', 'create lets go', 'delete'])
    assert.equal((await poll(create)).json().state, 'failed')
  })

  test(`DELETE binding on ${store}: during a bind halts it, nothing is left`, async (t) => {
    const { app, provider } = await scripted(
      t,
      {
        bind: async (task) => {
          await task.saveState({ name: 'outside-1' })
          await untilAborted(task)
        }
      },
      store
    )
    await app.inject(put(instance, provisionBody(ids.plans.async)))
    await pollUntilEnded(app, `${instance}/last_operation`)
    const bind = await app.inject(put(binding, bindBody(ids.plans.async)))
    assert.equal(bind.statusCode, 202, bind.body)
    await until('the bind', () => provider.calls.includes('bind b-1'))
    assert.equal((await app.inject(remove(binding, ids.plans.async))).statusCode, 202)
    assert.deepEqual((await pollUntilEnded(app, `${binding}/last_operation`)).json(), { state: 'succeeded' })
    assert.equal((await app.inject({ url: binding, headers })).statusCode, 404)
    assert.deepEqual(provider.calls, ['provision', 'bind b-1', 'unbind b-1'])
  })

  test(`DELETE instance on ${store}: with bindings left unbinds each with its own state`, async (t) => {
    const { app, provider } = await scripted(
      t,
      { bind: async (task) => ({ state: { of: 'bindingId' in task ? task.bindingId : '' }, credentials: {} }) },
      store
    )
    await app.inject(put(instance, provisionBody()))
    for (const id of ['b-1', 'b-2']) {
      const bound = await app.inject(put(`${instance}/service_bindings/${id}`, bindBody()))
      assert.equal(bound.statusCode, 201, bound.body)
    }
    assert.equal((await app.inject(remove(instance, ids.plans.sync))).statusCode, 200)
    assert.deepEqual(provider.calls, ['provision', 'bind b-1', 'bind b-2', 'unbind b-1', 'unbind b-2', 'deprovision'])
    assert.deepEqual(
      provider.tasks.slice(3).map(({ state }) => state),
      [{ of: 'b-1' }, { of: 'b-2' }, undefined]
    )
  })
}

test("operation: the plan's maximum_polling_duration ends the tries, and says so", async (t) => {
  const catalog = testCatalog()
  const plan = catalog.services[0]?.plans.find(({ id }) => id === ids.plans.async)
  assert.ok(plan)
  plan.maximum_polling_duration = 1
  const provider = new ScriptedProvider({ provision: () => Promise.reject(new Unavailable('The server is away.')) })
  const app = await buildApp(t, { providers: [provider], catalog })
  await app.inject(put(instance, provisionBody(ids.plans.async)))
  const end = (await pollUntilEnded(app, `${instance}/last_operation`)).json()
  assert.equal(end.state, 'failed')
  assert.match(end.description, /^The server is away\. It was given up after \d+ attempts in 1 s\.$/)
})

const hang = () => new Promise<never>(() => {})
const throwsAtDeadline = (error: Error) => async (task: AnyTask) => {
  await untilAborted(task).catch(() => undefined)
  throw error
}

for (const [failure, status, description, deprovision] of [
  ['an unavailable service', 503, /^The server is away\./, throwsAtDeadline(new Unavailable('The server is away.'))],
  ['a call that does not stop', 504, /^The provider did not stop in time\./, hang],
  ['an unforeseen error', 500, /^The work failed\./, throwsAtDeadline(new Error('broken'))]
] as const) {
  test(`DELETE instance: joins a delete that gives up after ${failure}, answers ${status}`, async (t) => {
    const catalog = testCatalog()
    const plan = catalog.services[0]?.plans.find(({ id }) => id === ids.plans.either)
    assert.ok(plan)
    plan.maximum_polling_duration = 2
    const provider = new ScriptedProvider({ deprovision })
    const app = await buildApp(t, { providers: [provider], catalog, syncDeadlineMs: 40_000 })
    await app.inject(put(instance, provisionBody(ids.plans.either)))
    await pollUntilEnded(app, `${instance}/last_operation`)
    const query = deleteQuery(ids.plans.either)
    const first = await app.inject({ method: 'DELETE', url: `${instance}${query}&accepts_incomplete=true`, headers })
    assert.equal(first.statusCode, 202, first.body)
    await until('the delete', () => provider.calls.includes('deprovision'))
    const joined = await app.inject({ method: 'DELETE', url: instance + query, headers })
    assert.equal(joined.statusCode, status, joined.body)
    assert.match(joined.json().description, description)
    assert.match(joined.json().description, / It was given up after 1 attempts in \d+ s\.$/)
    assert.equal(joined.headers['retry-after'], status === 500 ? undefined : '5')
    assert.deepEqual(provider.calls, ['provision', 'deprovision'])
  })
}

test('operation: the second attempt is told with its number while it is under way', async (t) => {
  const second = gate()
  const { app } = await scripted(t, {
    provision: async (task) => {
      if (task.attempt === 1) throw new Unavailable('The server is away.')
      await task.progress('Creating.')
      await second.opened
    }
  })
  await app.inject(put(instance, provisionBody(ids.plans.async)))
  const poll = { url: `${instance}/last_operation`, headers }
  await until('the second attempt', async () => (await app.inject(poll)).json().description === 'Creating. (attempt 2)')
  second.open()
  assert.equal((await pollUntilEnded(app, poll.url)).json().state, 'succeeded')
})

test('operation: an overlong attempt is aborted when the time is up', async (t) => {
  const catalog = testCatalog()
  const plan = catalog.services[0]?.plans.find(({ id }) => id === ids.plans.async)
  assert.ok(plan)
  plan.maximum_polling_duration = 1
  const app = await buildApp(t, { providers: [new ScriptedProvider({ provision: untilAborted })], catalog })
  await app.inject(put(instance, provisionBody(ids.plans.async)))
  assert.equal((await pollUntilEnded(app, `${instance}/last_operation`)).json().state, 'failed')
})

test('PATCH instance: a failed asynchronous update leaves plan and parameters, says what may be repeated', async (t) => {
  const { app } = await scripted(t, {
    update: () => Promise.reject(new Rejected(422, 'Too small.', { instanceUsable: true, updateRepeatable: false }))
  })
  await app.inject(put(instance, provisionBody(ids.plans.sync, { parameters: { a: 1 } })))
  const payload = { service_id: ids.service, plan_id: ids.plans.async, parameters: { a: 2 } }
  const reply = await app.inject({ method: 'PATCH', url: instance + asynchronous, headers, payload })
  assert.equal(reply.statusCode, 202, reply.body)
  assert.deepEqual((await pollUntilEnded(app, `${instance}/last_operation`)).json(), {
    state: 'failed',
    description: 'Too small.',
    instance_usable: true,
    update_repeatable: false
  })
  assert.deepEqual((await app.inject({ url: instance, headers })).json(), {
    service_id: ids.service,
    plan_id: ids.plans.sync,
    parameters: { a: 1 }
  })
})
