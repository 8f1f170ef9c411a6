import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'pg'
import { bindBody, deleteQuery, headers, pollUntilEnded, provisionBody } from '../../helper/app.ts'
import { type AnyTask, gate, type Script, ScriptedProvider, until } from '../../helper/scripted-provider.ts'
import { oneDatabase, replica } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const binding = `${instance}/service_bindings/b-1`
const asynchronous = '?accepts_incomplete=true'
const put = (url: string, payload: object) => ({ method: 'PUT', url, headers, payload }) as const
const remove = (url: string) => ({ method: 'DELETE', url: url + deleteQuery(), headers }) as const

/** A replica that is about to stop, and a look at the operations that it leaves. */
async function stopping(t: TestContext, script: Script) {
  const { url, encryptionKeys } = await oneDatabase()
  const pool = new Pool({ connectionString: url })
  t.after(() => pool.end())
  const options = { store: { connectionString: url }, encryptionKeys, syncDeadlineMs: 2_000 }
  const provider = new ScriptedProvider(script)
  const first = await replica(t, { ...options, providers: [provider] })
  return {
    ...first,
    provider,
    /** A replica that starts after the stop. */
    successor: async () => {
      const heir = new ScriptedProvider()
      return { heir, ...(await replica(t, { ...options, providers: [heir] })) }
    },
    /** Unfinished operations, with whether a lease keeps other replicas away, and how many jobs ask them to continue. */
    left: async () => {
      const { rows } = await pool.query<{ kind: string; leased: boolean; jobs: number }>(
        `SELECT kind, lease_until IS NOT NULL AS leased,
          (SELECT count(*)::int FROM osb_jobs.job
            WHERE name = 'operations' AND state = 'created' AND data->>'operationId' = operation_id) AS jobs
        FROM osb.operations WHERE state = 'in progress'`
      )
      return rows
    }
  }
}

/** Stops some time after its abort, as providers do that clean up. */
function slowToStop() {
  const stopped = gate()
  const aborted = gate()
  const work = ({ signal }: AnyTask) =>
    new Promise<never>((_resolve, reject) => {
      const stop = () => {
        aborted.open()
        void stopped.opened.then(() => reject(signal.reason))
      }
      signal.addEventListener('abort', stop, { once: true })
    })
  return { work, aborted, stopped }
}

/** Lets the provider stop when a close that does not wait for it would have closed the store. */
async function opensLate(stopped: { open: () => void }, closed: Promise<unknown>): Promise<void> {
  await Promise.race([closed, sleep(1_500)])
  stopped.open()
  await closed
}

describe('close hands back the work that continues after its request', { concurrency: true }, () => {
  test('PUT instance that was answered 202: another replica may continue it at once', async (t) => {
    const { work, aborted, stopped } = slowToStop()
    const { app, provider, left, successor } = await stopping(t, { provision: work })
    const reply = await app.inject(put(instance + asynchronous, provisionBody()))
    assert.equal(reply.statusCode, 202, reply.body)
    const closed = app.close()
    await aborted.opened
    await opensLate(stopped, closed)
    assert.deepEqual(await left(), [{ kind: 'provision', leased: false, jobs: 1 }])
    const { heir, app: other } = await successor()
    const poll = `${instance}/last_operation?operation=${reply.json().operation}`
    assert.deepEqual((await pollUntilEnded(other, poll)).json(), { state: 'succeeded' })
    assert.deepEqual([provider.calls, heir.calls], [['provision'], ['provision']])
    assert.equal(heir.tasks[0]?.attempt, 2)
  })

  test('DELETE binding that was answered 504: another replica may continue it at once', async (t) => {
    const { work, aborted, stopped } = slowToStop()
    const { app, left, successor } = await stopping(t, { unbind: work })
    assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 201)
    assert.equal((await app.inject(put(binding, bindBody()))).statusCode, 201)
    assert.equal((await app.inject(remove(binding))).statusCode, 504)
    const closed = app.close()
    await aborted.opened
    await opensLate(stopped, closed)
    assert.deepEqual(await left(), [{ kind: 'unbind', leased: false, jobs: 1 }])
    const { heir, app: other } = await successor()
    await until('the unbind has ended', async () => (await other.inject(remove(binding))).statusCode === 410)
    assert.deepEqual(heir.calls, ['unbind b-1'])
  })

  test('PUT instance that was answered 504: its undo is written before the end of the process', async (t) => {
    const letGo = gate()
    const { app, left, successor } = await stopping(t, {
      // Ignores its signal.
      provision: async (task) => {
        await task.saveState({ name: 'outside-1' })
        await letGo.opened
      }
    })
    assert.equal((await app.inject(put(instance, provisionBody()))).statusCode, 504)
    assert.deepEqual(await left(), [{ kind: 'provision', leased: true, jobs: 0 }])
    const closed = app.close()
    await opensLate(letGo, closed)
    assert.deepEqual(await left(), [{ kind: 'deprovision', leased: false, jobs: 1 }])
    const { heir, app: other } = await successor()
    await until('the undo has ended', async () => (await other.inject(remove(instance))).statusCode === 410)
    assert.deepEqual(heir.tasks[0]?.state, { name: 'outside-1' })
  })
})
