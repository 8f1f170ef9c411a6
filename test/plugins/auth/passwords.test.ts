import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { Passwords } from '../../../plugins/auth/passwords.ts'
import type { BasicCredentials, Derive, ScryptHash } from '../../../src/platforms/index.ts'

/** As scrypt, but quick: what is tested is who is run, and how often. */
const derive: Derive = async (password, { salt }) => createHmac('sha256', salt).update(password).digest()

async function hashOf(password: string, p = 1): Promise<ScryptHash> {
  const hash = { ln: 15, p, salt: Buffer.from(`salt ${p}`), hash: Buffer.alloc(32) }
  return { ...hash, hash: await derive(password, hash) }
}

const hash = await hashOf('right')

/** Counts what is asked of scrypt. */
function counting(): { derive: Derive; costs: string[] } {
  const costs: string[] = []
  return {
    costs,
    derive: (password, asked) => {
      costs.push(`${asked.ln}/${asked.p}`)
      return derive(password, asked)
    }
  }
}

test('passwords: a hash lets its platform in, and a name may have several', async () => {
  const hashes = [await hashOf('old'), await hashOf('new')]
  const credentials = hashes.map((hash) => ({ platform: 'cf', username: 'cf-user', hash }))
  const passwords = new Passwords(credentials, derive)
  assert.equal(await passwords.platformOf('cf-user', 'old'), 'cf')
  assert.equal(await passwords.platformOf('cf-user', 'new'), 'cf')
  for (const [name = '', password = ''] of [
    ['cf-user', 'neu'],
    ['cf-user', ''],
    ['CF-USER', 'new'],
    ['', 'new']
  ]) {
    assert.equal(await passwords.platformOf(name, password), undefined, `${name}:${password}`)
  }
})

test('passwords: an unknown name runs scrypt as a known one does', async () => {
  const heavy = await hashOf('heavy', 2)
  const credentials: BasicCredentials[] = [
    { platform: 'a', username: 'a', hash },
    { platform: 'a', username: 'a', hash: await hashOf('other') },
    { platform: 'b', username: 'b', hash: heavy },
    { platform: 'c', username: 'c', password: 'plain' }
  ]
  const runsOf = async (username: string) => {
    const { derive, costs } = counting()
    assert.equal(await new Passwords(credentials, derive).platformOf(username, 'wrong'), undefined)
    return costs
  }
  for (const name of ['unknown', 'a', 'b', 'c']) assert.deepEqual(await runsOf(name), ['15/1', '15/1', '15/2'], name)
})

test('passwords: a right login is run once, a wrong one each time', async () => {
  const { derive, costs } = counting()
  const passwords = new Passwords([{ platform: 'a', username: 'a', hash }], derive)
  for (let again = 0; again < 3; again += 1) assert.equal(await passwords.platformOf('a', 'right'), 'a')
  assert.equal(costs.length, 1)
  for (let again = 0; again < 3; again += 1) assert.equal(await passwords.platformOf('a', 'wrong'), undefined)
  assert.equal(costs.length, 4)
  assert.equal(await passwords.platformOf('b', 'right'), undefined)
  assert.equal(costs.length, 5)
})

test('passwords: one login many times at once is one run', async () => {
  const { derive, costs } = counting()
  const passwords = new Passwords([{ platform: 'a', username: 'a', hash }], derive)
  const found = await Promise.all(Array.from({ length: 30 }, () => passwords.platformOf('a', 'right')))
  assert.deepEqual([...new Set(found)], ['a'])
  assert.equal(costs.length, 1)
})

test('passwords: plain ones alone run no scrypt', async () => {
  const { derive, costs } = counting()
  const passwords = new Passwords([{ platform: 'a', username: 'a', password: 'plain' }], derive)
  assert.equal(await passwords.platformOf('a', 'plain'), 'a')
  assert.equal(await passwords.platformOf('a', 'wrong'), undefined)
  assert.deepEqual(costs, [])
})

test('passwords: a plain one works beside hashes, of the same name too', async () => {
  const credentials: BasicCredentials[] = [
    { platform: 'a', username: 'a', password: 'plain' },
    { platform: 'a', username: 'a', hash }
  ]
  const passwords = new Passwords(credentials, derive)
  for (const password of ['plain', 'right']) assert.equal(await passwords.platformOf('a', password), 'a')
})
