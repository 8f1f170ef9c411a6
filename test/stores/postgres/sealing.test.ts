import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { PostgresStore, parseEncryptionKeys, SealBroken, Sealer } from '../../../src/stores/postgres/index.ts'
import { startOfBound } from '../../../src/stores/postgres/sealing.ts'
import { claimed, started } from '../contract/opened.ts'
import { bindStart, provisionStart } from '../records.ts'
import { EarlierSealer } from './earlier-sealer.ts'
import { freshStore } from './fresh-store.ts'

const key = (kid: string) => `${kid}:${randomBytes(32).toString('base64')}`
const purpose = { column: 'binding.reply', platform: 'cf', instanceId: 'i-1', bindingId: 'b-1' } as const

test('seal: what is sealed opens again, and shows nothing of itself', async () => {
  const sealer = new Sealer(parseEncryptionKeys(key('k1')))
  const value = { password: 'pässword \u{1f418}', deep: { a: [1, null] } }
  const sealed = await sealer.seal(value, purpose)
  assert.equal(sealed.split('.').length, 5)
  assert.deepEqual(await sealer.open(sealed, purpose), value)
  assert.notEqual(await sealer.seal(value, purpose), sealed)
})

test('open: another row, column or platform gives SealBroken', async () => {
  const sealer = new Sealer(parseEncryptionKeys(key('k1')))
  const sealed = await sealer.seal({ a: 1 }, purpose)
  const others = [
    { ...purpose, bindingId: 'b-2' },
    { ...purpose, instanceId: 'i-2' },
    { ...purpose, column: 'binding.state' } as const,
    { column: 'instance.state', platform: 'cf', instanceId: 'i-1' } as const,
    { ...purpose, platform: 'k8s' },
    { ...purpose, platform: '' }
  ]
  for (const other of others) await assert.rejects(sealer.open(sealed, other), SealBroken)
})

test('open: a text that was changed gives SealBroken', async () => {
  const sealer = new Sealer(parseEncryptionKeys(key('k1')))
  const sealed = await sealer.seal({ a: 'some text' }, purpose)
  for (const part of [0, 2, 3, 4]) {
    const parts = sealed.split('.')
    const text = parts[part] ?? ''
    parts[part] = `${text.slice(0, 4)}${text[4] === 'A' ? 'B' : 'A'}${text.slice(5)}`
    await assert.rejects(sealer.open(parts.join('.'), purpose), SealBroken, `part ${part}`)
  }
  for (const text of ['', 'plain', '{"a":1}', 'a.b.c.d.e']) await assert.rejects(sealer.open(text, purpose), SealBroken)
})

test('open: a header that says another row gives SealBroken', async () => {
  const sealer = new Sealer(parseEncryptionKeys(key('k1')))
  const [, ...rest] = (await sealer.seal({ a: 1 }, { ...purpose, bindingId: 'b-2' })).split('.')
  const [header] = (await sealer.seal({ a: 1 }, purpose)).split('.')
  await assert.rejects(sealer.open([header, ...rest].join('.'), purpose), SealBroken)
})

test('open: after a rotation old texts open and new ones have the new key', async () => {
  const [first, second] = [key('2025'), key('2026')]
  const before = await new Sealer(parseEncryptionKeys(first)).seal({ a: 1 }, purpose)
  const rotated = new Sealer(parseEncryptionKeys(`${second}, ${first}`))
  assert.deepEqual(await rotated.open(before, purpose), { a: 1 })
  const after = await rotated.seal({ a: 2 }, purpose)
  assert.deepEqual(await new Sealer(parseEncryptionKeys(second)).open(after, purpose), { a: 2 })
  await assert.rejects(
    new Sealer(parseEncryptionKeys(second)).open(before, purpose),
    /encrypted with the key "2025", which BROKER_ENCRYPTION_KEYS does not have/
  )
  await assert.rejects(new Sealer(parseEncryptionKeys(key('2025'))).open(before, purpose), /is another one than before/)
})

test('open: texts of this version and of an earlier one open in both versions', async () => {
  const keys = key('k1')
  const [now, earlier] = [new Sealer(parseEncryptionKeys(keys)), new EarlierSealer(keys)]
  assert.deepEqual(await earlier.open(await now.seal({ a: 1 }, purpose), purpose), { a: 1 })
  const unbound = await earlier.seal({ a: 2 }, purpose)
  assert.deepEqual(await now.open(unbound, purpose), { a: 2 })
  assert.deepEqual(await now.open(unbound, { ...purpose, platform: 'k8s' }), { a: 2 }, 'it is bound to no platform')
  for (const other of [{ ...purpose, bindingId: 'b-2' }, { ...purpose, column: 'binding.state' } as const]) {
    await assert.rejects(now.open(unbound, other), SealBroken)
  }
})

