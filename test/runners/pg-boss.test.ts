import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { Pool } from 'pg'
import { Unavailable } from '../../src/core/provider.ts'
import type { Execution } from '../../src/core/runner.ts'
import { PgBossRunner } from '../../src/runners/pg-boss.ts'
import { asUnavailable } from '../../src/stores/postgres/index.ts'
import { testPostgres } from '../helper/postgres.ts'
import { until } from '../helper/scripted-provider.ts'
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
  const runner = () => {
    const made = new PgBossRunner({ connection: pool.options, explain: asUnavailable, log: silent })
    runners.add(made)
    return made
  }
  const enqueue = async (by: PgBossRunner, end: 'COMMIT' | 'ROLLBACK') => {
    const operation = operationRecord('provision')
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
  await one.start(async (operationId) => {
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

test('PgBossRunner: a failed attempt comes again, on one of several runners', async (t) => {
  const { runner, enqueue } = await scene(t)
  const answers: Execution[] = ['retry', 'done']
  const executed: string[] = []
  const execute = async (operationId: string): Promise<Execution> => {
    executed.push(operationId)
    return answers.shift() ?? 'done'
  }
  const [one, two] = [runner(), runner()]
  await Promise.all([one.start(execute, []), two.start(execute, [])])
  const operationId = await enqueue(one, 'COMMIT')
  await until('the second attempt', () => executed.length === 2)
  assert.deepEqual(executed, [operationId, operationId])
})

test('PgBossRunner: what a stopping one hands back, another takes at once', async (t) => {
  const { runner, enqueue, forget } = await scene(t)
  const [one, two] = [runner(), runner()]
  const began: string[] = []
  await one.start(async (_operationId, signal) => {
    began.push('one')
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    return 'handed-back'
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

test('PgBossRunner: what a woken one was given it executes at once, and nobody is notified', async (t) => {
  const { runner, enqueue, pool } = await scene(t)
  const executed: string[] = []
  const gate = Promise.withResolvers<void>()
  const one = runner()
  await one.start(async (operationId) => {
    executed.push(operationId)
    if (executed.length <= 7) await gate.promise
    return 'done'
  }, [])
  const given: string[] = []
  const began = Date.now()
  // Seven of the eight workers have more to do than this test lasts.
  for (let index = 0; index < 20; index += 1) {
    given.push(await enqueue(one, 'COMMIT'))
    one.wake()
    await until(`the execution of ${index}`, () => executed.length === index + 1)
  }
  // One look a second would take longer for half of them
  assert.ok(Date.now() - began < 8_000, `it took ${Date.now() - began} ms`)
  assert.deepEqual(executed, given)
  gate.resolve()
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
