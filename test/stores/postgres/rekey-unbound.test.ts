import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import {
  countKids,
  migrate,
  PostgresStore,
  parseEncryptionKeys,
  type RekeyEvent,
  rekey,
  SealBroken,
  Sealer,
  tablesOf
} from '../../../src/stores/postgres/index.ts'
import { claimed, readyInstance, started } from '../contract/opened.ts'
import { bindStart } from '../records.ts'
import { EarlierSealer } from './earlier-sealer.ts'
import { freshDatabase } from './fresh-store.ts'

/** A migrated database, and stores of this version and of an earlier one with the same key. */
async function scene(t: TestContext) {
  const { pool } = await freshDatabase(t)
  await migrate(pool)
  const keys = `k1:${randomBytes(32).toString('base64')}`
  const sealer = new Sealer(parseEncryptionKeys(keys))
  const opened = (own: Sealer) => {
    const store = new PostgresStore(pool, { sealer: own })
    t.after(() => store.close())
    return store
  }
  const place = { pool, sealer, tables: tablesOf() }
  return {
    pool,
    place,
    sealer,
    now: opened(sealer),
    earlier: opened(new EarlierSealer(keys)),
    earlierSealer: new EarlierSealer(keys)
  }
}

/** Binds, with something in every column. */
async function bound(store: PostgresStore, bindingId: string): Promise<void> {
  const claim = await claimed(store, await started(store, bindStart(bindingId)))
  await store.saveState(claim, { name: bindingId })
  await store.finish(claim, {
    state: 'succeeded',
    binding: { status: 'ready', reply: { credentials: { of: bindingId } } },
    undelivered: { credentials: { once: bindingId }, forMs: 60_000 }
  })
}

async function all(events: AsyncIterable<RekeyEvent>): Promise<number> {
  let rekeyed = 0
  for await (const event of events) {
    if (event.kind === 'unopenable') assert.fail(event.reason)
    rekeyed += event.count
  }
  return rekeyed
}

async function isUnbound(place: Parameters<typeof countKids>[0]): Promise<Record<string, number>> {
  const counts = (await countKids(place)).filter(({ unbound }) => unbound === true)
  return Object.fromEntries(counts.map(({ column, count }) => [column, count]))
}

test('rekey: texts of an earlier version are bound to the platform of their row, under the same key', async (t) => {
  const { pool, place, now, earlier } = await scene(t)
  await readyInstance(earlier, 'i-1', { state: { name: 'i-1' } })
  for (const id of ['b-1', 'b-2']) await bound(earlier, id)
  await bound(now, 'b-3')
  assert.deepEqual(await isUnbound(place), {
    'instance.state': 1,
    'binding.state': 2,
    'binding.reply': 2,
    'binding.undelivered': 2
  })
  assert.equal(await all(rekey(place)), 7)
  assert.deepEqual(await isUnbound(place), {})
  assert.equal(await all(rekey(place)), 0)

  for (const store of [now, earlier]) {
    assert.deepEqual((await store.getInstance('i-1'))?.state, { name: 'i-1' })
    assert.deepEqual((await store.getBinding('i-1', 'b-1'))?.reply, { credentials: { of: 'b-1' } })
  }
  await pool.query(
    `UPDATE osb.service_instances SET platform = 'k8s'; UPDATE osb.service_bindings SET platform = 'k8s'`
  )
  await assert.rejects(now.getInstance('i-1'), SealBroken)
  for (const id of ['b-1', 'b-2', 'b-3']) {
    await assert.rejects(now.getBinding('i-1', id), SealBroken)
    await assert.rejects(now.deliver({ platform: 'k8s', instanceId: 'i-1', bindingId: id }), SealBroken)
  }
})

test('rekey: ended in the middle of texts of an earlier version, it goes on where it was', async (t) => {
  const { place, earlier } = await scene(t)
  await readyInstance(earlier, 'i-1', { state: { name: 'i-1' } })
  for (const id of ['b-1', 'b-2']) await bound(earlier, id)
  for await (const event of rekey(place)) {
    assert.deepEqual(event, { kind: 'rekeyed', column: 'instance.state', count: 1 })
    break
  }
  assert.deepEqual(await isUnbound(place), { 'binding.state': 2, 'binding.reply': 2, 'binding.undelivered': 2 })
  assert.equal(await all(rekey(place)), 6)
  assert.deepEqual(await isUnbound(place), {})
})

