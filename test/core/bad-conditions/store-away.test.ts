import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { deleteQuery, headers, pollUntilEnded, provisionBody } from '../../helper/app.ts'
import { gate, ScriptedProvider, until } from '../../helper/scripted-provider.ts'
import { oneDatabase, replica, throughProxy } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const create = { method: 'PUT', url: `${instance}?accepts_incomplete=true`, headers, payload: provisionBody() } as const
const remove = { method: 'DELETE', url: instance + deleteQuery(), headers } as const

/** A broker with short requests, whose calls to create and to delete wait for gates. */
async function scene(t: TestContext) {
  const { url, encryptionKeys } = await oneDatabase()
  const { proxy, proxiedUrl } = await throughProxy(t, url)
  const [creating, deleting] = [gate(), gate()]
  const provider = new ScriptedProvider({ provision: () => creating.opened, deprovision: () => deleting.opened })
  const options = { providers: [provider], store: { connectionString: proxiedUrl }, encryptionKeys }
  const { app } = await replica(t, { ...options, syncDeadlineMs: 4_000 })
  await until('the broker is ready', async () => (await app.inject({ url: '/readyz' })).statusCode === 200, 60_000)
  /** Sends a request and takes the store away while the provider works on it, until it is answered. */
  const duringOutage = async (request: typeof create | typeof remove) => {
    const calls = provider.calls.length
    const replying = app.inject(request)
    await until('the provider works', () => provider.calls.length > calls)
    proxy.refuse(true)
    proxy.cut()
    const reply = await replying
    proxy.refuse(false)
    return reply
  }
  return { app, provider, creating, deleting, duringOutage }
}

describe('the store is away when the time of a request is up', { concurrency: true }, () => {
  test('PUT instance: answers 503, and the work continues in the background when the store is back', async (t) => {
    const { app, provider, creating, duringOutage } = await scene(t)
    const reply = await duringOutage(create)
    assert.equal(reply.statusCode, 503, reply.body)
    assert.match(String(reply.headers['retry-after']), /^\d+$/)
    // The store may need a moment to connect again.
    let again = await app.inject(create)
    await until('the repetition finds the operation', async () => {
      if (again.statusCode === 503) again = await app.inject(create)
      return again.statusCode !== 503
    })
    assert.equal(again.statusCode, 202, again.body)
    creating.open()
    const end = await pollUntilEnded(app, `${instance}/last_operation?operation=${again.json().operation}`)
    assert.deepEqual(end.json(), { state: 'succeeded' })
    assert.deepEqual(provider.calls, ['provision'])
    assert.equal((await app.inject({ url: instance, headers })).statusCode, 200)
  })

  test('DELETE instance: answers an error with Retry-After, and the work continues when the store is back', async (t) => {
    const { app, provider, creating, deleting, duringOutage } = await scene(t)
    creating.open()
    assert.equal((await app.inject(create)).statusCode, 201)
    const reply = await duringOutage(remove)
    assert.ok([503, 504].includes(reply.statusCode), reply.body)
    assert.match(String(reply.headers['retry-after']), /^\d+$/)
    deleting.open()
    await until('the instance is gone', async () => (await app.inject(remove)).statusCode === 410)
    assert.deepEqual(provider.calls, ['provision', 'deprovision'])
  })
})
