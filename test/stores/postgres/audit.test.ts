import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import pg from 'pg'
import type { Runner } from '../../../src/core/runner.ts'
import { PgBossRunner } from '../../../src/runners/pg-boss.ts'
import { AuditReader, asUnavailable, migrate, PostgresStore } from '../../../src/stores/postgres/index.ts'
import { claimed, readyBinding, readyInstance, started } from '../contract/opened.ts'
import { bindStart, operationRecord, provisionStart } from '../records.ts'
import { freshDatabase, freshStore, newSealer } from './fresh-store.ts'

async function events(pool: pg.Pool) {
  const { rows } = await pool.query(
    `SELECT action, phase, instance_id, binding_id, description FROM osb.audit_events ORDER BY event_id`
  )
  return rows.map((row) =>
    Object.values(row)
      .map((value) => value ?? '')
      .join('|')
  )
}

test('start, finish: each leaves an audit event with who, what and how it ended', async (t) => {
  const { store, pool } = await freshStore(t)
  const originatingIdentity = { platform: 'cloudfoundry', value: { user_id: 'u-1' } }
  const start = provisionStart({ originatingIdentity, requestIdentity: 'r-1' })
  const provision = await claimed(store, await started(store, start))
  await store.progress(provision, 'half')
  await store.finish(provision, { state: 'succeeded', instance: { status: 'ready' }, description: 'Ready.' })
  const bind = await started(store, bindStart('b-1'))
  const unbind = await started(store, { operation: operationRecord('unbind', { halts: bind.operationId }) })
  await store.finish(await claimed(store, unbind), { state: 'failed', description: 'It failed.' })
  assert.deepEqual(await events(pool), [
    'provision|started|i-1||',
    'provision|succeeded|i-1||Ready.',
    'bind|started|i-1|b-1|',
    'bind|halted|i-1|b-1|It was halted by a delete.',
    'unbind|started|i-1|b-1|',
    'unbind|failed|i-1|b-1|It failed.'
  ])
  const { rows } = await pool.query(
    `SELECT platform, originating_identity, request_identity, operation_id, at FROM osb.audit_events ORDER BY event_id`
  )
  const { at, ...first } = rows[0]
  assert.ok(at instanceof Date)
  assert.deepEqual(first, {
    platform: 'cf',
    originating_identity: originatingIdentity,
    request_identity: 'r-1',
    operation_id: start.operation.operationId
  })
})

test('start: what is refused or rolled back leaves no audit event', async (t) => {
  const { store, pool } = await freshStore(t)
  await started(store, provisionStart())
  assert.equal(await store.start(provisionStart(), async () => {}), 'changed')
  const fail = async () => {
    throw new Error('the queue is full')
  }
  await assert.rejects(store.start(provisionStart({ instanceId: 'i-2' }), fail))
  assert.deepEqual(await events(pool), ['provision|started|i-1||'])
})

test('start, finish, noteRepair, noteGuard: events name the offering, the plan asked for, and what was internal', async (t) => {
  const { store, pool } = await freshStore(t)
  await readyInstance(store)
  const target = { planId: 'p-2', parameters: {}, context: {} }
  const update = await started(store, { operation: operationRecord('update', { target }) })
  await store.finish(await claimed(store, update), { state: 'failed' })
  await started(store, { operation: operationRecord('deprovision', { internal: true }) })
  await store.audit.noteRepair('i-1', 'role osb_u has got CREATEROLE')
  await store.audit.noteRepair('unknown', 'nothing')
  await store.audit.noteGuard('i-1', 'ended a session')
  const { rows } = await pool.query(
    `SELECT concat_ws('|', action, phase, service_id, plan_id, internal, operation_id IS NOT NULL, description) AS line
    FROM osb.audit_events ORDER BY event_id`
  )
  assert.deepEqual(
    rows.map(({ line }) => line),
    [
      'provision|started|s-1|p-1|f|t',
      'provision|succeeded|s-1|p-1|f|t',
      'update|started|s-1|p-2|f|t',
      'update|failed|s-1|p-2|f|t',
      'deprovision|started|s-1|p-1|t|t',
      'repair|succeeded|s-1|p-1|t|f|role osb_u has got CREATEROLE',
      'guard|succeeded|s-1|p-1|t|f|ended a session'
    ]
  )
})

