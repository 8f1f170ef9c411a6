import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { Pool } from 'pg'
import { Unavailable } from '../../src/core/provider.ts'
import type { Execution } from '../../src/core/runner.ts'
import type { OperationJob } from '../../src/core/store.ts'
import { PgBossRunner } from '../../src/runners/pg-boss.ts'
import { asUnavailable } from '../../src/stores/postgres/index.ts'
import { testPostgres } from '../helper/postgres.ts'
import { gate, until } from '../helper/scripted-provider.ts'
import { operationRecord } from '../stores/records.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }

/** Runners on one database, and a way to enqueue in a transaction. */
async function scene(t: TestContext) {
  const connectionString = await (await testPostgres()).createDatabase()
  const pool = new Pool({ connectionString, max: 2 })
  const runners = new Set<PgBossRunner>()
  t.after(async () => {
    await Promise.all([...runners].map((runner) => runner.stop().then(() => runner.close())))
    await pool.end()
  })
  const runner = (workers?: number) => {
    const options = { connection: pool.options, explain: asUnavailable, log: silent }
    const made = new PgBossRunner({ ...options, ...(workers === undefined ? {} : { workers }) })
    runners.add(made)
    return made
  }
  const enqueue = async (by: PgBossRunner, end: 'COMMIT' | 'ROLLBACK', operation = operationRecord('provision')) => {
    const client = await pool.connect()
    try {
      await client.query('BEGIN')
      await by.enqueue(operation, { executeSql: (text: string, values: unknown[]) => client.query(text, values) })
      await client.query(end)
    } finally {
      client.release()
    }
    return operation.operationId
  }
  return { runner, enqueue, pool, forget: (gone: PgBossRunner) => runners.delete(gone) }
}

test('PgBossRunner: a job lives and dies with the transaction that wrote it', async (t) => {
  const { runner, enqueue, pool } = await scene(t)
  const executed: string[] = []
  const one = runner()
  await one.start(async ({ operationId }) => {
    executed.push(operationId)
    return 'done'
  }, [])
  await enqueue(one, 'ROLLBACK')
  const committed = await enqueue(one, 'COMMIT')
  await until('the execution', () => executed.length > 0)
  assert.deepEqual(executed, [committed])
  const { rows } = await pool.query(`SELECT count(*)::int AS n FROM osb_jobs.job WHERE name = 'operations'`)
  assert.deepEqual(rows, [{ n: 1 }])
})

test('PgBossRunner: a job that could not be executed, or that is for later, comes again on one of several runners', async (t) => {
  const { runner, enqueue } = await scene(t)
  const answers: (Execution | Error)[] = ['later', new Error('the store is away'), 'done']
  const executed: string[] = []
  const execute = async ({ operationId }: OperationJob): Promise<Execution> => {
    executed.push(operationId)
    const answer = answers.shift() ?? 'done'
    if (answer instanceof Error) throw answer
    return answer
  }
  const [one, two] = [runner(), runner()]
  await Promise.all([one.start(execute, []), two.start(execute, [])])
  const operationId = await enqueue(one, 'COMMIT')
  await until('the third execution', () => executed.length === 3)
  assert.deepEqual(executed, [operationId, operationId, operationId])
})

test('PgBossRunner: a job carries what an operation needs, and starts after its delay', async (t) => {
  const { runner, enqueue, pool } = await scene(t)
  const jobs: OperationJob[] = []
  const one = runner()
  await one.start(async (job) => {
    jobs.push(job)
    return 'done'
  }, [])
  const needs = { provider: 'example', serviceId: 's-1', planId: 'p-1' }
  const operation = operationRecord('provision', needs)
  await enqueue(one, 'COMMIT', operation)
  await until('the execution', () => jobs.length === 1)
  const { operationId, platform } = operation
  assert.deepEqual(jobs, [{ operationId, kind: 'provision', platform, ...needs }])
  const transaction = { executeSql: (text: string, values: unknown[]) => pool.query(text, values) }
  await one.enqueue(operationRecord('bind'), transaction, 60_000)
  const { rows } = await pool.query<{ seconds: number }>(
    `SELECT round(extract(epoch FROM start_after - created_on))::int AS seconds FROM osb_jobs.job
    WHERE name = 'operations' AND state = 'created'`
  )
  assert.deepEqual(rows, [{ seconds: 60 }])
})

test('PgBossRunner: ensure sends a job unless one waits, and starts a delayed one at once when asked to', async (t) => {
  const { runner, pool } = await scene(t)
  const executed: string[] = []
  const one = runner()
  await one.start(async ({ operationId }) => {
    executed.push(operationId)
    return 'done'
  }, [])
  const [missing, delayed] = [operationRecord('provision'), operationRecord('provision')]
  await one.enqueue(delayed, { executeSql: (text: string, values: unknown[]) => pool.query(text, values) }, 60_000)
  await one.ensure(delayed)
  await one.ensure(missing)
  await until('the missing job', () => executed.length === 1)
  assert.deepEqual(executed, [missing.operationId])
  await one.ensure(delayed, { now: true })
  await until('the delayed job', () => executed.length === 2)
  assert.deepEqual(executed, [missing.operationId, delayed.operationId])
  const { rows } = await pool.query(`SELECT count(*)::int AS n FROM osb_jobs.job WHERE name = 'operations'`)
  assert.deepEqual(rows, [{ n: 2 }])
})

