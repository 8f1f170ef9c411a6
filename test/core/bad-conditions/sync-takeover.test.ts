import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Pool } from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { bindBody, deleteQuery, headers, ids, pollUntilEnded, provisionBody } from '../../helper/app.ts'
import { type AnyTask, gate, type Script, ScriptedProvider, until } from '../../helper/scripted-provider.ts'
import { noEnqueue, operationRecord, synchronous } from '../../stores/records.ts'
import { hangingReplica } from './hanging-replica.ts'
import { oneDatabase, replica, storeAt } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const binding = `${instance}/service_bindings/b-1`
const put = (url: string, payload: object) => ({ method: 'PUT', url, headers, payload }) as const
const remove = (url: string) => ({ method: 'DELETE', url: url + deleteQuery(), headers }) as const
const get = (url: string) => ({ url, headers })

/** Longer than the lease of an operation. */
const OVER_A_LEASE_MS = 10_000

/** Two replicas on one database; the second one has a provider that always succeeds. */
async function twoReplicas(t: Parameters<typeof replica>[0], script: Script) {
  const { url, encryptionKeys } = await oneDatabase()
  const store = { connectionString: url }
  const [provider, otherProvider] = [new ScriptedProvider(script), new ScriptedProvider()]
  const options = { store, encryptionKeys, syncDeadlineMs: 60_000 }
  const first = await replica(t, { ...options, providers: [provider] })
  const second = await replica(t, { ...options, providers: [otherProvider] })
  return { app: first.app, other: second.app, provider, otherProvider, url }
}

/** A create that fails at each try until a time has passed. The pauses between its tries double. */
function failingFor(ms: number) {
  let since: number | undefined
  return async (task: AnyTask) => {
    since ??= performance.now()
    await task.saveState({ name: 'outside-1' })
    if (performance.now() - since < ms) throw new Unavailable('The server is away.')
  }
}

describe('the pause between the tries of a synchronous operation', { concurrency: true }, () => {
  test('PUT instance: no replica takes over a create that pauses for longer than a lease, answers 201', async (t) => {
    const { app, other, provider, otherProvider } = await twoReplicas(t, { provision: failingFor(OVER_A_LEASE_MS) })
    const reply = await app.inject(put(instance, provisionBody()))
    assert.equal(reply.statusCode, 201, reply.body)
    assert.deepEqual([...new Set(provider.calls)], ['provision'])
    assert.deepEqual(otherProvider.calls, [])
    assert.equal((await other.inject(get(instance))).statusCode, 200)
  })

  test('DELETE instance: no replica runs a delete a second time that pauses for longer than a lease', async (t) => {
    const { app, other, provider, otherProvider } = await twoReplicas(t, { deprovision: failingFor(OVER_A_LEASE_MS) })
    assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
    const removing = app.inject(remove(instance))
    await until('the first try', () => provider.calls.includes('deprovision'))
    // Joins the operation of the other replica.
    const joined = await other.inject(remove(instance))
    assert.equal(joined.statusCode, 200, joined.body)
    assert.equal((await removing).statusCode, 200)
    assert.deepEqual(otherProvider.calls, [])
    assert.equal((await other.inject(remove(instance))).statusCode, 410)
  })

  test('DELETE instance: ends the pause of a create on another replica, which does not try again', async (t) => {
    const { app, other, provider, otherProvider } = await twoReplicas(t, {
      provision: failingFor(Number.POSITIVE_INFINITY)
    })
    const creating = app.inject(put(instance, provisionBody()))
    // The next pause takes more than three seconds.
    await until('seven tries', () => provider.calls.length === 7)
    const removed = await other.inject(remove(instance))
    assert.equal(removed.statusCode, 200, removed.body)
    const created = await creating
    assert.deepEqual([created.statusCode, created.json().error], [422, 'ConcurrencyError'])
    assert.equal(provider.calls.length, 7)
    assert.deepEqual(otherProvider.calls, ['deprovision'])
    assert.deepEqual(otherProvider.tasks[0]?.state, { name: 'outside-1' })
  })
})

