import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BrokerError } from '../../../src/core/errors.ts'
import { Rejected } from '../../../src/core/provider.ts'
import { bindBody, deleteQuery, headers, ids, pollUntilEnded, provisionBody, testStores } from '../../helper/app.ts'
import { type AnyTask, gate, ScriptedProvider, until, untilAborted } from '../../helper/scripted-provider.ts'
import { catalogWith, replica, storeOf } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const binding = `${instance}/service_bindings/b-1`
const send = (method: 'PUT' | 'PATCH', url: string, payload: object) => ({ method, url, headers, payload })
const change = { service_id: ids.service, plan_id: ids.plans.sync, parameters: { a: 1 } }
const get = (url: string) => ({ url, headers })

/** Provisions an instance whose update fails, so that the broker restores it in the background. */
async function restoring(
  t: Parameters<typeof replica>[0],
  { restore, options = {} }: { restore: (task: AnyTask) => Promise<unknown>; options?: object }
) {
  let updates = 0
  const provider = new ScriptedProvider({
    update: async (task) => {
      updates += 1
      if (updates === 1) await untilAborted(task)
      await restore(task)
    }
  })
  const broker = await replica(t, { providers: [provider], syncDeadlineMs: 400, ...options })
  const { app } = broker
  assert.equal((await app.inject(send('PUT', instance, provisionBody(ids.plans.either)))).statusCode, 201)
  assert.equal((await app.inject(send('PUT', binding, bindBody(ids.plans.either)))).statusCode, 201)
  assert.equal((await app.inject(send('PATCH', instance, change))).statusCode, 504)
  await until('the restoration', () => updates === 2)
  return { ...broker, provider }
}

describe('the restoration after a failed update', { concurrency: true }, () => {
  for (const testStore of testStores) {
    test(`on ${testStore}: reads answer the stored instance, writes wait and answer 503, a DELETE cancels it`, async (t) => {
      const { app, provider } = await restoring(t, { restore: untilAborted, options: await storeOf(testStore) })
      const fetched = await app.inject(get(instance))
      assert.equal(fetched.statusCode, 200, fetched.body)
      assert.equal(fetched.json().plan_id, ids.plans.either)
      assert.equal((await app.inject(get(binding))).statusCode, 200)
      assert.equal((await app.inject(get(`${instance}/last_operation`))).json().state, 'failed')
      const unbind = { method: 'DELETE', url: binding + deleteQuery(ids.plans.either), headers } as const
      const others = [
        await app.inject(send('PUT', `${instance}/service_bindings/b-2`, bindBody(ids.plans.either))),
        await app.inject(unbind),
        await app.inject(send('PATCH', instance, change))
      ]
      for (const { statusCode, headers: answered, body } of others) {
        assert.equal(statusCode, 503, body)
        assert.match(String(answered['retry-after']), /^\d+$/)
      }
      const remove = await app.inject({ method: 'DELETE', url: instance + deleteQuery(ids.plans.either), headers })
      assert.equal(remove.statusCode, 200, remove.body)
      assert.deepEqual(provider.calls, ['provision', 'bind b-1', 'update', 'update', 'unbind b-1', 'deprovision'])
    })
  }

  test('a bind waits for its end and succeeds', async (t) => {
    const restored = gate()
    const { app } = await restoring(t, {
      restore: () => restored.opened,
      options: { syncDeadlineMs: 3_000 }
    })
    const bind = app.inject(send('PUT', `${instance}/service_bindings/b-2`, bindBody(ids.plans.either)))
    restored.open()
    assert.equal((await bind).statusCode, 201)
  })

  test('a permanent error ends it at once, and the log says so at level error', async (t) => {
    const { app, lines, provider } = await restoring(t, {
      restore: () => Promise.reject(new Rejected(422, 'The schema is gone.'))
    })
    const reported = () => lines.find(({ level, msg }) => level === 50 && msg.startsWith('update of the broker failed'))
    await until('its end', () => reported() !== undefined)
    assert.match(reported()?.msg ?? '', /the instance may differ from its plan and parameters/)
    assert.equal(reported()?.instance, 'i-1')
    assert.equal((await app.inject(get(instance))).statusCode, 200)
    assert.equal(
      (await app.inject(send('PUT', `${instance}/service_bindings/b-2`, bindBody(ids.plans.either)))).statusCode,
      201
    )
    assert.deepEqual(provider.calls, ['provision', 'bind b-1', 'update', 'update', 'bind b-2'])
  })

  test('it ends with the maximum_polling_duration of the plan', async (t) => {
    const catalog = catalogWith([ids.plans.either], { maximum_polling_duration: 1 })
    const { lines } = await restoring(t, { restore: () => Promise.reject(new Error('again')), options: { catalog } })
    await until('its end', () =>
      lines.some(({ level, msg }) => level === 50 && /update of the broker failed/.test(msg))
    )
  })
})

