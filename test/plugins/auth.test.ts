import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import { auth } from '../../plugins/auth.ts'
import { errors } from '../../plugins/errors.ts'
import { identity } from '../../plugins/identity.ts'
import { DEFAULT_PLATFORM, fixedPlatforms, type PlatformCredentials } from '../../src/platforms/index.ts'
import { basic } from '../helper/app.ts'

async function guarded(t: TestContext, credentials: readonly PlatformCredentials[] | false) {
  const app = Fastify({ logger: false })
  t.after(() => app.close())
  await app.register(errors, { answerUnknownRoutes: true })
  await app.register(identity)
  await app.register(auth, { platforms: credentials === false ? false : fixedPlatforms(credentials) })
  app.get('/', async (request) => ({ platform: request.osbCall.platform }))
  return (authorization?: string) =>
    app.inject({ url: '/', headers: authorization === undefined ? {} : { authorization } })
}

const several: PlatformCredentials[] = [
  { name: 'one', username: 'user-1', password: 'old' },
  { name: 'one', username: 'user-1', password: 'new' },
  { name: 'two', username: 'user-2', password: 'pass:with:colons' },
  { name: 'three', username: 'ünï', password: '密码🔑' },
  { name: 'four', username: 'user-4', password: '' }
]

test('auth plugin: the right credentials name their platform, each of several', async (t) => {
  const get = await guarded(t, several)
  for (const { name, username, password } of several) {
    const reply = await get(basic(username, password))
    assert.deepEqual([reply.statusCode, reply.json()], [200, { platform: name }])
  }
})

test('auth plugin: the scheme is case-insensitive (RFC 7617)', async (t) => {
  const get = await guarded(t, several)
  const encoded = basic('user-1', 'new').slice('Basic '.length)
  for (const scheme of ['basic', 'BASIC', 'bAsIc']) assert.equal((await get(`${scheme} ${encoded}`)).statusCode, 200)
})

test('auth plugin: anything else answers 401 with a challenge and a description', async (t) => {
  const get = await guarded(t, several)
  const encode = (text: string) => Buffer.from(text).toString('base64')
  const wrong = [
    undefined,
    '',
    'Basic',
    'Basic ',
    'Basic !!!',
    'Basic %%%=',
    `Basic ${encode('no colon')}`,
    `Basic ${encode('user-1:new\0')}`,
    `Basic ${encode(':')}`,
    `Bearer ${encode('user-1:new')}`,
    encode('user-1:new'),
    basic('user-1', 'wrong'),
    basic('user-1', ''),
    basic('user-1', 'new '),
    basic('user-1', 'ne'),
    basic('user-1', 'neww'),
    basic('USER-1', 'new'),
    basic('', 'new'),
    basic('unknown', 'new'),
    // The name of one with the password of another.
    basic('user-2', 'new'),
    basic('user-1', 'pass:with:colons'),
    basic('user-2', 'pass'),
    basic('user-1:new', ''),
    basic('user-4', 'x'),
    basic('user-1', 'x'.repeat(10_000))
  ]
  for (const authorization of wrong) {
    const reply = await get(authorization)
    assert.equal(reply.statusCode, 401, authorization)
    assert.equal(reply.headers['www-authenticate'], 'Basic realm="Open Service Broker", charset="UTF-8"')
    assert.deepEqual(reply.json(), { description: 'The credentials are missing or wrong.' })
  }
})

test('auth plugin: the right credentials work after wrong ones', async (t) => {
  const get = await guarded(t, several)
  const replies = await Promise.all(
    Array.from({ length: 20 }, (_, index) => get(basic('user-1', index % 2 === 0 ? 'new' : 'wrong')))
  )
  assert.deepEqual(
    replies.map(({ statusCode }) => statusCode),
    replies.map((_, index) => (index % 2 === 0 ? 200 : 401))
  )
})

test('auth plugin: nobody is let in where there are no credentials', async (t) => {
  const get = await guarded(t, [])
  assert.equal((await get(basic('', ''))).statusCode, 401)
})

test('auth plugin: off where the host authenticates, for one platform', async (t) => {
  const get = await guarded(t, false)
  for (const authorization of [undefined, 'Bearer of-the-host']) {
    const reply = await get(authorization)
    assert.deepEqual([reply.statusCode, reply.json()], [200, { platform: DEFAULT_PLATFORM }])
  }
})
