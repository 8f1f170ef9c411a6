import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Rejected } from '../../../src/core/provider.ts'
import { deleteQuery, headers, ids, pollUntilEnded, provisionBody } from '../../helper/app.ts'
import { type AnyTask, gate, type Script, ScriptedProvider, until } from '../../helper/scripted-provider.ts'
import type { LostCommit, TcpProxy } from '../../helper/tcp-proxy.ts'
import { oneDatabase, replica, throughProxy } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const asynchronous = '?accepts_incomplete=true'
const put = (url: string, payload: object) => ({ method: 'PUT', url, headers, payload }) as const
const remove = (url: string) => ({ method: 'DELETE', url: url + deleteQuery(), headers }) as const

/** A broker whose state database is behind a proxy. */
async function behindProxy(t: Parameters<typeof replica>[0], script: (proxy: () => TcpProxy) => Script = () => ({})) {
  const { url, encryptionKeys } = await oneDatabase()
  const { proxy, proxiedUrl } = await throughProxy(t, url)
  const provider = new ScriptedProvider(script(() => proxy))
  const store = { connectionString: proxiedUrl }
  return { ...(await replica(t, { providers: [provider], store, encryptionKeys, workers: 1 })), provider, proxy }
}

describe('an answer to a COMMIT is lost', { concurrency: true }, () => {
  for (const how of ['cut', 'freeze'] satisfies LostCommit[]) {
    test(`PUT instance: at its start, ${how}: the request finds its operation and answers 201`, async (t) => {
      const { app, provider, proxy } = await behindProxy(t)
      proxy.loseCommits(how)
      const reply = await app.inject(put(instance, provisionBody()))
      assert.equal(proxy.lostCommits, 1)
      assert.equal(reply.statusCode, 201, reply.body)
      assert.deepEqual(provider.calls, ['provision'])
      assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 200)
    })

    test(`PUT instance: at its end, ${how}: the request learns that it was committed and answers 201`, async (t) => {
      const { app, provider, proxy } = await behindProxy(t, (lossy) => ({
        provision: async () => lossy().loseCommits(how)
      }))
      const reply = await app.inject(put(instance, provisionBody()))
      assert.equal(proxy.lostCommits, 1)
      assert.equal(reply.statusCode, 201, reply.body)
      assert.deepEqual(provider.calls, ['provision'])
      assert.equal((await app.inject({ url: instance, headers })).statusCode, 200)
    })

    test(`PUT instance: at the failed end, ${how}: what was made is removed all the same`, async (t) => {
      const { app, provider, proxy } = await behindProxy(t, (lossy) => ({
        provision: async (task: AnyTask) => {
          await task.saveState({ name: 'outside-1' })
          lossy().loseCommits(how)
          throw new Rejected(400, 'There is no such size.')
        }
      }))
      const reply = await app.inject(put(instance, provisionBody()))
      assert.equal(proxy.lostCommits, 1)
      assert.deepEqual([reply.statusCode, reply.json()], [400, { description: 'There is no such size.' }])
      await until('the undo', () => provider.calls.includes('deprovision'))
      assert.deepEqual(provider.tasks.at(-1)?.state, { name: 'outside-1' })
      await until('the end of the undo', async () => (await app.inject(remove(instance))).statusCode === 410)
    })

    test(`worker: at its claim, ${how}: it repeats the claim and works, with one call of the provider`, async (t) => {
      const blocked = gate()
      const { app, provider, proxy } = await behindProxy(t, () => ({
        provision: async ({ instanceId }) => {
          if (instanceId === 'i-1') await blocked.opened
        }
      }))
      const ends: string[] = []
      for (const id of ['i-1', 'i-2']) {
        const url = `/v2/service_instances/${id}`
        const reply = await app.inject(put(url + asynchronous, provisionBody(ids.plans.async)))
        ends.push(`${url}/last_operation?operation=${reply.json().operation}`)
      }
      await until('the slot is taken', () => provider.calls.length === 1)
      // The end of the first operation passes, the claim of the second one is lost.
      proxy.loseCommits(how, 1, 1)
      blocked.open()
      for (const end of ends) assert.deepEqual((await pollUntilEnded(app, end)).json(), { state: 'succeeded' })
      assert.equal(proxy.lostCommits, 1)
      assert.deepEqual(provider.calls, ['provision', 'provision'])
      assert.deepEqual(
        provider.tasks.map(({ attempt }) => attempt),
        [1, 1]
      )
    })
  }

  test('DELETE instance: at its start and its end: answers 200, and a repetition 410', async (t) => {
    const { app, provider, proxy } = await behindProxy(t, (lossy) => ({
      deprovision: async () => lossy().loseCommits('cut')
    }))
    assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
    proxy.loseCommits('cut')
    const reply = await app.inject(remove(instance))
    assert.equal(reply.statusCode, 200, reply.body)
    assert.equal(proxy.lostCommits, 2)
    assert.equal((await app.inject(remove(instance))).statusCode, 410)
    assert.deepEqual(provider.calls, ['provision', 'deprovision'])
  })

  test('PUT instance: the outcome of the start stays unknown: 503, and the broker clears its own claim', async (t) => {
    const { app, provider, proxy } = await behindProxy(t)
    proxy.loseCommits('cut')
    const refuse = setInterval(() => {
      if (proxy.lostCommits === 0) return
      proxy.refuse(true)
      proxy.cut()
      clearInterval(refuse)
    }, 1)
    const reply = await app.inject(put(instance, provisionBody()))
    clearInterval(refuse)
    assert.equal(reply.statusCode, 503, reply.body)
    assert.match(String(reply.headers['retry-after']), /^\d+$/)
    proxy.refuse(false)
    // Long before the lease of the lost request would have ended, its repetition succeeds.
    await until('the repetition succeeds', async () => {
      const again = await app.inject(put(instance, provisionBody()))
      assert.ok(again.statusCode === 201 || again.statusCode === 503, again.body)
      return again.statusCode === 201
    })
    assert.deepEqual(provider.calls, ['provision'])
  })
})
