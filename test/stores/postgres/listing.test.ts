import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Listing } from '../../../src/core/stored-resource.ts'
import { SealBroken } from '../../../src/stores/postgres/index.ts'
import { readyBinding, readyInstance } from '../contract/opened.ts'
import { freshStore } from './fresh-store.ts'

test('listResources: states of other plans and of bindings that are left out are not decrypted', async (t) => {
  const { store, pool } = await freshStore(t)
  await readyInstance(store, 'i-1', { planId: 'p-quota', state: { token: 'a' } })
  await readyInstance(store, 'i-2', { planId: 'p-free', state: { token: 'b' } })
  await readyBinding(store)
  await pool.query(`UPDATE osb.service_instances SET state = 'broken' WHERE plan_id = 'p-free';
    UPDATE osb.service_bindings SET state = 'broken'`)
  const list = async (listing: Listing) => {
    const found: unknown[] = []
    for await (const { instanceId, state } of store.listResources('example', listing)) found.push(instanceId, state)
    return found
  }
  assert.deepEqual(await list({ plans: ['p-quota'], bindings: false }), ['i-1', { token: 'a' }])
  await assert.rejects(list({ plans: ['p-quota'] }), SealBroken)
  await assert.rejects(list({ bindings: false }), SealBroken)
})

test('listResources: pages of a plan give every instance once, in any number', async (t) => {
  const { store, pool } = await freshStore(t)
  for (const count of [499, 500, 501, 1_000]) {
    const plan = `p-${count}`
    await pool.query(
      `INSERT INTO osb.service_instances (instance_id, platform, provider, service_id, plan_id, organization_guid, space_guid,
        context, parameters, status, created_at, updated_at)
      SELECT $1 || '-' || n, 'cf', CASE WHEN n > $2 THEN 'other' ELSE 'example' END, 's-1', $1, 'o', 's', '{}', '{}', 'ready', now(),
        now() FROM generate_series(1, $2::int + 20) AS n`,
      [plan, count]
    )
    const ids: string[] = []
    for await (const { instanceId } of store.listResources('example', { plans: [plan] })) ids.push(instanceId)
    assert.equal(ids.length, count)
    assert.equal(new Set(ids).size, count)
  }
  let all = 0
  for await (const _ of store.listResources('example')) all += 1
  assert.equal(all, 499 + 500 + 501 + 1_000)
})