test('rekey: it loses no update of replicas of both versions, which read what the other writes', async (t) => {
  const { place, now, earlier } = await scene(t)
  await readyInstance(earlier, 'i-1', { state: { name: 'i-1' } })
  const ids = ['b-1', 'b-2', 'b-3', 'b-4']
  for (const id of ids) await bound(earlier, id)
  const claims = await Promise.all(
    ids.map(async (id) =>
      claimed(now, await started(now, { operation: { ...bindStart(id).operation, kind: 'unbind' } }))
    )
  )
  let writing = true
  const [counts] = await Promise.all([
    Promise.all(
      claims.map(async (claim, index) => {
        let count = 0
        for (; writing || count < 4; count += 1) {
          const [writer, reader] = count % 2 === 0 ? [now, earlier] : [earlier, now]
          await writer.saveState(claim, { count })
          assert.deepEqual((await reader.getBinding('i-1', ids[index] ?? ''))?.state, { count })
        }
        return count
      })
    ),
    (async () => {
      for (let round = 0; round < 3; round += 1) await Promise.all([all(rekey(place)), all(rekey(place))])
    })().finally(() => {
      writing = false
    })
  ])
  for (const [index, id] of ids.entries()) {
    assert.deepEqual((await now.getBinding('i-1', id))?.state, { count: (counts[index] ?? 0) - 1 })
  }
  // The earlier version has gone.
  await all(rekey(place))
  assert.deepEqual(await isUnbound(place), {})
})

test('countKids: the ids of a row and the name of a platform do not matter, nor texts that are none', async (t) => {
  const { pool, place, sealer, earlier, earlierSealer } = await scene(t)
  await readyInstance(earlier, 'i-1')
  const long = new EarlierSealer(`${'k'.repeat(64)}:${randomBytes(32).toString('base64')}`)
  const names = ['x', 'a'.repeat(500), '"kid":"k1","aud":"cf"', '\\"kid":"k1","aud":', 'ид-\u{1f418}', '","aud":"']
  const insert = async (id: string, platform: string, state: string) =>
    pool.query(
      `INSERT INTO osb.service_bindings (instance_id, binding_id, platform, service_id, plan_id, context, parameters, status,
        state, created_at, updated_at) VALUES ('i-1', $1, $2, 's-1', 'p-1', '{}', '{}', 'ready', $3, now(), now())`,
      [id, platform, state]
    )
  for (const name of names) {
    const purposeOf = (bindingId: string) =>
      ({ column: 'binding.state', platform: name, instanceId: 'i-1', bindingId }) as const
    await insert(`bound ${name}`, name, await sealer.seal({ a: 1 }, purposeOf(`bound ${name}`)))
    await insert(`unbound ${name}`, name, await earlierSealer.seal({ a: 1 }, purposeOf(`unbound ${name}`)))
    await insert(`long ${name}`, name, await long.seal({ a: 1 }, purposeOf(`long ${name}`)))
  }
  for (const text of ['', '.', 'plain', 'a.b.c', '€', `${'A'.repeat(147)}=.x`]) await insert(`none ${text}`, 'cf', text)
  assert.deepEqual(await countKids(place), [
    { column: 'binding.state', kid: '', count: 6 },
    { column: 'binding.state', kid: 'k1', count: names.length },
    { column: 'binding.state', kid: 'k1', count: names.length, unbound: true },
    { column: 'binding.state', kid: 'k'.repeat(64), count: names.length, unbound: true }
  ])
})

test('missingKids: rows whose platform was changed do not pass for a wrong key', async (t) => {
  const { pool, now } = await scene(t)
  await readyInstance(now, 'i-1', { state: { name: 'i-1' } })
  await pool.query(`UPDATE osb.service_instances SET platform = 'k8s'`)
  await assert.rejects(now.getInstance('i-1'), SealBroken)
  assert.deepEqual(await now.missingKids(), [])
})