test('removeBinding: a binding that a deprovision takes along leaves an event of its own, once', async (t) => {
  const { store, pool } = await freshStore(t)
  await readyInstance(store)
  await readyBinding(store)
  const originatingIdentity = { platform: 'kubernetes', value: { username: 'anne' } }
  const operation = await started(store, { operation: operationRecord('deprovision', { originatingIdentity }) })
  const claim = await claimed(store, operation)
  await store.removeBinding(claim, 'b-1')
  await store.removeBinding(claim, 'b-1')
  await store.finish(claim, { state: 'succeeded', instance: 'remove' })
  assert.deepEqual((await events(pool)).slice(4), [
    'deprovision|started|i-1||',
    'unbind|succeeded|i-1|b-1|',
    'deprovision|succeeded|i-1||'
  ])
  const { rows } = await pool.query(
    `SELECT originating_identity, operation_id FROM osb.audit_events WHERE action = 'unbind'`
  )
  assert.deepEqual(rows, [{ originating_identity: originatingIdentity, operation_id: operation.operationId }])
})

const DAYS_OLD = `INSERT INTO osb.audit_events (at, platform, action, phase, instance_id)
  SELECT now() - days * interval '1 day', 'cf', 'bind', 'started', 'i-' || n
  FROM unnest($1::numeric[]) WITH ORDINALITY AS age (days, n)`

test('audit_events: UPDATE, TRUNCATE and DELETE are refused', async (t) => {
  const { pool } = await freshStore(t)
  await pool.query(DAYS_OLD, [[0, 400]])
  await assert.rejects(pool.query(`UPDATE osb.audit_events SET description = ''`), /append-only: UPDATE is refused/)
  await assert.rejects(pool.query('TRUNCATE osb.audit_events'), /append-only: TRUNCATE is refused/)
  await assert.rejects(pool.query('DELETE FROM osb.audit_events'), /append-only: DELETE is refused/)
  await assert.rejects(pool.query(`DELETE FROM osb.audit_events WHERE instance_id = 'i-2'`), { code: '42501' })
  // Not even for who knows how retention does it is a day of the past erased.
  const erase = `BEGIN; SET LOCAL osb.audit_days = '0'; DELETE FROM osb.audit_events`
  await assert.rejects(pool.query(erase), /append-only: DELETE is refused/)
  await assert.rejects(pool.query('SELECT osb.forget_audit_events(0, 10)'), /are kept for a day at least, not 0/)
  await assert.rejects(pool.query('SELECT osb.forget_audit_events(NULL, 10)'), /are kept for a day at least, not null/)
  assert.equal((await events(pool)).length, 2)
})

test('forget: only events past the days to keep go, from replicas at once each one once', async (t) => {
  const { store, pool, sealer, meddler } = await freshStore(t)
  const other = new PostgresStore(meddler, { sealer })
  t.after(() => other.close())
  await pool.query(DAYS_OLD, [[0, 0.9, 29.9, ...Array.from({ length: 4_500 }, (_, n) => 30.1 + n / 100)]])
  const counts = await Promise.all([store.audit.forget(30), other.audit.forget(30)])
  assert.equal(counts[0] + counts[1], 4_500)
  assert.deepEqual(await events(pool), ['bind|started|i-1||', 'bind|started|i-2||', 'bind|started|i-3||'])
  assert.equal(await store.audit.forget(30), 0)
  // What lets retention delete does not outlive it on the connection.
  await assert.rejects(pool.query('DELETE FROM osb.audit_events'), /append-only/)
})

