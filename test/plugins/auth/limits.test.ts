import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyServerOptions, LightMyRequestResponse } from 'fastify'
import { MAX_FAILURES } from '../../../plugins/auth/failed-logins.ts'
import { fixedPlatforms } from '../../../src/platforms/index.ts'
import { basic } from '../../helper/app.ts'
import { guarded, unauthorized } from './support.ts'

const platforms = fixedPlatforms([
  { name: 'cf', username: 'cf-user', password: 'cf-pass' },
  { name: 'k8s', username: 'k8s-user', password: 'k8s-pass' }
])
const right = basic('cf-user', 'cf-pass')
const tooMany = { description: 'Too many logins have failed. Try again later.' }

function assertClosed(reply: LightMyRequestResponse): void {
  assert.deepEqual([reply.statusCode, reply.json()], [429, tooMany])
  const seconds = Number(reply.headers['retry-after'])
  assert.ok(Number.isInteger(seconds) && seconds > 200 && seconds <= 300, String(reply.headers['retry-after']))
  assert.equal(reply.headers['www-authenticate'], undefined)
}

test('auth plugin: an address is closed after so many failures, for a right login too, and others are not', async (t) => {
  const { get, lines, text } = await guarded(t, platforms)
  const from = (remoteAddress: string) => ({ remoteAddress })
  assert.equal((await get(right, from('192.0.2.1'))).statusCode, 200)
  for (let index = 0; index < MAX_FAILURES; index += 1) {
    const wrong = index % 2 === 0 ? basic(`guess-${index}`, 'x') : `Bearer ${index}`
    const reply = await get(wrong, from('192.0.2.1'))
    assert.deepEqual([reply.statusCode, reply.json()], [401, unauthorized])
  }
  for (const login of [right, basic('cf-user', 'wrong'), 'Bearer x']) assertClosed(await get(login, from('192.0.2.1')))
  for (const none of [undefined, '', 'Basic %%%', 'Digest x']) {
    assert.equal((await get(none, from('192.0.2.1'))).statusCode, 401)
  }
  assert.deepEqual((await get(right, from('192.0.2.2'))).json(), { platform: 'cf' })
  const warnings = lines().filter(({ level }) => level === 40)
  assert.deepEqual(
    warnings.map(({ msg, address }) => [msg, address]),
    [['too many failed logins; more are refused for a while', '192.0.2.1']]
  )
  assert.doesNotMatch(text(), /cf-pass|cf-user|guess-|Basic |Bearer |[aA]uthorization/)
})

test('auth plugin: a name that strangers try stays open where its platform comes from', async (t) => {
  const { get } = await guarded(t, platforms)
  const from = (remoteAddress: string) => ({ remoteAddress })
  assert.equal((await get(right, from('192.0.2.1'))).statusCode, 200)
  for (let index = 0; index < MAX_FAILURES; index += 1) {
    assert.equal((await get(basic('cf-user', `guess-${index}`), from(`198.51.100.${index}`))).statusCode, 401)
  }
  assertClosed(await get(right, from('203.0.113.1')))
  assert.equal((await get(right, from('192.0.2.1'))).statusCode, 200)
  assert.equal((await get(basic('k8s-user', 'k8s-pass'), from('203.0.113.1'))).statusCode, 200)
})

test('auth plugin: attempts side by side find out no more than as many one by one', async (t) => {
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
  assertClosed(await get(right, via('10.0.0.1', '192.0.2.1')))
  assert.equal((await get(basic('k8s-user', 'k8s-pass'), via('10.0.0.1', '192.0.2.2'))).statusCode, 200)
  for (let index = 0; index < MAX_FAILURES; index += 1) {
    await get(basic('k8s-user', 'wrong'), via('192.0.2.9', `203.0.113.${index}`))
  }
  assertClosed(await get(right, via('192.0.2.9', '192.0.2.3')))
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
