import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyServerOptions, LightMyRequestResponse } from 'fastify'
import { MAX_FAILURES } from '../../../plugins/auth/failed-logins.ts'
import { MAX_WAITING } from '../../../plugins/auth/login-throttle.ts'
import { fixedPlatforms } from '../../../src/platforms/index.ts'
import { basic } from '../../helper/app.ts'
import { phc } from '../../platforms/support.ts'
import { guarded, unauthorized } from './support.ts'

const platforms = fixedPlatforms([
  { name: 'cf', username: 'cf-user', password: 'cf-pass' },
  { name: 'k8s', username: 'k8s-user', password: 'k8s-pass' }
])
const right = basic('cf-user', 'cf-pass')
const tooMany = { description: 'Too many logins have failed. Try again later.' }

function assertSlowed(reply: LightMyRequestResponse): void {
  assert.deepEqual([reply.statusCode, reply.json()], [429, tooMany])
  const seconds = Number(reply.headers['retry-after'])
  assert.ok(Number.isInteger(seconds) && seconds > 200 && seconds <= 300, String(reply.headers['retry-after']))
  assert.equal(reply.headers['www-authenticate'], undefined)
}

const from = (remoteAddress: string) => ({ remoteAddress })

test('auth plugin: after too many failures an address is told 429, and its right logins still succeed', async (t) => {
  const { get, lines, text } = await guarded(t, platforms)
  for (let index = 0; index < MAX_FAILURES; index += 1) {
    const reply = await get(basic(index % 2 === 0 ? 'cf-user' : `guess-${index}`, `x-${index}`), from('192.0.2.1'))
    assert.deepEqual([reply.statusCode, reply.json()], [401, unauthorized])
  }
  assertSlowed(await get(basic('cf-user', 'wrong'), from('192.0.2.1')))
  // Never seen before, from the address that failed and from another one.
  for (const address of ['192.0.2.1', '192.0.2.2']) {
    assert.deepEqual((await get(right, from(address))).json(), { platform: 'cf' }, address)
  }
  assertSlowed(await get(basic('cf-user', 'wrong'), from('192.0.2.1')))
  for (const none of [undefined, '', 'Basic %%%', 'Digest x']) {
    assert.equal((await get(none, from('192.0.2.1'))).statusCode, 401)
  }
  const warnings = lines().filter(({ level }) => level === 40)
  assert.deepEqual(
    warnings.map(({ msg, address }) => [msg, address]),
    [['too many failed logins; further ones are slowed down', '192.0.2.1']]
  )
  assert.doesNotMatch(text(), /cf-pass|cf-user|guess-|Basic |Bearer |[aA]uthorization/)
})

test('auth plugin: a login that has succeeded is not slowed down by a flood from its own address', async (t) => {
  const { get } = await guarded(t, platforms)
  assert.equal((await get(right, from('192.0.2.1'))).statusCode, 200)
  const guess = (index: number) => get(basic('cf-user', `guess-${index}`), from('192.0.2.1'))
  await Promise.all(Array.from({ length: MAX_FAILURES }, (_, index) => guess(index)))
  // So many that no other login of the address would get a place in the line.
  const flood = Array.from({ length: MAX_WAITING }, (_, index) => guess(1_000 + index))
  for (let index = 0; index < 20; index += 1) assert.equal((await get(right, from('192.0.2.1'))).statusCode, 200)
  for (const reply of await Promise.all(flood)) assertSlowed(reply)
})

test('auth plugin: failures from many addresses under a name keep its platform out from nowhere', async (t) => {
  const { get } = await guarded(t, platforms)
  const guess = (index: number) => get(basic('cf-user', `guess-${index}`), from(`198.51.100.${index % 250}`))
  for (let index = 0; index < MAX_FAILURES * 3; index += 1) assert.equal((await guess(index)).statusCode, 401)
  for (const address of ['203.0.113.1', '198.51.100.7']) {
    assert.equal((await get(right, from(address))).statusCode, 200, address)
  }
})

test('auth plugin: hashed passwords: guesses from many addresses at once do not refuse a right one', async (t) => {
  const hashed = fixedPlatforms([{ name: 'cf', basic: [{ username: 'cf', password_hash: phc('right') }] }])
  const { get } = await guarded(t, hashed)
  const guess = (index: number) => get(basic('cf', `guess-${index}`), from(`198.51.100.${index % 40}`))
  // A failure of each, and then so many that they wait for scrypt.
  await Promise.all(Array.from({ length: 40 }, (_, index) => guess(index)))
  const flood = Array.from({ length: 80 }, (_, index) => guess(100 + index))
  assert.equal((await get(basic('cf', 'right'), from('203.0.113.1'))).statusCode, 200)
  for (const reply of await Promise.all(flood)) assert.equal(reply.statusCode, 401)
})

