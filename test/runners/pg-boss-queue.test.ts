import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Pool } from 'pg'
import type { Execute } from '../../src/core/runner.ts'
import type { OperationStart } from '../../src/core/store.ts'
import { PgBossRunner } from '../../src/runners/pg-boss.ts'
import { asUnavailable } from '../../src/stores/postgres/index.ts'
import { testPostgres } from '../helper/postgres.ts'
import { until } from '../helper/scripted-provider.ts'
import { operationRecord } from '../stores/records.ts'

/** A started runner, what it logs, and a pool on its database. */
async function scene(t: TestContext, execute: Execute) {
  const connectionString = await (await testPostgres()).createDatabase()
  const pool = new Pool({ connectionString, max: 2 })
  const lines: { level: string; message: string | undefined }[] = []
  const line = (level: string) => (_fields: object, message?: string) => void lines.push({ level, message })
  const log = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
  const runner = new PgBossRunner({ connection: pool.options, explain: asUnavailable, log })
  t.after(async () => {
    await runner.stop()
    await runner.close()
    await pool.end()
  })
  await runner.start(execute, [])
  const enqueue = (operation: OperationStart) =>
    runner.enqueue(operation, { executeSql: (text: string, values: unknown[]) => pool.query(text, values) })
  return { runner, pool, lines, enqueue }
}

test('PgBossRunner: a job for another replica is passed on with pauses that double up to 10 s', async (t) => {
  const executed: string[] = []
  const { runner, pool, enqueue } = await scene(t, async ({ operationId }) => {
    executed.push(operationId)
    return 'elsewhere'
  })
  const operation = operationRecord('provision', { provider: 'elsewhere', serviceId: 's-1', planId: 'p-1' })
  await enqueue(operation)
  runner.wake()
  await until('it was passed on six times', async () => {
    // Starts a waiting job now. Its times keep their distance, which is the pause that the runner asked for.
    await pool.query(
      `UPDATE osb_jobs.job SET start_after = created_on, created_on = created_on - (start_after - created_on)
      WHERE name = 'operations' AND state = 'created'`
    )
    runner.wake()
    return executed.length >= 7
  })
  const { rows } = await pool.query<{ passed_on: number | null; operation: string; pause: number }>(
    `SELECT (data->>'passedOn')::int AS passed_on, data->>'operationId' AS operation,
      round(extract(epoch FROM start_after - created_on))::int AS pause
    FROM osb_jobs.job WHERE name = 'operations' ORDER BY passed_on NULLS FIRST LIMIT 7`
  )
  assert.deepEqual(
    rows.map(({ passed_on, pause }) => [passed_on, pause]),
    [
      [null, 0],
      [1, 1],
      [2, 2],
      [3, 4],
      [4, 8],
      [5, 10],
      [6, 10]
    ]
  )
  assert.deepEqual([...new Set(rows.map(({ operation }) => operation))], [operation.operationId])
})

test('PgBossRunner: a queue that cannot be read is an error in the log once, and its jobs wait until it can', async (t) => {
  const executed: string[] = []
  const { runner, pool, lines, enqueue } = await scene(t, async ({ operationId }) => {
    executed.push(operationId)
    return 'done'
  })
  // Otherwise the runner could not complete a job that it has executed, and would repeat it.
  const completed = (count: number) =>
    until(`${count} jobs are completed`, async () => {
      const { rows } = await pool.query(`SELECT FROM osb_jobs.job WHERE name = 'operations' AND state = 'completed'`)
      return rows.length === count
    })
  const [before, during, after] = [1, 2, 3].map(() => operationRecord('provision'))
  assert.ok(before !== undefined && during !== undefined && after !== undefined)
  await enqueue(before)
  await completed(1)
  await pool.query('ALTER SCHEMA osb_jobs RENAME TO away')
  const unreadable = () => lines.filter(({ message }) => message?.startsWith('the job queue could not be read'))
  await until('several looks have failed', () => {
    runner.wake()
    return unreadable().length >= 4
  })
  assert.deepEqual(
    [
      ...new Set(
        unreadable()
          .slice(1)
          .map(({ level }) => level)
      )
    ],
    ['debug']
  )
  assert.equal(unreadable()[0]?.level, 'error')

  await pool.query('ALTER SCHEMA away RENAME TO osb_jobs')
  await enqueue(during)
  await completed(2)
  await until('the end is logged', () => lines.some(({ message }) => message === 'the job queue can be read again'))
  assert.equal(lines.filter(({ message }) => message === 'the job queue can be read again').length, 1)

  // The next time is an error again.
  await pool.query('ALTER SCHEMA osb_jobs RENAME TO away')
  await until('the next error', () => lines.filter(({ level }) => level === 'error').length === 2)
  await pool.query('ALTER SCHEMA away RENAME TO osb_jobs')
  await enqueue(after)
  await completed(3)
  assert.deepEqual(executed, [before.operationId, during.operationId, after.operationId])
})
