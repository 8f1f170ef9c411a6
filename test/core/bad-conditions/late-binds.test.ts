import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client } from 'pg'
import { bindBody, headers, ids, provisionBody } from '../../helper/app.ts'
import { ScriptedProvider } from '../../helper/scripted-provider.ts'
import { until } from '../../server/broker-process.ts'
import { oneDatabase, replica, withoutKeptCredentials } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const binding = `${instance}/service_bindings/b-1`

test('PUT binding: credentials that are not kept and come after the answer are made anew by the repeated request', async (t) => {
  const { url, encryptionKeys } = await oneDatabase()
  const database = new Client(url)
  await database.connect()
  let binds = 0
  const provider = new ScriptedProvider({
    bind: async (task) => {
      binds += 1
      await task.saveState({ name: `binding ${binds}` })
      // Holds the commit of the success up, as a slow disk or a standby does.
      if (binds === 1) await database.query('BEGIN; SELECT FROM osb.service_bindings FOR UPDATE')
      return { credentials: { token: `token ${binds}` } }
    }
  })
  const { app } = await replica(t, {
    store: { connectionString: url },
    encryptionKeys,
    providers: [provider],
    catalog: withoutKeptCredentials(),
    syncDeadlineMs: 2_000
  })
  t.after(() => database.end())
  const put = (path: string, payload: object) => app.inject({ method: 'PUT', url: path, headers, payload })
  await until(
    'the instance is there',
    async () => (await put(instance, provisionBody(ids.plans.sync))).statusCode < 300
  )

  const late = await put(binding, bindBody(ids.plans.sync))
  assert.deepEqual([late.statusCode, binds], [503, 1])
  await database.query('COMMIT')
  await until('the binding is deleted', async () => provider.calls.includes('unbind b-1'), 20_000)
  const repeated = await until('the bind is repeated', async () => {
    const answer = await put(binding, bindBody(ids.plans.sync))
    return answer.statusCode === 201 && answer
  })
  assert.deepEqual(repeated.json().credentials, { token: 'token 2' })
})
