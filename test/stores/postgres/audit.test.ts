import assert from 'node:assert/strict'
import { test } from 'node:test'
import type pg from 'pg'
import { claimed, started } from '../contract/opened.ts'
import { bindStart, operationRecord, provisionStart } from '../records.ts'
import { freshStore } from './fresh-store.ts'

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

test('audit_events: an UPDATE or TRUNCATE is refused, a DELETE for retention is not', async (t) => {
  const { store, pool } = await freshStore(t)
  await started(store, provisionStart())
  await assert.rejects(pool.query(`UPDATE osb.audit_events SET description = ''`), /append-only: UPDATE is refused/)
  await assert.rejects(pool.query('TRUNCATE osb.audit_events'), /append-only: TRUNCATE is refused/)
  assert.equal((await pool.query('DELETE FROM osb.audit_events WHERE at < now()')).rowCount, 1)
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
  assert.equal(tables.rows.length, 5)
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
