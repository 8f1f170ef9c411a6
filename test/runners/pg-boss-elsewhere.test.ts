import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Pool } from 'pg'
import { oneDatabase, replica, withoutPlans } from '../core/bad-conditions/setup.ts'
import { headers, ids, provisionBody } from '../helper/app.ts'
import { gate, ScriptedProvider, until } from '../helper/scripted-provider.ts'

const path = (index: number) => `/v2/service_instances/i-${index}`

test('rolling catalog change: a replica without the plan of a job waits longer each time, and another performs it', async (t) => {
  const { url, encryptionKeys } = await oneDatabase()
  const common = { store: { connectionString: url }, encryptionKeys }
  const pool = new Pool({ connectionString: url, max: 1 })
  t.after(() => pool.end())
  const blocked = gate()
  const working = new ScriptedProvider({ provision: () => blocked.opened })
  const first = await replica(t, { ...common, providers: [working], workers: 1 })
  const accept = async (index: number): Promise<string> => {
    const request = { url: `${path(index)}?accepts_incomplete=true`, headers, payload: provisionBody(ids.plans.async) }
    const reply = await first.app.inject({ method: 'PUT', ...request })
    assert.equal(reply.statusCode, 202)
    return reply.json().operation
  }
  // The second one waits for the only slot, and is left when the replica stops.
  await accept(0)
  await until('the only slot is taken', () => working.calls.length === 1)
  const operation = await accept(1)
  const closing = first.app.close()
  await until('the replica stops', () => working.tasks[0]?.signal.aborted === true)
  blocked.open()
  await closing

  const lacking = new ScriptedProvider()
  const old = await replica(t, { ...common, providers: [lacking], catalog: withoutPlans([ids.plans.async]) })
  const pauses = async () => {
    // Starts a waiting job now. Its times keep their distance, which is the pause that the replica asked for.
    await pool.query(
      `UPDATE osb_jobs.job SET start_after = created_on, created_on = created_on - (start_after - created_on)
      WHERE name = 'operations' AND state = 'created'`
    )
    const { rows } = await pool.query<{ pause: number }>(
      `SELECT round(extract(epoch FROM start_after - created_on))::int AS pause FROM osb_jobs.job
      WHERE name = 'operations' AND data->>'operationId' = $1 AND data ? 'passedOn' ORDER BY data->'passedOn'`,
      [operation]
    )
    return rows.map(({ pause }) => pause)
  }
  await until('the job was passed on three times', async () => (await pauses()).length >= 3)
  assert.deepEqual((await pauses()).slice(0, 3), [1, 2, 4])
  const reports = old.lines.filter(({ msg }) => msg.startsWith('this replica does not have the provider or the plan'))
  assert.equal(reports.length, 1)

  const having = new ScriptedProvider()
  const fresh = await replica(t, { ...common, providers: [having] })
  await until(
    'the operation has succeeded',
    async () => {
      await pauses()
      return (await fresh.app.inject({ url: `${path(1)}/last_operation`, headers })).json().state === 'succeeded'
    },
    60_000
  )
  assert.deepEqual(having.calls, ['provision'])
  assert.deepEqual(lacking.calls, [])
})