test('PgBossRunner: short operations do not wait behind long ones, and one platform leaves a slot for others', async (t) => {
  const { runner, enqueue } = await scene(t)
  const one = runner(4)
  const work = gate()
  const running: string[] = []
  const ended: string[] = []
  await one.start(async ({ operationId, kind }) => {
    running.push(operationId)
    if (kind === 'provision') await work.opened
    ended.push(operationId)
    return 'done'
  }, [])
  const send = async (kind: 'provision' | 'unbind', platform: string) => {
    const id = await enqueue(one, 'COMMIT', operationRecord(kind, { platform }))
    one.wake()
    return id
  }
  // Four slots: one is reserved for short operations, and a platform may use two of the other three for long ones.
  const greedy: string[] = []
  for (let index = 0; index < 6; index += 1) greedy.push(await send('provision', 'greedy'))
  await until('two creates of the greedy platform', () => running.length === 2)
  const other = await send('provision', 'other')
  await until('the create of the other platform', () => running.includes(other))
  const unbind = await send('unbind', 'greedy')
  await until('the unbind', () => ended.includes(unbind))
  assert.equal(running.filter((id) => greedy.includes(id)).length, 2)
  work.open()
  await until('everything has ended', () => ended.length === 8)
})

test('PgBossRunner: the options of a queue that an older program created are brought up to date', async (t) => {
  const { runner, pool, forget } = await scene(t)
  const one = runner()
  await one.start(async () => 'done', [{ name: 'watch', every: 'minute', run: async () => {} }])
  await one.stop()
  await one.close()
  forget(one)
  await pool.query(`UPDATE osb_jobs.queue SET retry_limit = 2, notify = true, heartbeat_seconds = 60`)
  const two = runner()
  await two.start(async () => 'done', [{ name: 'watch', every: 'minute', run: async () => {} }])
  const { rows } = await pool.query(
    `SELECT name, notify, heartbeat_seconds, retry_limit > 2 AS retried FROM osb_jobs.queue
    WHERE name IN ('operations', 'sweep-watch') ORDER BY name`
  )
  assert.deepEqual(rows, [
    { name: 'operations', notify: false, heartbeat_seconds: 10, retried: true },
    { name: 'sweep-watch', notify: true, heartbeat_seconds: 10, retried: false }
  ])
})

test('PgBossRunner: what a stopping one hands back, another takes at once', async (t) => {
  const { runner, enqueue, forget } = await scene(t)
  const [one, two] = [runner(), runner()]
  const began: string[] = []
  await one.start(async (_job, signal) => {
    began.push('one')
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    return 'again'
  }, [])
  await enqueue(one, 'COMMIT')
  await until('the first attempt', () => began.length === 1)
  await two.start(async () => {
    began.push('two')
    return 'done'
  }, [])
  const stopping = Date.now()
  await one.stop()
  await until('the second attempt', () => began.length === 2)
  assert.deepEqual(began, ['one', 'two'])
  // Long before a dead worker's heartbeat would have run out.
  assert.ok(Date.now() - stopping < 8_000)
  await one.close()
  forget(one)
})

test('PgBossRunner: a woken runner executes its jobs at once, without NOTIFY', async (t) => {
  const { runner, enqueue, pool } = await scene(t)
  const executed: string[] = []
  const blocked = gate()
  const one = runner()
  await one.start(async ({ operationId }) => {
    executed.push(operationId)
    if (executed.length <= 5) await blocked.opened
    return 'done'
  }, [])
  const given: string[] = []
  const began = Date.now()
  // Five of the six general workers have more to do than this test lasts.
  for (let index = 0; index < 20; index += 1) {
    given.push(await enqueue(one, 'COMMIT', operationRecord('provision', { platform: `p-${index}` })))
    one.wake()
    await until(`the execution of ${index}`, () => executed.length === index + 1)
  }
  // One look a second would take longer for half of them
  assert.ok(Date.now() - began < 8_000, `it took ${Date.now() - began} ms`)
  assert.deepEqual(executed, given)
  blocked.open()
  const { rows } = await pool.query('SELECT name FROM osb_jobs.queue WHERE notify')
  assert.deepEqual(rows, [])
})

test('PgBossRunner: before its start, and without its database, it is unavailable', async (t) => {
  const { runner } = await scene(t)
  await assert.rejects(runner().enqueue(operationRecord('provision'), {}), Unavailable)
  const connection = { connectionString: 'postgresql://nobody@127.0.0.1:1/nowhere' }
  const lost = new PgBossRunner({ connection, explain: asUnavailable, log: silent })
  await assert.rejects(
    lost.start(async () => 'done', []),
    Unavailable
  )
})