describe('DELETE that the provider rejects', { concurrency: true }, () => {
  const rejecting = () => Promise.reject(new Rejected(400, 'The database is protected.'))
  const rejection = [400, { description: 'The database is protected.' }]

  for (const testStore of testStores) {
    for (const query of ['', '&accepts_incomplete=true']) {
      const manner = query === '' ? 'a synchronous' : 'an asynchronous'
      test(`on ${testStore}: ${manner} one that cancelled a restoration starts it again`, async (t) => {
        let restorations = 0
        const { app, provider } = await restoring(t, {
          // Hangs at first, and succeeds when it is repeated.
          restore: async (task) => {
            restorations += 1
            if (restorations === 1) await untilAborted(task)
          },
          options: await storeOf(testStore)
        })
        provider.deprovision = rejecting
        const url = instance + deleteQuery(ids.plans.either, query)
        const remove = await app.inject({ method: 'DELETE', url, headers })
        if (query === '') assert.deepEqual([remove.statusCode, remove.json()], rejection)
        else {
          assert.equal(remove.statusCode, 202, remove.body)
          const poll = `${instance}/last_operation?operation=${remove.json().operation}`
          const { state, description } = (await pollUntilEnded(app, poll)).json()
          assert.deepEqual([state, description], ['failed', 'The database is protected.'])
        }
        await until('the second restoration', () => restorations === 2)
        assert.deepEqual(provider.tasks.at(-1)?.parameters, {})
        await until('its end', async () => {
          const bind = send('PUT', `${instance}/service_bindings/b-2`, bindBody(ids.plans.either))
          return (await app.inject(bind)).statusCode === 201
        })
        assert.equal((await app.inject(get(instance))).json().plan_id, ids.plans.either)
      })
    }

    test(`on ${testStore}: one that cancelled a synchronous update restores the instance`, async (t) => {
      let updates = 0
      const provider = new ScriptedProvider({
        update: async (task) => {
          updates += 1
          if (updates === 1) await untilAborted(task)
        }
      })
      provider.deprovision = rejecting
      const { app } = await replica(t, { providers: [provider], ...(await storeOf(testStore)) })
      await app.inject(send('PUT', instance, provisionBody(ids.plans.either)))
      const updating = app.inject(send('PATCH', instance, change))
      await until('the update', () => updates === 1)
      const url = instance + deleteQuery(ids.plans.either)
      const remove = await app.inject({ method: 'DELETE', url, headers })
      assert.deepEqual([remove.statusCode, remove.json()], rejection)
      assert.equal((await updating).statusCode, 422)
      await until('the restoration', () => updates === 2)
      assert.deepEqual(provider.tasks.at(-1)?.parameters, {})
      const fetched = await app.inject(get(instance))
      assert.deepEqual([fetched.statusCode, fetched.json().plan_id], [200, ids.plans.either])
      // The provider may change what it hands out only after the restoration.
      assert.equal((await app.inject(send('PUT', binding, bindBody(ids.plans.either)))).statusCode, 201)
      assert.deepEqual(provider.calls, ['provision', 'update', 'update', 'bind b-1'])
    })
  }
})

describe('DELETE during an update', { concurrency: true }, () => {
  for (const testStore of testStores) {
    test(`DELETE instance: an asynchronous update on ${testStore} is cancelled, and its poll says so`, async (t) => {
      const provider = new ScriptedProvider({ update: untilAborted })
      const { app } = await replica(t, { providers: [provider], ...(await storeOf(testStore)) })
      await app.inject(send('PUT', instance, provisionBody(ids.plans.either)))
      const update = await app.inject(
        send('PATCH', `${instance}?accepts_incomplete=true`, { service_id: ids.service, parameters: { a: 1 } })
      )
      assert.equal(update.statusCode, 202)
      await until('the update runs', () => provider.calls.includes('update'))
      const query = deleteQuery(ids.plans.either, '&accepts_incomplete=true')
      const remove = await app.inject({ method: 'DELETE', url: instance + query, headers })
      assert.equal(remove.statusCode, 202, remove.body)
      assert.deepEqual(
        (await pollUntilEnded(app, `${instance}/last_operation?operation=${remove.json().operation}`)).json(),
        { state: 'succeeded' }
      )
      const own = await app.inject(get(`${instance}/last_operation?operation=${update.json().operation}`))
      assert.deepEqual(own.json(), { state: 'failed', description: 'It was halted by a delete.' })
      assert.deepEqual(provider.calls, ['provision', 'update', 'deprovision'])
    })
  }

  test('DELETE instance: after a cancelled update a delete that fails leaves a usable instance', async (t) => {
    const provider = new ScriptedProvider({
      update: untilAborted,
      deprovision: () => Promise.reject(new BrokerError(500, 'No.', { instanceUsable: true }))
    })
    const { app } = await replica(t, { providers: [provider] })
    await app.inject(send('PUT', instance, provisionBody(ids.plans.either)))
    await app.inject(
      send('PATCH', `${instance}?accepts_incomplete=true`, { service_id: ids.service, parameters: { a: 1 } })
    )
    await until('the update runs', () => provider.calls.includes('update'))
    const remove = await app.inject({ method: 'DELETE', url: instance + deleteQuery(ids.plans.either), headers })
    assert.deepEqual([remove.statusCode, remove.json()], [500, { description: 'No.', instance_usable: true }])
    assert.equal((await app.inject(get(instance))).statusCode, 200)
  })
})
