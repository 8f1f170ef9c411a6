import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'pg'
import { PgBossRunner } from '../../src/runners/pg-boss.ts'
import { asUnavailable } from '../../src/stores/postgres/index.ts'
import { testPostgres } from '../helper/postgres.ts'
import { openTcpProxy } from '../helper/tcp-proxy.ts'
import { until } from '../server/broker-process.ts'
import { operationRecord } from '../stores/records.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }

/** A runner behind a proxy, and a pool with a direct connection. */
async function scene(t: TestContext) {
  const url = await (await testPostgres()).createDatabase()
  const proxy = await openTcpProxy(Number(new URL(url).port))
  const pool = new Pool({ connectionString: url, max: 2 })
  const connection = { connectionString: url.replace(/:\d+\//, `:${proxy.port}/`) }
  const runner = new PgBossRunner({ connection, explain: asUnavailable, log: silent })
  t.after(async () => {
    await runner.stop()
    await runner.close()
    await pool.end()
    await proxy.close()
  })
  const enqueue = async () => {
    const operation = operationRecord('provision')
    await runner.enqueue(operation, { executeSql: (text: string, values: unknown[]) => pool.query(text, values) })
    return operation.operationId
  }
  return { runner, proxy, pool, enqueue }
}

test('PgBossRunner: finds jobs again after the network lost its connections silently', async (t) => {
  const { runner, proxy, enqueue } = await scene(t)
  const executed: string[] = []
  await runner.start(async ({ operationId }) => {
    executed.push(operationId)
    return 'done'
  }, [])
  const first = await enqueue()
  await until('the first is executed', async () => executed.includes(first))
  proxy.freeze()
  const second = await enqueue()
  await until('the second is executed', async () => executed.includes(second), 40_000)
  assert.deepEqual(executed, [first, second])
})

test('PgBossRunner: cancels a statement that waits too long for a table lock', async (t) => {
  const { runner, pool } = await scene(t)
  await runner.start(async () => 'done', [])
  const blocker = await pool.connect()
  try {
    await blocker.query('BEGIN; LOCK TABLE osb_jobs.job IN ACCESS EXCLUSIVE MODE')
    const waiting = async () => {
      const { rows } = await pool.query<{ pid: number; since: string }>(
        `SELECT pid, query_start::text AS since FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'osb-jobs' AND wait_event_type = 'Lock'`
      )
      return rows.map(({ pid, since }) => `${pid} since ${since}`)
    }
    const [first] = await until('a statement waits', async () => {
      const statements = await waiting()
      return statements.length > 0 && statements
    })
    await until('it is canceled', async () => !(await waiting()).includes(String(first)), 30_000)
  } finally {
    blocker.release(true)
  }
})

test('PgBossRunner: a completion that fails while the work continues does not end the process', async (t) => {
  const { runner, proxy, enqueue } = await scene(t)
  const unhandled: unknown[] = []
  const note = (reason: unknown) => void unhandled.push(reason)
  process.on('unhandledRejection', note)
  t.after(() => process.off('unhandledRejection', note))
  let calls = 0
  await runner.start(async (_job, _signal, complete) => {
    calls += 1
    if (calls > 1) return 'done'
    proxy.refuse(true)
    proxy.cut()
    complete()
    // The work goes on for longer than the completion takes to fail.
    await sleep(2_000)
    proxy.refuse(false)
    return 'done'
  }, [])
  await enqueue()
  await until('the job is executed again', async () => calls > 1, 60_000)
  assert.deepEqual(unhandled, [])
})
