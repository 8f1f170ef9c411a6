import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Pool } from 'pg'
import { bindBody, deleteQuery, headers, ids, pollUntilEnded, provisionBody, testStores } from '../../helper/app.ts'
import { type AnyTask, gate, ScriptedProvider, until } from '../../helper/scripted-provider.ts'
import { noEnqueue, provisionStart, synchronous } from '../../stores/records.ts'
import { oneDatabase, replica, storeAt, storeOf } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const asynchronous = '?accepts_incomplete=true'
const put = (url: string, payload: object) => ({ method: 'PUT', url: url + asynchronous, headers, payload }) as const
const path = (index: number | string) => `/v2/service_instances/i-${index}`

/** A start of an operation that the test catalog knows. */
function startOf(
  instanceId: string,
  { planId = ids.plans.async, ...more }: { planId?: string; maximumMs?: number } = {}
) {
  const plan = { provider: 'example', serviceId: ids.service, planId }
  return provisionStart({ instanceId, platform: 'default', ...plan, ...more }, { platform: 'default', ...plan })
}

describe('takeover', { concurrency: true }, () => {
  for (const testStore of testStores) {
    test(`DELETE instance on ${testStore}: waits for a create that ignores its signal, longer than a lease`, async (t) => {
      const ignoring = gate()
      const order: string[] = []
      const provider = new ScriptedProvider({
        provision: async (task: AnyTask) => {
          await task.saveState({ name: 'outside-1' })
          order.push('create begins')
          await ignoring.opened
          order.push('create ends')
        },
        deprovision: async () => {
          order.push('delete')
        }
      })
      const { app } = await replica(t, { providers: [provider], ...(await storeOf(testStore)) })
      await app.inject(put(instance, provisionBody(ids.plans.async)))
      await until('the create runs', () => order.length === 1)
      const query = deleteQuery(ids.plans.async, '&accepts_incomplete=true')
      const remove = await app.inject({ method: 'DELETE', url: instance + query, headers })
      assert.equal(remove.statusCode, 202, remove.body)
      // A lease that was not renewed would end after 9 s.
      await new Promise((resolve) => setTimeout(resolve, 12_000))
      assert.deepEqual(order, ['create begins'])
      ignoring.open()
      const end = await pollUntilEnded(app, `${instance}/last_operation?operation=${remove.json().operation}`)
      assert.deepEqual(end.json(), { state: 'succeeded' })
      assert.deepEqual(order, ['create begins', 'create ends', 'delete'])
    })
  }

  test('DELETE instance: the create of a dead process: 503 with Retry-After or success, never 422', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const provider = new ScriptedProvider()
    const { app } = await replica(t, { providers: [provider], store: { connectionString: url }, encryptionKeys })
    // The claim of a request whose process died with kill -9.
    const store = storeAt(t, { url, encryptionKeys })
    const start = startOf('i-1', { planId: ids.plans.sync, maximumMs: 7_000 })
    assert.equal(await store.start({ ...start, operation: synchronous(start.operation) }, noEnqueue), 'started')
    const remove = () => app.inject({ method: 'DELETE', url: instance + deleteQuery(), headers })
    await until(
      'the instance is gone',
      async () => {
        const { statusCode, headers: answered, body } = await remove()
        if (statusCode === 503) assert.match(String(answered['retry-after']), /^\d+$/)
        assert.ok([200, 410, 503].includes(statusCode), `${statusCode} ${body}`)
        return statusCode !== 503
      },
      60_000
    )
    assert.deepEqual(provider.calls, ['deprovision'])
  })

  test('an asynchronous create does not wait behind requests that continue in the background', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const blocked = gate()
    const provider = new ScriptedProvider({
      provision: async ({ instanceId }) => {
        if (instanceId !== 'i-last') await blocked.opened
      }
    })
    const options = { providers: [provider], store: { connectionString: url }, encryptionKeys, syncDeadlineMs: 1_000 }
    const { app } = await replica(t, options)
    const replies = await Promise.all(
      Array.from({ length: 40 }, (_, index) => app.inject(put(path(index), provisionBody(ids.plans.sync))))
    )
    assert.deepEqual([...new Set(replies.map(({ statusCode }) => statusCode))], [202])
    const pool = new Pool({ connectionString: url })
    t.after(() => pool.end())
    // Their leases stand for them: no job waits for them in the queue.
    const { rows } = await pool.query(`SELECT count(*)::int AS jobs FROM osb_jobs.job WHERE name = 'operations'`)
    assert.deepEqual(rows, [{ jobs: 0 }])
    await app.inject(put(path('last'), provisionBody(ids.plans.async)))
    assert.deepEqual((await pollUntilEnded(app, `${path('last')}/last_operation`)).json(), { state: 'succeeded' })
    blocked.open()
    for (let index = 0; index < 40; index += 1) {
      assert.deepEqual((await pollUntilEnded(app, `${path(index)}/last_operation`)).json(), { state: 'succeeded' })
    }
  })

  test('sweep: takes over within the worker slots, and fails an expired operation without a call', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    // Claims of a process that died, most of which are not expired.
    const dead = storeAt(t, { url, encryptionKeys, leaseMs: 1 })
    let running = 0
    let most = 0
    const provider = new ScriptedProvider({
      provision: async () => {
        running += 1
        most = Math.max(most, running)
        await new Promise((resolve) => setTimeout(resolve, 50))
        running -= 1
      }
    })
    // Migrates.
    const first = await replica(t, { store: { connectionString: url }, encryptionKeys })
    await first.app.close()
    const started: string[] = []
    for (let index = 0; index < 40; index += 1) {
      const start = startOf(`i-${index}`, index % 4 === 0 ? { maximumMs: 0 } : {})
      assert.equal(await dead.start(start, noEnqueue), 'started')
      assert.equal((await dead.claim(start.operation.operationId)).kind, 'claimed')
      started.push(start.operation.operationId)
    }
    const options = { providers: [provider], store: { connectionString: url }, encryptionKeys, workers: 3 }
    const { app } = await replica(t, options)
    for (let index = 0; index < 40; index += 1) {
      const end = (await pollUntilEnded(app, `${path(index)}/last_operation`)).json()
      assert.equal(end.state, index % 4 === 0 ? 'failed' : 'succeeded', JSON.stringify(end))
      // The answer to a synchronous request that waits for the operation
      const { failure } = (await dead.getOperation(started[index] ?? '')) ?? {}
      assert.deepEqual(failure, index % 4 === 0 ? { status: 503 } : undefined)
    }
    assert.equal(provider.calls.length, 30)
    assert.ok(most <= 3, `${most} calls at once`)
  })

  test('sweep: an operation whose job is gone gets a new one', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const provider = new ScriptedProvider()
    const { app } = await replica(t, { providers: [provider], store: { connectionString: url }, encryptionKeys })
    const store = storeAt(t, { url, encryptionKeys })
    const started = Array.from({ length: 12 }, (_, index) => startOf(`i-${index}`))
    for (const start of started) assert.equal(await store.start(start, noEnqueue), 'started')
    const pool = new Pool({ connectionString: url })
    t.after(() => pool.end())
    // The sweep looks at operations that have waited for half a minute, once a minute on one of the replicas.
    await pool.query(`UPDATE osb.operations SET created_at = created_at - interval '31 s'`)
    await pool.query(`INSERT INTO osb_jobs.job (name, data) VALUES ('sweep-upkeep', '{}')`)
    for (const { operation } of started) {
      await until(
        'it has succeeded',
        async () => {
          const { state } = (
            await app.inject({ url: `${path(operation.instanceId.slice(2))}/last_operation`, headers })
          ).json()
          return state === 'succeeded'
        },
        60_000
      )
    }
    assert.equal(provider.calls.length, 12)
    assert.equal((await app.inject(put(`${path(0)}/service_bindings/b-1`, bindBody(ids.plans.async)))).statusCode, 202)
  })
})
