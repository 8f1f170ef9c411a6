import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Pool } from 'pg'
import { loadCatalog } from '../../src/core/catalog/index.ts'
import { Instances } from '../../src/core/instances.ts'
import { Operations } from '../../src/core/operations.ts'
import { Rejected, type RepairTask } from '../../src/core/provider.ts'
import type { Runner, Sweep } from '../../src/core/runner.ts'
import type { OperationJob } from '../../src/core/store.ts'
import { PostgresStore } from '../../src/stores/postgres/index.ts'
import { ids, provisionBody, testCall, testCatalog } from '../helper/app.ts'
import { gate, type Script, ScriptedProvider, until, untilAborted } from '../helper/scripted-provider.ts'
import { freshStore } from '../stores/postgres/fresh-store.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const userCall = (user_id: string) =>
  testCall({ acceptsIncomplete: true, originatingIdentity: { platform: 'cloudfoundry', value: { user_id } } })
const call = userCall('anne')
const other = userCall('bob')
const deletion = { service_id: ids.service, plan_id: ids.plans.async }

/** A database, and replicas of a broker on it that do what they are told and nothing by themselves. */
async function scene(t: TestContext) {
  const database = await freshStore(t)
  const replica = async (script: Script, more: { provider?: object; auditRetentionDays?: number } = {}) => {
    const provider = Object.assign(new ScriptedProvider(script), more.provider)
    const catalog = await loadCatalog(testCatalog(), { providers: [provider] })
    // A lease that ends before it is renewed, as that of a frozen process does.
    const store = new PostgresStore(database.pool, { sealer: database.sealer, leaseMs: 400 })
    const runner = new StandingRunner()
    const operations = new Operations({
      store,
      runner,
      providers: new Map([[provider.name, provider]]),
      catalog: () => catalog,
      log,
      syncDeadlineMs: 8_000,
      auditRetentionDays: more.auditRetentionDays
    })
    t.after(() => store.close())
    return { operations, provider, runner, instances: new Instances(operations) }
  }
  return { ...database, replica, events: () => eventsIn(database.pool) }
}

/** Records the jobs that it is sent. */
class StandingRunner implements Runner {
  readonly waiting: OperationJob[] = []
  sweeps: readonly Sweep[] = []
  enqueue: Runner['enqueue'] = async (job) => {
    this.waiting.push(job)
  }
  ensure = async () => {}
  start: Runner['start'] = async (_execute, sweeps) => {
    this.sweeps = sweeps
  }
  wake() {}
  stop = async () => {}
  close = async () => {}
}

async function eventsIn(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ line: string }>(
    `SELECT concat_ws(' ', action, phase, coalesce(originating_identity #>> '{value,user_id}', '-'),
      CASE WHEN internal THEN 'internal' END, '(' || description || ')') AS line
    FROM osb.audit_events ORDER BY event_id`
  )
  return rows.map(({ line }) => line)
}

const never = new AbortController().signal

test('audit: a create that is halted, and the delete that halts it, name who asked for each', async (t) => {
  const { replica, events } = await scene(t)
  const { operations, runner, instances, provider } = await replica({ provision: untilAborted })
  const created = await instances.provision(call, 'i-1', provisionBody(ids.plans.async))
  assert.equal(created.kind, 'accepted')
  const [creating, ...none] = runner.waiting
  assert.ok(creating)
  const work = operations.executor.execute(creating, never)
  await until('the create runs', () => provider.calls.length === 1)
  assert.equal((await instances.deprovision(other, 'i-1', deletion)).kind, 'accepted')
  operations.attempts.halt(creating.operationId)
  await work
  const deleting = runner.waiting.at(-1)
  assert.ok(deleting)
  await until('the delete runs', async () => (await operations.executor.execute(deleting, never)) === 'done')
  assert.deepEqual(none, [])
  assert.deepEqual(await events(), [
    'provision started anne',
    'provision halted anne (It was halted by a delete.)',
    'deprovision started bob',
    'deprovision succeeded bob'
  ])
})

test('audit: an operation that another replica takes over starts once and ends once', async (t) => {
  const { replica, events } = await scene(t)
  const work = gate()
  const frozen = await replica({ provision: () => work.opened })
  const heir = await replica({})
  await frozen.instances.provision(call, 'i-1', provisionBody(ids.plans.async))
  const [job] = frozen.runner.waiting
  assert.ok(job)
  const first = frozen.operations.executor.execute(job, never)
  await until('it runs', () => frozen.provider.calls.length === 1)
  await until('it is taken over', async () => {
    await heir.operations.executor.execute(job, never)
    return heir.provider.calls.length === 1
  })
  work.open()
  assert.equal(await first, 'done')
  assert.deepEqual(await events(), ['provision started anne', 'provision succeeded anne'])
})

test('audit: what a failed request has begun is undone by the broker itself, and told apart', async (t) => {
  const { replica, events } = await scene(t)
  const { operations, runner, instances } = await replica({
    provision: async (task) => {
      await task.saveState({ password: 'hush' })
      throw new Rejected(422, 'There is no room.')
    }
  })
  await assert.rejects(instances.provision(call, 'i-1', provisionBody(ids.plans.sync)), { status: 422 })
  for (const job of runner.waiting) await operations.executor.execute(job, never)
  assert.deepEqual(await events(), [
    'provision started anne',
    'provision failed anne (There is no room.)',
    'deprovision started - internal',
    'deprovision succeeded - internal'
  ])
})

test('audit: a repair that healed something is an event, one that only found something is not', async (t) => {
  const repair = async ({ heal }: RepairTask) => [
    { resource: 'role osb_u', finding: 'has got CREATEROLE', healed: heal },
    { resource: 'database osb_d', finding: 'is not there', healed: false }
  ]
  const { replica, events } = await scene(t)
  const { operations, instances } = await replica(
    { provision: async (task) => task.saveState({ name: 'osb_u' }) },
    { provider: { repair } }
  )
  await instances.provision(call, 'i-1', provisionBody(ids.plans.sync))
  await operations.sweeps.reconcile()
  assert.deepEqual((await events()).slice(2), ['repair succeeded - internal (role osb_u has got CREATEROLE)'])
})

test('audit: the hourly sweep forgets events past the retention, and none without one', async (t) => {
  const { replica, pool, events } = await scene(t)
  await pool.query(`INSERT INTO osb.audit_events (at, platform, action, phase, instance_id)
    SELECT now() - days * interval '1 day', 'cf', 'bind', 'started', 'i-1' FROM unnest(ARRAY[1, 29, 31, 4000]) AS days`)
  const sweep = async (options: { auditRetentionDays?: number }) => {
    const { operations, runner } = await replica({}, options)
    await operations.begin()
    const hourly = runner.sweeps.filter(({ every, name }) => every === 'hour' && name === 'operations')
    for (const { run } of hourly) await run()
    await operations.end()
    return (await events()).length
  }
  assert.equal(await sweep({}), 4)
  assert.equal(await sweep({ auditRetentionDays: 30 }), 2)
})
