import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { Pool } from 'pg'
import { deleteQuery, headers, provisionBody } from '../../helper/app.ts'
import { type AnyTask, gate, ScriptedProvider, until } from '../../helper/scripted-provider.ts'
import { oneDatabase, replica } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const create = { method: 'PUT', url: `${instance}?accepts_incomplete=true`, headers, payload: provisionBody() } as const
const remove = { method: 'DELETE', url: instance + deleteQuery(), headers } as const

/** A broker with short requests and gates for its provider, whose database rejects that a request continues in the background. */
async function scene(t: TestContext) {
  const { url, encryptionKeys } = await oneDatabase()
  const [creating, deleting] = [gate(), gate()]
  const provider = new ScriptedProvider({
    provision: async (task: AnyTask) => {
      await task.saveState({ name: 'outside-1' })
      await creating.opened
    },
    deprovision: () => deleting.opened
  })
  const options = { providers: [provider], store: { connectionString: url }, encryptionKeys, syncDeadlineMs: 4_000 }
  const { app } = await replica(t, options)
  await until('the broker is ready', async () => (await app.inject({ url: '/readyz' })).statusCode === 200, 60_000)
  const direct = new Pool({ connectionString: url, max: 1 })
  t.after(() => direct.end())
  await direct.query(
    `CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no continuation'; END $$;
    CREATE TRIGGER reject BEFORE UPDATE ON osb.operations FOR EACH ROW
    WHEN (NEW.async AND NOT OLD.async) EXECUTE FUNCTION reject()`
  )
  /** The operations, oldest first. A takeover by the sweep would begin another attempt. */
  const operations = async () => {
    const { rows } = await direct.query('SELECT kind, state, attempt, internal FROM osb.operations ORDER BY seq')
    return rows
  }
  return { app, provider, creating, deleting, operations }
}

describe('a request cannot continue in the background', { concurrency: true }, () => {
  test('PUT instance: answers 500, and the request undoes the work when it has ended', async (t) => {
    const { app, provider, creating, deleting, operations } = await scene(t)
    deleting.open()
    const reply = await app.inject(create)
    assert.equal(reply.statusCode, 500, reply.body)
    creating.open()
    await until('the work is undone', async () => (await operations())[1]?.state === 'succeeded')
    assert.deepEqual(await operations(), [
      { kind: 'provision', state: 'failed', attempt: 1, internal: false },
      { kind: 'deprovision', state: 'succeeded', attempt: 1, internal: true }
    ])
    assert.deepEqual(provider.calls, ['provision', 'deprovision'])
    assert.deepEqual(provider.tasks[1]?.state, { name: 'outside-1' })
    assert.equal((await app.inject({ url: instance, headers })).statusCode, 404)
  })

  test('DELETE instance: answers 500, and the request ends its operation when the work has ended', async (t) => {
    const { app, provider, creating, deleting, operations } = await scene(t)
    creating.open()
    assert.equal((await app.inject(create)).statusCode, 201)
    const reply = await app.inject(remove)
    assert.equal(reply.statusCode, 500, reply.body)
    deleting.open()
    await until('the delete has ended', async () => (await operations())[1]?.state !== 'in progress')
    assert.deepEqual((await operations())[1], { kind: 'deprovision', state: 'succeeded', attempt: 1, internal: false })
    assert.deepEqual(provider.calls, ['provision', 'deprovision'])
    assert.equal((await app.inject(remove)).statusCode, 410)
  })
})
