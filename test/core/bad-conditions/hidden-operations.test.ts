import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { LightMyRequestResponse } from 'fastify'
import { Rejected } from '../../../src/core/provider.ts'
import { bindBody, deleteQuery, headers, ids, provisionBody, testStores } from '../../helper/app.ts'
import {
  type AnyTask,
  gate,
  type Script,
  ScriptedProvider,
  until,
  untilAborted
} from '../../helper/scripted-provider.ts'
import { type Replica, replica, storeOf } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const binding = `${instance}/service_bindings/b-1`
const otherBinding = `${instance}/service_bindings/b-2`
const put = (url: string, payload: object) => ({ method: 'PUT', url, headers, payload }) as const
const patch = (size: number) =>
  ({ method: 'PATCH', url: instance, headers, payload: { service_id: ids.service, parameters: { size } } }) as const
const remove = (url: string) => ({ method: 'DELETE', url: url + deleteQuery(), headers }) as const
const get = (url: string) => ({ url, headers })

/** The request waited for an operation that is still unfinished. */
function assertUnavailable({ statusCode, headers: answered, body }: LightMyRequestResponse, description: RegExp): void {
  assert.equal(statusCode, 503, body)
  assert.match(body, description)
  assert.match(String(answered['retry-after']), /^\d+$/)
}

function assertConcurrency({ statusCode, body }: LightMyRequestResponse): void {
  assert.equal(statusCode, 422, body)
  assert.equal(JSON.parse(body).error, 'ConcurrencyError')
}

async function scripted(
  t: Parameters<typeof replica>[0],
  { script, ...options }: { script: Script } & Parameters<typeof replica>[1]
) {
  const provider = new ScriptedProvider(script)
  return { provider, ...(await replica(t, { providers: [provider], syncDeadlineMs: 2_000, ...options })) }
}

/** The answers of all writes on an instance that are not allowed beside another operation on it. */
async function writes({ app }: Replica): Promise<LightMyRequestResponse[]> {
  return Promise.all([app.inject(patch(2)), app.inject(put(otherBinding, bindBody())), app.inject(remove(binding))])
}

/** An instance with an internal unbind that lasts until `done` opens: it removes the beginning of a failed bind. */
async function unbindingInternally(t: Parameters<typeof replica>[0], options: Parameters<typeof replica>[1] = {}) {
  const done = gate()
  const script = {
    bind: async (task: AnyTask) => {
      await task.saveState({ role: 'outside-1' })
      throw new Rejected(400, 'There is no such role.')
    },
    // Ends as soon as it is cancelled.
    unbind: ({ signal, operationId }: AnyTask) =>
      new Promise<void>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
        internal ??= operationId
        if (operationId === internal) void done.opened.then(resolve)
        else resolve()
      })
  }
  let internal: string | undefined
  const broker = await scripted(t, { script, ...options })
  assert.equal((await broker.app.inject(put(instance, provisionBody()))).statusCode, 201)
  assert.equal((await broker.app.inject(put(binding, bindBody()))).statusCode, 400)
  await until('the internal unbind', () => broker.provider.calls.includes('unbind b-1'))
  return { ...broker, done }
}

describe('requests during an internal unbind', { concurrency: true }, () => {
  for (const testStore of testStores) {
    test(`PATCH instance, PUT binding on ${testStore}: answer 503 while it lasts, then act`, async (t) => {
      const broker = await unbindingInternally(t, await storeOf(testStore))
      const { app, provider, done } = broker
      const others = [patch(2), put(binding, bindBody())].map((request) => app.inject(request))
      for (const other of others) assertUnavailable(await other, /An earlier deletion still continues/)
      done.open()
      await until('the PATCH succeeds', async () => (await app.inject(patch(2))).statusCode === 200)
      // The provider rejects it again.
      assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 400)
      assert.deepEqual(provider.calls.slice(0, 5), ['provision', 'bind b-1', 'unbind b-1', 'update', 'bind b-1'])
    })

    test(`DELETE instance on ${testStore}: cancels it and removes the binding itself, answers 200`, async (t) => {
      const { app, provider } = await unbindingInternally(t, { syncDeadlineMs: 8_000, ...(await storeOf(testStore)) })
      const reply = await app.inject(remove(instance))
      assert.equal(reply.statusCode, 200, reply.body)
      assert.deepEqual(provider.calls, ['provision', 'bind b-1', 'unbind b-1', 'unbind b-1', 'deprovision'])
      assert.deepEqual(provider.tasks[3]?.state, { role: 'outside-1' })
      assert.equal((await app.inject(remove(instance))).statusCode, 410)
    })
  }

  test('DELETE instance: waits while there are two, cancels the last one, answers 200', async (t) => {
    const first = gate()
    const started = new Set<string>()
    const provider = new ScriptedProvider({
      bind: async (task) => {
        await task.saveState({ role: 'outside' })
        throw new Rejected(400, 'There is no such role.')
      },
      unbind: async (task) => {
        const id = 'bindingId' in task ? task.bindingId : ''
        if (started.has(id)) return
        started.add(id)
        await (id === 'b-1' ? first.opened : untilAborted(task))
      }
    })
    const { app } = await replica(t, { providers: [provider], syncDeadlineMs: 2_000 })
    assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
    for (const url of [binding, otherBinding]) assert.equal((await app.inject(put(url, bindBody()))).statusCode, 400)
    await until('both internal unbinds', () => started.size === 2)
    assertUnavailable(await app.inject(remove(instance)), /An earlier deletion still continues/)
    const removing = app.inject(remove(instance))
    first.open()
    assert.equal((await removing).statusCode, 200)
    const removals = provider.calls.filter((call) => /^(unbind|deprovision)/.test(call))
    assert.deepEqual(removals, ['unbind b-1', 'unbind b-2', 'unbind b-2', 'deprovision'])
  })

  test('PATCH instance: waits for its end within the time of the request, answers 200', async (t) => {
    const { app, provider, done } = await unbindingInternally(t, { syncDeadlineMs: 8_000 })
    const updating = app.inject(patch(2))
    // The broker has decided about the PATCH before it has answered all of these.
    for (let count = 0; count < 20; count += 1) {
      await new Promise(setImmediate)
      assert.equal((await app.inject(get(instance))).statusCode, 200)
    }
    done.open()
    assert.equal((await updating).statusCode, 200)
    assert.deepEqual(provider.calls, ['provision', 'bind b-1', 'unbind b-1', 'update'])
  })

  test('DELETE instance: that cancelled it and is rejected logs that credentials may still work', async (t) => {
    const { app, provider, lines } = await unbindingInternally(t, { syncDeadlineMs: 8_000 })
    provider.deprovision = () => Promise.reject(new Rejected(400, 'The database is protected.'))
    assert.equal((await app.inject(remove(instance))).statusCode, 400)
    const reports = lines.filter(({ level }) => level === 50)
    assert.equal(reports.length, 1, JSON.stringify(reports))
    assert.match(reports[0]?.msg ?? '', /^an internal unbind was canceled by a delete that failed/)
    assert.deepEqual([reports[0]?.instance, reports[0]?.binding], ['i-1', 'b-1'])
    assert.equal((await app.inject(get(instance))).statusCode, 200)
  })
})

