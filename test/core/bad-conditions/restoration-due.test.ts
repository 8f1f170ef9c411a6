import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Rejected, Unavailable } from '../../../src/core/provider.ts'
import { bindBody, deleteQuery, headers, ids, provisionBody } from '../../helper/app.ts'
import { ScriptedProvider, until, untilAborted } from '../../helper/scripted-provider.ts'
import { oneDatabase, replica, withoutPlans } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const binding = `${instance}/service_bindings/b-1`
const send = (method: 'PUT' | 'PATCH', url: string, payload: object) => ({ method, url, headers, payload })
const get = (url: string) => ({ url, headers })

describe('whether a failed update is restored', { concurrency: true }, () => {
  test('PATCH instance: rejected at its second try, after the first one may have acted: is restored', async (t) => {
    let tries = 0
    const provider = new ScriptedProvider({
      update: async () => {
        tries += 1
        if (tries === 1) throw new Unavailable('The connection was lost.')
        if (tries === 2) throw new Rejected(422, 'There is no such size.')
      }
    })
    const { app, lines } = await replica(t, { providers: [provider] })
    await app.inject(send('PUT', instance, provisionBody(ids.plans.either, { parameters: { size: 1 } })))
    const payload = { service_id: ids.service, parameters: { size: 2 } }
    const reply = await app.inject(send('PATCH', instance, payload))
    assert.deepEqual([reply.statusCode, reply.json()], [422, { description: 'There is no such size.' }])
    await until('the restoration', () => tries === 3)
    const [, , rejected, restored] = provider.tasks
    assert.deepEqual([rejected?.parameters, restored?.parameters], [{ size: 2 }, { size: 1 }])
    // Not before the restoration has ended.
    assert.equal((await app.inject(send('PUT', binding, bindBody(ids.plans.either)))).statusCode, 201)
    assert.deepEqual(provider.calls, ['provision', 'update', 'update', 'update', 'bind b-1'])
    assert.deepEqual((await app.inject(get(instance))).json().parameters, { size: 1 })
    assert.deepEqual(
      lines.filter(({ level }) => level === 50),
      []
    )
  })

  test('PATCH instance: to leave a plan that has left the catalog: is not restored, and the log says so once', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    let failing = true
    const provider = new ScriptedProvider({
      update: async (task) => {
        if (failing) await untilAborted(task)
      }
    })
    const options = { providers: [provider], store: { connectionString: url }, encryptionKeys, syncDeadlineMs: 2_000 }
    const before = await replica(t, options)
    assert.equal((await before.app.inject(send('PUT', instance, provisionBody()))).statusCode, 201)
    assert.equal((await before.app.inject(send('PUT', binding, bindBody()))).statusCode, 201)
    await before.app.close()
    const { app, lines } = await replica(t, { ...options, catalog: withoutPlans([ids.plans.sync]) })
    const payload = { service_id: ids.service, plan_id: ids.plans.either }
    assert.equal((await app.inject(send('PATCH', instance, payload))).statusCode, 504)
    // A restoration would make the others wait.
    const fetched = await app.inject(get(instance))
    assert.deepEqual([fetched.statusCode, fetched.json().plan_id], [200, ids.plans.sync])
    assert.equal((await app.inject({ method: 'DELETE', url: binding + deleteQuery(), headers })).statusCode, 200)
    failing = false
    assert.equal((await app.inject(send('PATCH', instance, payload))).statusCode, 200)
    assert.equal((await app.inject(get(instance))).json().plan_id, ids.plans.either)
    assert.deepEqual(provider.calls, ['provision', 'bind b-1', 'update', 'unbind b-1', 'update'])
    const reports = lines.filter(({ msg }) => msg.startsWith('an instance is not restored after a failed update'))
    assert.deepEqual(
      reports.map(({ level, instance, plan }) => [level, instance, plan]),
      [[50, 'i-1', ids.plans.sync]]
    )
  })
})