describe('a replica that dies during a synchronous delete', { concurrency: true }, () => {
  test('DELETE instance, DELETE binding: another replica continues them in the background', async (t) => {
    const database = await oneDatabase()
    const dying = await hangingReplica(t, database)
    const provider = new ScriptedProvider()
    const store = { connectionString: database.url }
    const { app } = await replica(t, { providers: [provider], store, encryptionKeys: database.encryptionKeys })
    const second = '/v2/service_instances/i-2'
    for (const url of [instance, second]) assert.equal((await app.inject(put(url, provisionBody()))).statusCode, 201)
    assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 201)
    const requests = [binding, second].map((url) =>
      fetch(dying.url + url + deleteQuery(), { method: 'DELETE', headers }).then(
        ({ status }) => status,
        () => 'no answer'
      )
    )
    await dying.hangs(2)
    await dying.kill()
    assert.deepEqual(await Promise.all(requests), ['no answer', 'no answer'])
    const done = ['provision', 'provision', 'bind b-1']
    await until(
      'both deletes have ended',
      async () => {
        assert.equal((await app.inject(get(binding))).statusCode, 404)
        assert.equal((await app.inject(get(second))).statusCode, 404)
        const polls = await Promise.all([binding, second].map((url) => app.inject(get(`${url}/last_operation`))))
        const states = polls.map((poll) => poll.json().state)
        for (const state of states) assert.match(state, /^(in progress|succeeded)$/)
        return states.every((state) => state === 'succeeded')
      },
      60_000
    )
    assert.deepEqual(provider.calls.slice(done.length).toSorted(), ['deprovision', 'unbind b-1'])
    assert.equal((await app.inject(remove(binding))).statusCode, 410)
    assert.equal((await app.inject(remove(second))).statusCode, 410)
    assert.equal((await app.inject(get(instance))).statusCode, 200)
    assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 201)
  })

  test('sweep: a delete that it takes over becomes asynchronous and waits for a worker slot', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const blocked = gate()
    const provider = new ScriptedProvider({
      provision: async ({ instanceId }) => {
        if (instanceId === 'i-long') await blocked.opened
      }
    })
    const options = { providers: [provider], store: { connectionString: url }, encryptionKeys, workers: 1 }
    const { app } = await replica(t, options)
    assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
    const long = '/v2/service_instances/i-long'
    await app.inject(put(`${long}?accepts_incomplete=true`, provisionBody(ids.plans.async)))
    await until('the only slot is taken', () => provider.calls.length === 2)
    // The claim of a request whose process has died.
    const dead = storeAt(t, { url, encryptionKeys, leaseMs: 1 })
    const plan = { platform: 'default', provider: 'example', serviceId: ids.service, planId: ids.plans.sync }
    const operation = synchronous(operationRecord('deprovision', plan))
    assert.equal(await dead.start({ operation }, noEnqueue), 'started')
    const pool = new Pool({ connectionString: url })
    t.after(() => pool.end())
    const jobs = `SELECT count(*)::int AS jobs FROM osb_jobs.job
      WHERE name = 'operations' AND state = 'created' AND data->>'operationId' = $1`
    await until('the job of the sweep', async () => {
      const { rows } = await pool.query<{ jobs: number }>(jobs, [operation.operationId])
      return rows[0]?.jobs === 1
    })
    const taken = await dead.getOperation(operation.operationId)
    assert.deepEqual([taken?.state, taken?.async, taken?.unreported], ['in progress', true, true])
    assert.deepEqual(provider.calls, ['provision', 'provision'])
    assert.equal((await app.inject(get(instance))).statusCode, 404)
    blocked.open()
    assert.deepEqual((await pollUntilEnded(app, `${instance}/last_operation`)).json(), { state: 'succeeded' })
    assert.deepEqual(provider.calls, ['provision', 'provision', 'deprovision'])
    assert.equal((await app.inject(remove(instance))).statusCode, 410)
  })
})
