import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import pg from 'pg'
import {
  countKids,
  EncryptionKeysError,
  migrate,
  PostgresStore,
  parseEncryptionKeys,
  type RekeyEvent,
  rekey,
  type SealedPlace,
  Sealer,
  tablesOf
} from '../../../src/stores/postgres/index.ts'
import { claimed, readyInstance, started } from '../contract/opened.ts'
import { bindStart, until } from '../records.ts'
import { freshDatabase } from './fresh-store.ts'

const keyOf = (kid: string) => `${kid}:${randomBytes(32).toString('base64')}`
const columns = ['binding.reply', 'binding.state', 'binding.undelivered', 'instance.state'] as const

/** A migrated database, and what has both keys, the older or the newer one alone. */
async function scene(t: TestContext) {
  const { pool, meddler } = await freshDatabase(t)
  await migrate(pool)
  const [old, next] = [keyOf('old'), keyOf('next')]
  const place = (keys: string) => ({ pool, sealer: new Sealer(parseEncryptionKeys(keys)), tables: tablesOf() })
  const store = (keys: string) => {
    const opened = new PostgresStore(pool, place(keys))
    t.after(() => opened.close())
    return opened
  }
  return { pool, meddler, old, next, both: `${next},${old}`, place, store }
}

/** An instance `i-1` and bindings of it, with something in every column; in one statement, as there are many. */
async function fill({ pool, sealer }: SealedPlace, bindings: readonly string[]): Promise<void> {
  const store = new PostgresStore(pool, { sealer })
  await readyInstance(store, 'i-1', { state: { name: 'i-1' } })
  await store.close()
  const sealed = (name: 'reply' | 'state' | 'undelivered', of: (id: string) => object) =>
    Promise.all(
      bindings.map((bindingId) =>
        sealer.seal({ ...of(bindingId) }, { column: `binding.${name}`, platform: 'cf', instanceId: 'i-1', bindingId })
      )
    )
  await pool.query(
    `INSERT INTO osb.service_bindings (instance_id, binding_id, platform, service_id, plan_id, context, parameters, status,
      reply, state, undelivered, undelivered_until, created_at, updated_at)
    SELECT 'i-1', id, 'cf', 's-1', 'p-1', '{}', '{}', 'ready', reply, state, undelivered, 'infinity', now(), now()
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS given (id, reply, state, undelivered)`,
    [
      bindings,
      await sealed('reply', (of) => ({ credentials: { of } })),
      await sealed('state', (name) => ({ name })),
      await sealed('undelivered', (once) => ({ once }))
    ]
  )
}

async function all(events: AsyncIterable<RekeyEvent>): Promise<{ rekeyed: number; reasons: string[] }> {
  const end = { rekeyed: 0, reasons: [] as string[] }
  for await (const event of events) {
    if (event.kind === 'rekeyed') end.rekeyed += event.count
    else end.reasons.push(event.reason)
  }
  return end
}

test('rekey: everything is under the first key, opens with it alone, and nothing is left to do', async (t) => {
  const { old, next, both, place, store } = await scene(t)
  const bindings = Array.from({ length: 205 }, (_, index) => `b-${index}`)
  await fill(place(old), bindings)
  const counts = (kid: string) =>
    columns.map((column) => ({ column, kid, count: column === 'instance.state' ? 1 : bindings.length }))
  const sorted = async () => (await countKids(place(both))).toSorted((a, b) => (a.column < b.column ? -1 : 1))
  assert.deepEqual(await sorted(), counts('old'))
  const before = await store(old).listBindings('i-1')

  assert.deepEqual(await all(rekey(place(both))), { rekeyed: 3 * bindings.length + 1, reasons: [] })
  assert.deepEqual(await sorted(), counts('next'))
  assert.deepEqual(await all(rekey(place(both))), { rekeyed: 0, reasons: [] })

  const alone = store(next)
  assert.deepEqual(await alone.listBindings('i-1'), before)
  assert.deepEqual((await alone.getInstance('i-1'))?.state, { name: 'i-1' })
  assert.deepEqual(await alone.deliver({ platform: 'cf', instanceId: 'i-1', bindingId: 'b-204' }), { once: 'b-204' })
  assert.deepEqual(await alone.missingKids(), [])
})

