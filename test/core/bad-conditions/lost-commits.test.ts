import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { Pool } from 'pg'
import { Rejected } from '../../../src/core/provider.ts'
import { deleteQuery, headers, ids, pollUntilEnded, provisionBody } from '../../helper/app.ts'
import { type AnyTask, gate, type Script, ScriptedProvider, until } from '../../helper/scripted-provider.ts'
import type { LostCommit, TcpProxy } from '../../helper/tcp-proxy.ts'
import { oneDatabase, replica, throughProxy } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const asynchronous = '?accepts_incomplete=true'
const put = (url: string, payload: object) => ({ method: 'PUT', url, headers, payload }) as const
const remove = (url: string) => ({ method: 'DELETE', url: url + deleteQuery(), headers }) as const
/** Shorter than the interval at which a lease is renewed, so that no renewal waits for the lock of a test. */
const syncDeadlineMs = 3_000

/** A broker whose state database is behind a proxy, and direct connections to that database. */
async function behindProxy(
  t: TestContext,
  script: (proxy: () => TcpProxy) => Script = () => ({}),
  more: { syncDeadlineMs?: number } = {}
) {
  const { url, encryptionKeys } = await oneDatabase()
  const { proxy, proxiedUrl } = await throughProxy(t, url)
  const provider = new ScriptedProvider(script(() => proxy))
  const options = { providers: [provider], store: { connectionString: proxiedUrl }, encryptionKeys, workers: 1 }
  const started = await replica(t, { ...options, ...more })
  // Many brokers start at once here, so that a start may take longer than an app waits for it.
  await until(
    'the broker is ready',
    async () => (await started.app.inject({ url: '/readyz' })).statusCode === 200,
    60_000
  )
  const direct = new Pool({ connectionString: url, max: 2 })
  t.after(() => direct.end())
  return { ...started, provider, proxy, direct }
}

/**
 * Loses the answer to the COMMIT by which a synchronous operation continues in the background. A lock holds its UPDATE back until
 * the proxy is ready, because other transactions commit, too.
 */
async function loseContinuation({ proxy, direct }: { proxy: TcpProxy; direct: Pool }, how: LostCommit) {
  const lock = await direct.connect()
  try {
    await lock.query('BEGIN')
    await lock.query(`SELECT FROM osb.operations WHERE state = 'in progress' FOR UPDATE`)
    await until('the request continues in the background', async () => {
      const { rows } = await direct.query(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
        AND query LIKE '%SET async = true%'`
      )
      return rows.length === 1
    })
    proxy.loseCommits(how)
    await lock.query('COMMIT')
  } finally {
    lock.release(true)
  }
  await until('the COMMIT is lost', () => proxy.lostCommits === 1)
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

  for (const how of ['cut', 'freeze'] satisfies LostCommit[]) {
    test(`PUT instance: when it continues in the background, ${how}: answers 202, and its only call ends it`, async (t) => {
      const work = gate()
      const broker = await behindProxy(t, () => ({ provision: () => work.opened }), { syncDeadlineMs })
      const { app, provider } = broker
      const request = put(instance + asynchronous, provisionBody())
      const replying = app.inject(request)
      await until('the provider works', () => provider.calls.length === 1)
      await loseContinuation(broker, how)
      const first = await replying
      // The answer is due before the broker gives a frozen connection up. Then the repetition finds the operation.
      const reply = first.statusCode === 503 ? await app.inject(request) : first
      assert.equal(reply.statusCode, 202, reply.body)
      work.open()
      const end = await pollUntilEnded(app, `${instance}/last_operation?operation=${reply.json().operation}`)
      assert.deepEqual(end.json(), { state: 'succeeded' })
      assert.deepEqual(provider.calls, ['provision'])
      assert.equal((await app.inject({ url: instance, headers })).statusCode, 200)
    })
  }

  test('PATCH instance: at its start, which has ended when the broker asks again: answers 202, with one call', async (t) => {
    const { app, provider, proxy } = await behindProxy(t)
    assert.equal((await app.inject(put(instance, provisionBody(ids.plans.either)))).statusCode, 201)
    // The broker notices a frozen connection after seconds. The worker ends the update meanwhile.
    proxy.loseCommits('freeze')
    const payload = { service_id: ids.service, parameters: { a: 1 } }
    const reply = await app.inject({ method: 'PATCH', url: instance + asynchronous, headers, payload })
    assert.equal(proxy.lostCommits, 1)
    assert.equal(reply.statusCode, 202, reply.body)
    const end = await pollUntilEnded(app, `${instance}/last_operation?operation=${reply.json().operation}`)
    assert.deepEqual(end.json(), { state: 'succeeded' })
    assert.deepEqual(provider.calls, ['provision', 'update'])
    assert.deepEqual((await app.inject({ url: instance, headers })).json().parameters, { a: 1 })
  })

  test('DELETE instance: when it continues in the background: answers 504 or 503, and its only call ends it', async (t) => {
    const work = gate()
    const broker = await behindProxy(t, () => ({ deprovision: () => work.opened }), { syncDeadlineMs })
    const { app, provider } = broker
    assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
    const replying = app.inject(remove(instance))
    await until('the provider works', () => provider.calls.length === 2)
    await loseContinuation(broker, 'cut')
    const reply = await replying
    assert.ok([503, 504].includes(reply.statusCode), reply.body)
    assert.match(String(reply.headers['retry-after']), /^\d+$/)
    work.open()
    await until('the instance is gone', async () => (await app.inject(remove(instance))).statusCode === 410)
    assert.deepEqual(provider.calls, ['provision', 'deprovision'])
  })

  test('PUT instance: the outcome of the start stays unknown: 503, and the request ends its own operation', async (t) => {
    // Much shorter than the lease, after which the sweep would end the operation.
    const { app, provider, proxy, direct } = await behindProxy(t, () => ({}), { syncDeadlineMs })
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
    const operation = async () => {
      const { rows } = await direct.query('SELECT state, attempt, description FROM osb.operations ORDER BY seq LIMIT 1')
      return rows[0]
    }
    await until('the operation has ended', async () => (await operation()).state !== 'in progress')
    // A sweep would have claimed it first, which begins another attempt.
    assert.deepEqual(await operation(), {
      state: 'failed',
      attempt: 1,
      description: 'The broker lost its connection to the database.'
    })
    assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
    assert.deepEqual(provider.calls, ['provision'])
  })
})