test('open: a platform that was taken out of the header, or put into it, gives SealBroken', async () => {
  const keys = key('k1')
  const [now, earlier] = [new Sealer(parseEncryptionKeys(keys)), new EarlierSealer(keys)]
  const [bound, unbound] = [await now.seal({ a: 1 }, purpose), await earlier.seal({ a: 1 }, purpose)]
  const swapped = (header: string, text: string) => [header.split('.')[0], ...text.split('.').slice(1)].join('.')
  await assert.rejects(now.open(swapped(unbound, bound), purpose), SealBroken)
  await assert.rejects(now.open(swapped(bound, unbound), purpose), SealBroken)
})

test('startOfBound: texts that are bound to a platform start with it, whatever the length of the kid, and no others', async () => {
  for (let length = 1; length <= 64; length += 1) {
    const kid = 'k'.repeat(length)
    const keys = key(kid)
    const start = startOfBound(kid)
    const [now, earlier] = [new Sealer(parseEncryptionKeys(keys)), new EarlierSealer(keys)]
    assert.ok((await now.seal({ a: 1 }, purpose)).startsWith(start), kid)
    for (const instanceId of ['i-1', '"aud"', '","aud":"']) {
      assert.ok(!(await earlier.seal({ a: 1 }, { ...purpose, instanceId })).startsWith(start), kid)
    }
    assert.ok(!(await now.seal({ a: 1 }, purpose)).startsWith(startOfBound(`${kid}k`)), kid)
  }
})

test('seal: without a platform nothing is sealed', async () => {
  const sealer = new Sealer(parseEncryptionKeys(key('k1')))
  const { platform: _platform, ...incomplete } = purpose
  // @ts-expect-error: a caller in JavaScript
  await assert.rejects(sealer.seal({ a: 1 }, incomplete), /binding\.reply of binding "b-1" .* for no platform/)
})

test('parseEncryptionKeys: a bad entry gives an error that names it and not the key', () => {
  const good = key('k1')
  const secret = randomBytes(31).toString('base64')
  const cases: [string, RegExp][] = [
    ['', /entry 1 of 1 is empty/],
    [`${good},`, /entry 2 of 2 is empty/],
    [secret, /entry 1 of 1 has no colon/],
    [`k2:${secret}`, /the key of entry 1 of 1 \("k2"\) has 31 bytes; it must have 32/],
    [`${good},:${secret}`, /the kid of entry 2 of 2/],
    [`k2:${secret}!`, /the key of entry 1 of 1 \("k2"\) is not base64/],
    [`${good},${good}`, /the kid "k1" is there twice/]
  ]
  for (const [text, message] of cases) {
    assert.throws(
      () => parseEncryptionKeys(text),
      (error: Error) => {
        assert.match(error.message, message)
        assert.match(error.message, /^BROKER_ENCRYPTION_KEYS .*openssl rand -base64 32$/)
        assert.ok(!error.message.includes(secret) && !error.message.includes(good))
        return true
      }
    )
  }
  assert.throws(() => new Sealer([]), /at least one/)
})

test('parseEncryptionKeys: keys that are printed show nothing', () => {
  const text = key('k1')
  const keys = parseEncryptionKeys(text)
  assert.ok(!`${inspect(keys, { depth: 9 })}${JSON.stringify(keys)}`.includes(text.slice(3, 20)))
})

test('getBinding: a reply swapped in the database gives SealBroken', async (t) => {
  const { store, pool } = await freshStore(t)
  const provision = await claimed(store, await started(store, provisionStart()))
  await store.finish(provision, { state: 'succeeded', instance: { status: 'ready' } })
  for (const id of ['b-1', 'b-2']) {
    const bind = await claimed(store, await started(store, bindStart(id)))
    const binding = { status: 'ready', reply: { credentials: { password: `of ${id}` } } } as const
    await store.finish(bind, { state: 'succeeded', binding })
  }
  await pool.query(`UPDATE osb.service_bindings AS one SET reply = other.reply FROM osb.service_bindings AS other
    WHERE one.binding_id <> other.binding_id`)
  await assert.rejects(
    store.getBinding('i-1', 'b-1'),
    /of binding "b-1" of instance "i-1" holds what belongs to another/
  )
  const withOtherKeys = new PostgresStore(pool, { sealer: new Sealer(parseEncryptionKeys(key('k9'))) })
  await assert.rejects(withOtherKeys.getBinding('i-1', 'b-1'), SealBroken)
})