test('finish, saveState: no table holds a credential or state in plain text', async (t) => {
  const { store, pool } = await freshStore(t)
  const secret = 'correct horse battery staple'
  const state = { password: secret }
  const provision = await claimed(store, await started(store, provisionStart({}, { state })))
  await store.saveState(provision, state)
  await store.finish(provision, { state: 'succeeded', instance: { status: 'ready', state } })
  const bind = await claimed(store, await started(store, bindStart('b-1', { state, reply: { credentials: state } })))
  await store.saveState(bind, state)
  await store.finish(bind, { state: 'succeeded', binding: { status: 'ready', reply: { credentials: state }, state } })
  assert.deepEqual((await store.getBinding('i-1', 'b-1'))?.reply, { credentials: state })

  const tables = await pool.query<{ name: string }>(
    `SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables WHERE table_schema = 'osb'`
  )
  assert.ok(tables.rows.length >= 5)
  const encoded = [secret, Buffer.from(secret).toString('base64url').slice(0, 20), Buffer.from(secret).toString('hex')]
  let seen = 0
  for (const { name } of tables.rows) {
    const { rows } = await pool.query<{ text: string }>(`SELECT t::text AS text FROM ${name} AS t`)
    for (const { text } of rows) {
      seen += 1
      for (const form of encoded) assert.ok(!text.includes(form), `${name} holds ${form}`)
    }
  }
  assert.ok(seen >= 8)
})

const log = { debug() {}, info() {}, warn() {}, error() {} }

/** The statements that docs/audit.md gives for a broker that does not own its audit. */
function recipe(database: string): string {
  const page = readFileSync(new URL('../../../docs/audit.md', import.meta.url), 'utf8')
  const [, block] = /```sql\n(GRANT USAGE[^`]*)```/.exec(page) ?? []
  assert.match(block ?? '', / ON DATABASE osb_state /)
  return (block ?? '').replace('osb_state', database)
}

test('docs/audit.md: a broker with the rights that it grants works, and can neither change nor erase its audit', async (t) => {
  const { pool: admin, url } = await freshDatabase(t)
  await migrate(admin)
  await admin.query(`CREATE ROLE broker LOGIN PASSWORD 'hush'; ${recipe(new URL(url).pathname.slice(1))}`)
  await admin.query(`INSERT INTO osb.audit_events (at, platform, action, phase, instance_id)
    SELECT now() - interval '40 days', 'cf', 'bind', 'started', 'i-old'`)

  const asBroker = new URL(url)
  asBroker.username = 'broker'
  asBroker.password = 'hush'
  const pool = new pg.Pool({ connectionString: asBroker.href, max: 4 })
  const store = new PostgresStore(pool, { sealer: newSealer() })
  const runner: Runner = new PgBossRunner({ connection: pool.options, explain: asUnavailable, log })
  try {
    assert.deepEqual(await migrate(pool), [])
    await runner.start(async () => 'done', [])
    const start = provisionStart()
    assert.equal(await store.start(start, runner.enqueue), 'started')
    await store.finish(await claimed(store, start.operation), { state: 'succeeded', instance: { status: 'ready' } })
    await store.audit.noteRepair('i-1', 'healed')
    assert.equal(await store.audit.forget(30), 1)
    for (const statement of [
      `UPDATE osb.audit_events SET platform = 'x'`,
      'DELETE FROM osb.audit_events',
      'TRUNCATE osb.audit_events',
      'DROP TABLE osb.audit_events',
      'ALTER TABLE osb.audit_events DISABLE TRIGGER ALL',
      'DROP TRIGGER audit_row_deleted ON osb.audit_events',
      `CREATE OR REPLACE FUNCTION osb.refuse_audit_change() RETURNS trigger LANGUAGE sql AS ''`,
      'DROP SCHEMA osb CASCADE'
    ]) {
      await assert.rejects(pool.query(statement), /permission denied|must be owner/, statement)
    }
    // A table of its session that takes the name of ours is not what the function deletes from.
    await pool.query(
      `CREATE TEMP TABLE audit_events AS SELECT * FROM osb.audit_events; SELECT osb.forget_audit_events(1, 9)`
    )
    const actions: string[] = []
    for await (const page of new AuditReader(pool).pages()) actions.push(...page.map(({ action }) => action))
    assert.deepEqual(actions, ['provision', 'provision', 'repair'])
  } finally {
    await runner.stop()
    await runner.close()
    await store.close()
    await pool.end()
  }
})