describe('requests during an operation whose request was answered with an error', { concurrency: true }, () => {
  test('PATCH, DELETE and PUT binding: an unbind that continues makes them wait, then act', async (t) => {
    const done = gate()
    const { app, provider } = await scripted(t, { script: { unbind: () => done.opened } })
    assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
    assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 201)
    assert.equal((await app.inject(remove(binding))).statusCode, 504)
    assert.equal((await app.inject(get(binding))).statusCode, 404)
    const others = [patch(2), put(binding, bindBody()), remove(instance)].map((request) => app.inject(request))
    for (const other of others) assertUnavailable(await other, /An earlier deletion still continues/)
    done.open()
    await until('the unbind has ended', async () => (await app.inject(remove(binding))).statusCode === 410)
    assert.equal((await app.inject(patch(2))).statusCode, 200)
    assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 201)
    assert.equal((await app.inject(remove(instance))).statusCode, 200)
    const deletes = ['unbind b-1', 'update', 'bind b-1', 'unbind b-1', 'deprovision']
    assert.deepEqual(provider.calls, ['provision', 'bind b-1', ...deletes])
  })

  test('PATCH, DELETE binding and PUT binding: an update whose provider does not stop makes them wait', async (t) => {
    const done = gate()
    const broker = await scripted(t, {
      script: { update: ({ operationId }) => (operationId === first(operationId) ? done.opened : Promise.resolve()) }
    })
    let updating: string | undefined
    function first(operationId: string): string {
      updating ??= operationId
      return updating
    }
    const { app } = broker
    assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
    assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 201)
    assert.equal((await app.inject(patch(1))).statusCode, 504)
    for (const reply of await writes(broker)) assertUnavailable(reply, /An earlier request is still being undone/)
    // The update ends with the instance that is stored.
    assert.equal((await app.inject(get(instance))).statusCode, 200)
    done.open()
    await until('the PATCH succeeds', async () => (await app.inject(patch(2))).statusCode === 200)
    assert.deepEqual((await app.inject(get(instance))).json().parameters, { size: 2 })
  })
})

describe('bindings while their instance is being deleted', { concurrency: true }, () => {
  for (const testStore of testStores) {
    test(`on ${testStore}: GET answers 404, PUT and DELETE 422 while the platform can poll the delete`, async (t) => {
      const done = gate()
      const { app } = await scripted(t, { script: { unbind: () => done.opened }, ...(await storeOf(testStore)) })
      assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
      assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 201)
      const url = `${instance}${deleteQuery()}&accepts_incomplete=true`
      assert.equal((await app.inject({ method: 'DELETE', url, headers })).statusCode, 202)
      assert.equal((await app.inject(get(instance))).statusCode, 404)
      assert.equal((await app.inject(get(binding))).statusCode, 404)
      assertConcurrency(await app.inject(put(binding, bindBody())))
      assertConcurrency(await app.inject(put(otherBinding, bindBody())))
      assertConcurrency(await app.inject(remove(binding)))
      done.open()
      await until('the delete has ended', async () => (await app.inject(remove(instance))).statusCode === 410)
      assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 404)
      assert.equal((await app.inject(remove(binding))).statusCode, 410)
    })
  }

  test('GET answers 404, PUT and DELETE wait while the platform cannot poll the delete', async (t) => {
    const done = gate()
    const { app } = await scripted(t, { script: { unbind: () => done.opened } })
    assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
    assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 201)
    assert.equal((await app.inject(remove(instance))).statusCode, 504)
    assert.equal((await app.inject(get(binding))).statusCode, 404)
    const others = [put(binding, bindBody()), put(otherBinding, bindBody()), remove(binding)]
    const replies = others.map((request) => app.inject(request))
    for (const reply of replies) assertUnavailable(await reply, /An earlier deletion still continues/)
    done.open()
    await until('the delete has ended', async () => (await app.inject(remove(instance))).statusCode === 410)
    for (const request of others.slice(0, 2)) assert.equal((await app.inject(request)).statusCode, 404)
  })
})
