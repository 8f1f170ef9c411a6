import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import type { Start } from '../../../src/core/store.ts'
import { PostgresStore } from '../../../src/stores/postgres/index.ts'
import { gate } from '../../helper/scripted-provider.ts'
import { readyInstance, started } from '../contract/opened.ts'
import { noEnqueue, operationRecord, provisionStart } from '../records.ts'
import { freshStore } from './fresh-store.ts'

function provision(instanceId: string, platform: string): Start {
  const quota = { planId: 'p-1', instances: 3 }
  return { ...provisionStart({ instanceId, platform }, { platform }), quota }
}

test('start: provisions at once from two replicas give as many started as the quota has places, and no trace of others', async (t) => {
  const { store, meddler, sealer } = await freshStore(t)
  const replica = new PostgresStore(meddler, { sealer })
  t.after(() => replica.close())
  const results = await Promise.all(
    Array.from({ length: 24 }, (_, index) =>
      (index % 2 === 0 ? store : replica).start(provision(`i-${index}`, 'cf'), noEnqueue)
    )
  )
  assert.deepEqual(results.toSorted(), [...Array(21).fill('full'), ...Array(3).fill('started')])
  const { rows } = await meddler.query<{ rows: number }>(
    `SELECT count(*)::int AS rows FROM osb.service_instances
    UNION ALL SELECT count(*)::int FROM osb.operations UNION ALL SELECT count(*)::int FROM osb.audit_events`
  )
  assert.deepEqual(
    rows.map((row) => row.rows),
    [3, 3, 3]
  )
})

test('start: a platform whose starts wait for each other keeps no other platform waiting', async (t) => {
  const { store } = await freshStore(t)
  const slow = gate()
  const begun = gate()
  const first = store.start(provision('i-1', 'cf'), async () => {
    begun.open()
    await slow.opened
  })
  await begun.opened
  let second: string | undefined
  const waiting = store.start(provision('i-2', 'cf'), noEnqueue).then((result) => {
    second = result
  })
  assert.equal(await store.start(provision('i-3', 'other'), noEnqueue), 'started')
  const { quota: _quota, ...unlimited } = provision('i-4', 'cf')
  assert.equal(await store.start(unlimited, noEnqueue), 'started')
  assert.equal(second, undefined)
  slow.open()
  assert.equal(await first, 'started')
  await waiting
  assert.equal(second, 'started')
})

test('plansInUse, start: TRUNCATE of the operations gives their places back', async (t) => {
  const { store, pool } = await freshStore(t)
  await readyInstance(store, 'i-1')
  await readyInstance(store, 'i-2')
  const updateTo = (instanceId: string, planId: string) =>
    started(store, {
      operation: operationRecord('update', { instanceId, target: { planId, parameters: {}, context: {} } })
    })
  await updateTo('i-1', 'p-folded')
  await store.tidy()
  await updateTo('i-2', 'p-new')
  const plans = async () => (await store.plansInUse()).map(({ planId }) => planId).sort()
  assert.deepEqual(await plans(), ['p-1', 'p-folded', 'p-new'])
  await pool.query('TRUNCATE osb.operations')
  assert.deepEqual(await plans(), ['p-1'])
  for (const planId of ['p-folded', 'p-new']) {
    const start = provisionStart({ instanceId: randomUUID() }, { planId })
    assert.equal(await store.start({ ...start, quota: { planId, instances: 1 } }, noEnqueue), 'started')
  }
})