test('rekey: ended in the middle, it goes on where it was', async (t) => {
  const { old, both, place } = await scene(t)
  await fill(
    place(old),
    Array.from({ length: 3 }, (_, index) => `b-${index}`)
  )
  for await (const event of rekey(place(both))) {
    assert.deepEqual(event, { kind: 'rekeyed', column: 'instance.state', count: 1 })
    break
  }
  assert.deepEqual(await all(rekey(place(both))), { rekeyed: 9, reasons: [] })
})

test('rekey: what a broker writes meanwhile stays, also when it is under the old key again', async (t) => {
  const { meddler, old, both, place, store } = await scene(t)
  await fill(place(old), ['b-1', 'b-2'])
  const newer = await place(old).sealer.seal(
    { name: 'newer' },
    { column: 'binding.state', platform: 'cf', instanceId: 'i-1', bindingId: 'b-1' }
  )
  const broker = await meddler.connect()
  await broker.query('BEGIN')
  await broker.query(`UPDATE osb.service_bindings SET state = $1 WHERE binding_id = 'b-1'`, [newer])
  const rekeying = all(rekey(place(both)))
  const states = async () => (await countKids(place(both))).filter(({ column }) => column === 'binding.state')
  // It has done the other one, and cannot have that which the broker holds.
  await until('one of two is done', async () =>
    (await states()).some(({ kid, count }) => kid === 'next' && count === 1)
  )
  await broker.query('COMMIT')
  broker.release()
  assert.deepEqual(await rekeying, { rekeyed: 7, reasons: [] })
  assert.deepEqual(await states(), [{ column: 'binding.state', kid: 'next', count: 2 }])
  assert.deepEqual((await store(both).getBinding('i-1', 'b-1'))?.state, { name: 'newer' })
})

test('rekey: two at once beside a broker that writes lose no update', async (t) => {
  const { old, both, place, store } = await scene(t)
  const ids = Array.from({ length: 6 }, (_, index) => `b-${index}`)
  const before = store(old)
  await fill(place(old), ids)
  const operations = await Promise.all(
    ids.map((bindingId) => started(before, { operation: { ...bindStart(bindingId).operation, kind: 'unbind' } }))
  )
  // Replicas that have the new key in front, and one that has it behind.
  const replicas = [store(both), store(`${old},${both.split(',')[0]}`)]
  let writing = true
  const written = await Promise.all([
    ...operations.map(async (operation, index) => {
      const replica = replicas[index % 2] ?? assert.fail()
      const claim = await claimed(replica, operation)
      let count = 0
      for (; writing || count < 3; count += 1) await replica.saveState(claim, { name: ids[index], count })
      return count - 1
    }),
    (async () => {
      for (let round = 0; round < 2; round += 1) {
        const ends = await Promise.all([all(rekey(place(both))), all(rekey(place(both)))])
        assert.deepEqual(
          ends.flatMap(({ reasons }) => reasons),
          []
        )
      }
      writing = false
      return 0
    })()
  ])
  for (const [index, id] of ids.entries()) {
    assert.deepEqual((await store(both).getBinding('i-1', id))?.state, { name: id, count: written[index] })
  }
  await all(rekey(place(both)))
  assert.ok((await countKids(place(both))).every(({ kid }) => kid === 'next'))
})

