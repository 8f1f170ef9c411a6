import assert from 'node:assert/strict'
import test from 'node:test'
import { Rejected, Unavailable } from '../../src/core/provider.ts'
import { bindBody, buildApp, deleteQuery, headers, ids, pollUntilEnded, provisionBody } from '../helper/app.ts'
import { type AnyTask, gate, type Script, ScriptedProvider, until, untilAborted } from '../helper/scripted-provider.ts'

const instance = '/v2/service_instances/i-1'
const binding = `${instance}/service_bindings/b-1`
const put = (url: string, payload: object) => ({ method: 'PUT', url, headers, payload }) as const
const saveName = (task: AnyTask) => task.saveState({ name: 'outside-1' })

async function scripted(t: Parameters<typeof buildApp>[0], script: Script, syncDeadlineMs = 8_000) {
  const provider = new ScriptedProvider(script)
  return { provider, app: await buildApp(t, { providers: [provider], syncDeadlineMs }) }
}

test('PUT instance: a passing failure is tried again within the request, answers 201', async (t) => {
  let tries = 0
  const { app, provider } = await scripted(t, {
    provision: async () => {
      tries += 1
      if (tries < 3) throw new Unavailable('The server is away.')
    }
  })
  const reply = await app.inject(put(instance, provisionBody()))
  assert.equal(reply.statusCode, 201, reply.body)
  assert.deepEqual(provider.calls, ['provision', 'provision', 'provision'])
})

test('PUT instance: a failure that lasts answers 503 with the description and Retry-After', async (t) => {
  const { app } = await scripted(t, { provision: () => Promise.reject(new Unavailable('The server is away.')) }, 400)
  const reply = await app.inject(put(instance, provisionBody()))
  assert.equal(reply.statusCode, 503)
  assert.deepEqual(reply.json(), { description: 'The server is away.' })
  assert.match(String(reply.headers['retry-after']), /^\d+$/)
  assert.equal((await app.inject({ url: instance, headers })).statusCode, 404)
})

test('PUT instance: an unforeseen failure answers 500 without its text', async (t) => {
  const { app } = await scripted(t, { provision: () => Promise.reject(new Error('password=hunter2')) }, 300)
  const reply = await app.inject(put(instance, provisionBody()))
  assert.equal(reply.statusCode, 500)
  assert.doesNotMatch(reply.body, /hunter2/)
})

test('PUT instance: longer than the deadline with accepts_incomplete goes on, answers 202, one call', async (t) => {
  const work = gate()
  const { app, provider } = await scripted(t, { provision: () => work.opened }, 150)
  const reply = await app.inject(put(`${instance}?accepts_incomplete=true`, provisionBody()))
  assert.equal(reply.statusCode, 202, reply.body)
  const poll = `${instance}/last_operation?operation=${reply.json().operation}`
  assert.equal((await app.inject({ url: poll, headers })).json().state, 'in progress')
  work.open()
  assert.deepEqual((await pollUntilEnded(app, poll)).json(), { state: 'succeeded' })
  assert.equal((await app.inject({ url: instance, headers })).statusCode, 200)
  assert.deepEqual(provider.calls, ['provision'])
})

test('PUT instance: longer than the deadline alone is aborted and undone, answers 504', async (t) => {
  const { app, provider } = await scripted(
    t,
    {
      provision: async (task) => {
        await saveName(task)
        await untilAborted(task)
      }
    },
    150
  )
  const reply = await app.inject(put(instance, provisionBody()))
  assert.equal(reply.statusCode, 504, reply.body)
  assert.match(reply.json().description, /being undone/)
  await until('the undo', () => provider.calls.includes('deprovision'))
  assert.deepEqual(provider.tasks.at(-1)?.state, { name: 'outside-1' })
  await until('the end of the undo', async () => {
    const again = await app.inject({ method: 'DELETE', url: instance + deleteQuery(), headers })
    return again.statusCode === 410
  })
})

test('PUT instance: a provider that ignores its signal is undone once it has let go', async (t) => {
  const work = gate()
  const order: string[] = []
  const { app } = await scripted(
    t,
    {
      provision: async (task) => {
        await saveName(task)
        await work.opened
        order.push('provision let go')
      },
      deprovision: async () => {
        order.push('deprovision')
      }
    },
    150
  )
  assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 504)
  assert.deepEqual(order, [])
  work.open()
  await until('the undo', () => order.length === 2)
  assert.deepEqual(order, ['provision let go', 'deprovision'])
})

test('PUT instance: rejected before anything was made leaves nothing, another PUT of the id answers 201', async (t) => {
  const { app, provider } = await scripted(t, {
    provision: async (task) => {
      if (task.parameters.size === 'huge') throw new Rejected(400, 'There is no such size.')
    }
  })
  const reply = await app.inject(put(instance, provisionBody(ids.plans.sync, { parameters: { size: 'huge' } })))
  assert.equal(reply.statusCode, 400)
  assert.deepEqual(reply.json(), { description: 'There is no such size.' })
  assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
  assert.deepEqual(provider.calls, ['provision', 'provision'])
})

