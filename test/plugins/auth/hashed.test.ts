import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fixedPlatforms, ReloadablePlatforms } from '../../../src/platforms/index.ts'
import { basic } from '../../helper/app.ts'
import { phc } from '../../platforms/support.ts'
import { guarded, unauthorized } from './support.ts'

test('auth plugin: a password of the file lets in until a reload takes it out, and not after', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'osb-hashed-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'platforms.json')
  const write = (...hashes: string[]) => {
    const entries = hashes.map((password_hash) => ({ username: 'cf-user', password_hash }))
    writeFileSync(file, JSON.stringify({ platforms: { cf: { basic: entries } } }))
  }
  const [first, second] = [phc('first'), phc('second')]
  write(first)
  const platforms = await ReloadablePlatforms.open(file)
  const { get, text } = await guarded(t, platforms)
  const statusOf = async (password: string) => (await get(basic('cf-user', password))).statusCode
  assert.deepEqual((await get(basic('cf-user', 'first'))).json(), { platform: 'cf' })
  assert.equal(await statusOf('second'), 401)

  // A rotation: both for a while, then the new one alone.
  write(first, second)
  await platforms.reload()
  assert.deepEqual([await statusOf('first'), await statusOf('second')], [200, 200])
  write(second)
  await platforms.reload()
  assert.deepEqual([await statusOf('first'), await statusOf('second')], [401, 200])

  const refused = await get(basic('nobody', 'second'))
  assert.deepEqual([refused.statusCode, refused.json()], [401, unauthorized])
  assert.equal(refused.headers['www-authenticate'], 'Basic realm="Open Service Broker", charset="UTF-8"')
  assert.doesNotMatch(text(), /cf-user|first|second|scrypt/)
})

test('auth plugin: more passwords at once than may wait are answered 503 with Retry-After', async (t) => {
  const source = fixedPlatforms([{ name: 'cf', basic: [{ username: 'cf', password_hash: phc('right') }] }])
  const { get } = await guarded(t, source)
  const replies = await Promise.all(Array.from({ length: 24 }, (_, index) => get(basic('cf', `guess-${index}`))))
  const busy = replies.filter(({ statusCode }) => statusCode === 503)
  assert.equal(replies.filter(({ statusCode }) => statusCode === 401).length, 18)
  assert.equal(busy.length, 6)
  for (const reply of busy) {
    assert.deepEqual(reply.json(), { description: 'Too many passwords are being checked at once.' })
    assert.equal(reply.headers['retry-after'], '2')
    assert.equal(reply.headers['www-authenticate'], undefined)
  }
  assert.equal((await get(basic('cf', 'right'))).statusCode, 200)
})