test('auth plugin: tokens are not throttled, and wrong ones slow no password down', async (t) => {
  const { get } = await guarded(t, platforms)
  for (let index = 0; index < MAX_FAILURES * 2; index += 1) {
    assert.equal((await get(`Bearer ${index}`, from('192.0.2.1'))).statusCode, 401)
  }
  assert.equal((await get(basic('cf-user', 'wrong'), from('192.0.2.1'))).statusCode, 401)
  assert.equal((await get(right, from('192.0.2.1'))).statusCode, 200)
})

test('auth plugin: concurrent guesses are limited as consecutive ones are', async (t) => {
  const { get } = await guarded(t, platforms)
  const replies = await Promise.all(
    Array.from({ length: MAX_FAILURES + 50 }, (_, index) => get(basic('cf-user', `guess-${index}`)))
  )
  const count = (status: number) => replies.filter(({ statusCode }) => statusCode === status).length
  assert.deepEqual([count(401), count(429)], [MAX_FAILURES, 50])
})

test('auth plugin: logins that are right are not limited', async (t) => {
  const { get } = await guarded(t, platforms)
  for (let index = 0; index < MAX_FAILURES * 2; index += 1) assert.equal((await get(right)).statusCode, 200)
  for (let index = 0; index < MAX_FAILURES * 2; index += 1) {
    assert.equal((await get(index % 2 === 0 ? undefined : 'Basic %%%')).statusCode, 401)
  }
  assert.equal((await get(right)).statusCode, 200)
})

test('auth plugin: behind a trusted proxy the address is that of the client, which it cannot make up', async (t) => {
  const { get } = await guarded(t, platforms, { trustProxy: ['10.0.0.0/8'] })
  const via = (remoteAddress: string, forwarded: string) => ({
    remoteAddress,
    headers: { 'x-forwarded-for': forwarded }
  })
  for (let index = 0; index < MAX_FAILURES; index += 1) {
    await get(basic('cf-user', 'wrong'), via('10.0.0.1', `203.0.113.${index}, 192.0.2.1`))
  }
  assertSlowed(await get(basic('cf-user', 'wrong'), via('10.0.0.1', '192.0.2.1')))
  assert.equal((await get(basic('cf-user', 'wrong'), via('10.0.0.1', '192.0.2.2'))).statusCode, 401)
  for (let index = 0; index < MAX_FAILURES; index += 1) {
    await get(basic('k8s-user', 'wrong'), via('192.0.2.9', `203.0.113.${index}`))
  }
  assertSlowed(await get(basic('k8s-user', 'wrong'), via('192.0.2.9', '192.0.2.3')))
})

test('auth plugin: an address that may be that of a proxy is pointed out', async (t) => {
  const { get, lines } = await guarded(t, platforms)
  for (let index = 0; index < MAX_FAILURES; index += 1) {
    await get(basic('a', 'b'), { headers: { 'x-forwarded-for': '192.0.2.1' } })
  }
  const [warning] = lines().filter(({ level }) => level === 40)
  assert.match(String(warning?.msg), /is that the address of a proxy\? See BROKER_TRUST_PROXY$/)
})

test('auth plugin: where the host authenticates nothing is limited', async (t) => {
  const { get } = await guarded(t, false)
  for (let index = 0; index < MAX_FAILURES * 2; index += 1) {
    assert.equal((await get(basic('cf-user', 'wrong'))).statusCode, 200)
  }
})

test('auth plugin: a client that has hung up, and has no address any more, is checked as any other', async (t) => {
  // Comes before every hook
  const rewriteUrl: FastifyServerOptions['rewriteUrl'] = (request) => {
    Object.defineProperty(request.socket, 'remoteAddress', { value: undefined })
    return request.url ?? ''
  }
  const { get } = await guarded(t, platforms, { rewriteUrl })
  assert.deepEqual((await get(right)).json(), { platform: 'cf' })
  assert.equal((await get(basic('cf-user', 'wrong'))).statusCode, 401)
  assert.deepEqual((await get(right)).json(), { platform: 'cf' })
})