test('rekey: what cannot be opened is told, and left as it is', async (t) => {
  const { pool, old, both, place } = await scene(t)
  await fill(place(old), ['b-1', 'b-2', 'b-3'])
  const lost = await new Sealer(parseEncryptionKeys(keyOf('lost'))).seal(
    { name: 'b-2' },
    { column: 'binding.state', platform: 'cf', instanceId: 'i-1', bindingId: 'b-2' }
  )
  const set = (binding: string, state: string) =>
    pool.query('UPDATE osb.service_bindings SET state = $2 WHERE binding_id = $1', [binding, state])
  await set('b-1', 'no sealed text')
  await set('b-2', lost)
  const { rekeyed, reasons } = await all(rekey(place(both)))
  assert.equal(rekeyed, 8)
  assert.match(reasons[0] ?? '', /binding\.state of binding "b-1" of instance "i-1" is not an encrypted text/)
  assert.match(
    reasons[1] ?? '',
    /binding "b-2" of instance "i-1" is encrypted with the key "lost", which .* does not have/
  )
  const { rows } = await pool.query('SELECT state FROM osb.service_bindings ORDER BY binding_id LIMIT 2')
  assert.deepEqual(rows, [{ state: 'no sealed text' }, { state: lost }])
  const states = (await countKids(place(both))).filter(({ column }) => column === 'binding.state')
  assert.deepEqual(
    states.map(({ kid, count }) => [kid, count]),
    [
      ['', 1],
      ['lost', 1],
      ['next', 1]
    ]
  )
})

test('missingKids: it names the kids without a key, and refuses another key under a kid in use', async (t) => {
  const { pool, old, next, both, place, store } = await scene(t)
  assert.deepEqual(await store(next).missingKids(), [])
  await fill(place(old), ['b-1', 'b-2'])
  assert.deepEqual(await store(next).missingKids(), ['old'])
  assert.deepEqual(await store(both).missingKids(), [])
  await pool.query(`UPDATE osb.service_bindings SET state = left(state, -4) || 'AAAA' WHERE binding_id = 'b-1'`)
  assert.deepEqual(await store(both).missingKids(), [], 'one that was changed is no other key')
  const another = store(`${next},${keyOf('old')}`)
  await assert.rejects(another.missingKids(), (error) => {
    assert.ok(error instanceof EncryptionKeysError)
    assert.match(error.message, /^The key "old" of BROKER_ENCRYPTION_KEYS does not open .* a kid of its own\.$/)
    return true
  })
})

test('missingKids: of many rows it reads indexes alone', async (t) => {
  const { pool, old, next, place } = await scene(t)
  await fill(place(old), ['b-1'])
  const one = new pg.Pool({ ...pool.options, max: 1 })
  t.after(() => one.end())
  await one.query(`INSERT INTO osb.service_bindings (instance_id, binding_id, platform, service_id, plan_id, context, parameters,
      status, reply, state, undelivered, undelivered_until, created_at, updated_at)
    SELECT instance_id, 'copy-' || n, platform, service_id, plan_id, context, parameters, status, reply, state, undelivered,
      undelivered_until, created_at, updated_at FROM osb.service_bindings, generate_series(1, 5000) AS n`)
  await one.query('ANALYZE osb.service_bindings')
  const scans = async () => {
    await one.query('SELECT pg_stat_force_next_flush()')
    const { rows } = await one.query(`SELECT seq_scan::int AS n FROM pg_stat_user_tables
      WHERE schemaname = 'osb' AND relname = 'service_bindings'`)
    return rows[0]?.n
  }
  const before = await scans()
  const asking = new PostgresStore(one, place(next))
  t.after(() => asking.close())
  assert.deepEqual(await asking.missingKids(), ['old'])
  assert.equal(await scans(), before)
})

test('sealed_kid: it reads what the sealer writes, whatever the ids are', async (t) => {
  const { pool } = await scene(t)
  const kids = ['k', '2026-11.prod_a', 'K'.repeat(64)]
  const ids = ['i', '"kid":"x"', 'ид-\u{1f418}', 'a'.repeat(500), '\\"kid\\":\\"y']
  const texts = await Promise.all(
    kids.flatMap((kid) => {
      const sealer = new Sealer(parseEncryptionKeys(keyOf(kid)))
      return ids.map((instanceId) => sealer.seal({ a: 1 }, { column: 'instance.state', platform: 'cf', instanceId }))
    })
  )
  const read = async (text: string | null) =>
    (await pool.query('SELECT osb.sealed_kid($1) AS kid', [text])).rows[0]?.kid
  assert.deepEqual(
    await Promise.all(texts.map(read)),
    kids.flatMap((kid) => ids.map(() => kid))
  )
  for (const text of ['', '.', 'plain', '{"a":1}', 'a.b.c', '-', '€']) assert.equal(await read(text), '', text)
  assert.equal(await read(null), null)
})