test('PUT binding: rejected after something was made is unbound in the background', async (t) => {
  const { app, provider } = await scripted(t, {
    bind: async (task) => {
      await saveName(task)
      throw new Rejected(400, 'There is no such role.')
    }
  })
  await app.inject(put(instance, provisionBody()))
  assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 400)
  await until('the undo', () => provider.calls.includes('unbind b-1'))
  await until('the end of the undo', async () => {
    const again = await app.inject({ method: 'DELETE', url: binding + deleteQuery(), headers })
    return again.statusCode === 410
  })
})

test('PATCH instance: longer than the deadline alone answers 504, plan stays, provider is brought back', async (t) => {
  let updates = 0
  const { app, provider } = await scripted(
    t,
    {
      update: async (task) => {
        updates += 1
        if (updates === 1) await untilAborted(task)
      }
    },
    150
  )
  await app.inject(put(instance, provisionBody(ids.plans.either)))
  const payload = { service_id: ids.service, plan_id: ids.plans.sync, parameters: { a: 1 } }
  const reply = await app.inject({ method: 'PATCH', url: instance, headers, payload })
  assert.equal(reply.statusCode, 504)
  await until('the restoring update', () => updates === 2)
  const restoring = provider.tasks.at(-1)
  assert.equal(restoring?.plan?.id, ids.plans.either)
  assert.deepEqual(restoring?.parameters, {})
  await until('the end of it', async () => (await app.inject({ url: instance, headers })).statusCode === 200)
  assert.equal((await app.inject({ url: instance, headers })).json().plan_id, ids.plans.either)
})

test('DELETE instance: longer than the deadline alone answers 504 and continues, another DELETE sees the end', async (t) => {
  const work = gate()
  const { app, provider } = await scripted(t, { deprovision: () => work.opened }, 150)
  await app.inject(put(instance, provisionBody()))
  const remove = { method: 'DELETE', url: instance + deleteQuery(), headers } as const
  const first = await app.inject(remove)
  assert.equal(first.statusCode, 504)
  assert.match(first.json().description, /continues; repeat the request/)
  assert.match(String(first.headers['retry-after']), /^\d+$/)
  assert.equal((await app.inject({ url: instance, headers })).statusCode, 404)
  // Not 422: the platform has no operation to poll.
  const again = await app.inject(put(instance, provisionBody()))
  assert.deepEqual([again.statusCode, again.json()], [503, { description: 'An earlier deletion still continues.' }])
  assert.equal((await app.inject(remove)).statusCode, 503)
  work.open()
  await until('the end', async () => (await app.inject(remove)).statusCode === 410)
  assert.deepEqual(provider.calls, ['provision', 'deprovision'])
})

test('DELETE binding: longer than the deadline alone continues, and its credentials are not handed out any more', async (t) => {
  const work = gate()
  const { app, provider } = await scripted(t, { unbind: () => work.opened }, 150)
  await app.inject(put(instance, provisionBody()))
  assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 201)
  const remove = { method: 'DELETE', url: binding + deleteQuery(), headers } as const
  assert.equal((await app.inject(remove)).statusCode, 504)
  assert.equal((await app.inject({ url: binding, headers })).statusCode, 404)
  const again = await app.inject(put(binding, bindBody()))
  assert.deepEqual([again.statusCode, again.json()], [503, { description: 'An earlier deletion still continues.' }])
  work.open()
  await until('the end', async () => (await app.inject(remove)).statusCode === 410)
  assert.deepEqual(provider.calls, ['provision', 'bind b-1', 'unbind b-1'])
})

test('DELETE binding: a failure that lasts answers 503 with its description and is tried again in the background', async (t) => {
  let away = true
  const { app } = await scripted(
    t,
    {
      unbind: async () => {
        if (away) throw new Unavailable('The server is away.')
      }
    },
    200
  )
  await app.inject(put(instance, provisionBody()))
  await app.inject(put(binding, bindBody()))
  const remove = { method: 'DELETE', url: binding + deleteQuery(), headers } as const
  const reply = await app.inject(remove)
  assert.deepEqual([reply.statusCode, reply.json()], [503, { description: 'The server is away.' }])
  assert.equal((await app.inject({ url: binding, headers })).statusCode, 404)
  away = false
  await until('the end', async () => (await app.inject(remove)).statusCode === 410)
})

test('PUT instance: identical while a synchronous one runs waits for it, answers 200', async (t) => {
  const work = gate()
  const { app, provider } = await scripted(t, { provision: () => work.opened })
  const first = app.inject(put(instance, provisionBody())).then((reply) => reply)
  await until('the provision', () => provider.calls.length === 1)
  const second = app.inject(put(instance, provisionBody())).then((reply) => reply)
  work.open()
  assert.deepEqual([(await first).statusCode, (await second).statusCode], [201, 200])
  assert.deepEqual(provider.calls, ['provision'])
})

test('PUT instance: a provider that throws something other than an Error answers 500, the process lives', async (t) => {
  const { app } = await scripted(t, { provision: () => Promise.reject('just a string') }, 200)
  assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 500)
  assert.equal((await app.inject({ url: '/healthz' })).statusCode, 200)
})
