import assert from 'node:assert/strict'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { exportJWK, exportSPKI, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose'
import { Tokens } from '../../../plugins/auth/tokens.ts'
import { BrokerError } from '../../../src/core/errors.ts'
import { fixedPlatforms, type NamedPlatform, type TrustedTokens } from '../../../src/platforms/index.ts'
import { basic } from '../../helper/app.ts'
import { someHash } from '../../platforms/support.ts'
import { guarded, unauthorized } from './support.ts'

const issuer = 'https://uaa.example.com/oauth/token'
const pair = await generateKeyPair('RS256')
const other = await generateKeyPair('RS256')
const elliptic = await generateKeyPair('ES256')
const keys = [
  { ...(await exportJWK(pair.publicKey)), kid: 'k1', alg: 'RS256' },
  { ...(await exportJWK(elliptic.publicKey)), kid: 'k2', alg: 'ES256' }
]
const claims = { iss: issuer, aud: 'osb', client_id: 'service-manager', scope: ['osb.read', 'osb.write'] }
const seconds = (offset: number) => Math.floor(Date.now() / 1_000) + offset

function signed(
  more: Record<string, unknown> = {},
  { alg = 'RS256', kid = 'k1', key = pair.privateKey } = {}
): Promise<string> {
  return new SignJWT({ ...claims, exp: seconds(300), ...more }).setProtectedHeader({ alg, kid }).sign(key)
}

/** A server of keys; by default it has ours. */
async function keyServer(
  t: TestContext,
  listener: RequestListener = (_, reply) => reply.end(JSON.stringify({ keys }))
) {
  const state = { fetches: 0, listener }
  const server = createServer((request, reply) => {
    state.fetches += 1
    state.listener(request, reply)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { state, uri: `http://127.0.0.1:${port}/token_keys` }
}

function platformOf(name: string, jwks_uri: string, wanted: Record<string, string>): NamedPlatform {
  return { name, bearer: [{ issuer, jwks_uri, audience: 'osb', claims: wanted }] }
}

async function withTokens(t: TestContext, more: NamedPlatform[] = []) {
  const { state, uri } = await keyServer(t)
  const source = fixedPlatforms([
    platformOf('cf', uri, { client_id: 'service-manager' }),
    platformOf('k8s', uri, { client_id: 'k8s', scope: 'osb.write' }),
    ...more
  ])
  return { ...(await guarded(t, source)), state }
}

test('auth plugin: a token lets the platform in whose claims it has, and the keys are fetched once', async (t) => {
  const { get, state } = await withTokens(t)
  const cf = await signed()
  for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
    assert.deepEqual((await get(`${scheme} ${cf}`)).json(), { platform: 'cf' })
  }
  const k8s = await signed({ client_id: 'k8s', aud: ['another', 'osb'] })
  assert.deepEqual((await get(`Bearer ${k8s}`)).json(), { platform: 'k8s' })
  const byOther = await signed({}, { alg: 'ES256', kid: 'k2', key: elliptic.privateKey })
  assert.deepEqual((await get(`Bearer ${byOther}`)).json(), { platform: 'cf' })
  assert.equal(state.fetches, 1)
})

test('auth plugin: clocks may differ by a few seconds', async (t) => {
  const { get } = await withTokens(t)
  for (const more of [{ exp: seconds(-5) }, { nbf: seconds(5) }]) {
    assert.equal((await get(`Bearer ${await signed(more)}`)).statusCode, 200)
  }
})

const secret = new TextEncoder().encode(await exportSPKI(pair.publicKey))
const tampered = (token: string) => {
  const [header, , signature] = token.split('.')
  const payload = Buffer.from(JSON.stringify({ ...claims, exp: seconds(300) })).toString('base64url')
  return [header, payload, signature].join('.')
}
const refused: [string, () => Promise<string> | string, RegExp][] = [
  ['has expired', () => signed({ exp: seconds(-60) }), /"exp" claim timestamp check failed/],
  ['never expires', () => signed({ exp: undefined }), /missing required "exp" claim/],
  ['is not valid yet', () => signed({ nbf: seconds(60) }), /"nbf" claim timestamp check failed/],
  ['is for somebody else', () => signed({ aud: 'other' }), /unexpected "aud" claim value/],
  ['is for nobody', () => signed({ aud: undefined }), /missing required "aud" claim/],
  ['is of another issuer', () => signed({ iss: 'https://evil.example.com' }), /its issuer is not trusted/],
  ['is of no issuer', () => signed({ iss: undefined }), /its issuer is not trusted/],
  ['lacks a claim', () => signed({ client_id: undefined }), /the claim client_id is not as the platform's/],
  ['has another claim', () => signed({ client_id: 'someone' }), /the claim client_id is not as the platform's/],
  ['lacks a value of a claim', () => signed({ client_id: 'k8s', scope: ['osb.read'] }), /the claim scope is not/],
  [
    'has a list in which the value is only a part',
    () => signed({ client_id: ['a service-manager'] }),
    /client_id is not/
  ],
  ['is signed with another key', () => signed({}, { key: other.privateKey }), /signature verification failed/],
  ['is signed with an unknown key', () => signed({}, { kid: 'k9', key: other.privateKey }), /no applicable key found/],
  ['was changed', async () => tampered(await signed({ client_id: 'someone' })), /signature verification failed/],
  ['is not signed', () => new UnsecuredJWT({ ...claims, exp: seconds(300) }).encode(), /alg|Invalid/i],
  [
    'is signed with the public key as a secret',
    () => new SignJWT({ ...claims, exp: seconds(300) }).setProtectedHeader({ alg: 'HS256', kid: 'k1' }).sign(secret),
    /"alg" \(Algorithm\) Header Parameter value not allowed/
  ],
  ['is no token', () => 'abc.def', /its issuer is not trusted/],
  ['is three words', () => 'a.b.c', /its issuer is not trusted/]
]

test('auth plugin: a token that is no good is refused, always the same; the reason is in the log at debug', async (t) => {
  const { get, lines, text } = await withTokens(t)
  for (const [what, make, reason] of refused) {
    const token = await make()
    const earlier = lines().length
    const reply = await get(`Bearer ${token}`)
    assert.deepEqual([reply.statusCode, reply.json()], [401, unauthorized], what)
    assert.equal(reply.headers['www-authenticate'], 'Bearer realm="Open Service Broker", error="invalid_token"', what)
    const [line] = lines()
      .slice(earlier)
      .filter(({ msg }) => msg === 'a token was refused')
    assert.equal(line?.level, 20, what)
    assert.match(JSON.stringify(line?.reasons).replaceAll('\\"', '"'), reason, what)
    for (const part of token.split('.')) assert.ok(part.length < 10 || !text().includes(part), what)
  }
})

test('auth plugin: keys of a file need no server', async (t) => {
  const set: TrustedTokens = { platform: 'cf', issuer, audience: 'osb', claims: {}, keys: { set: { keys } } }
  const { get } = await guarded(t, { current: { basic: [], bearer: [set], certificate: [], rules: new Map() } })
  assert.deepEqual((await get(`Bearer ${await signed()}`)).json(), { platform: 'cf' })
})

test('auth plugin: a token that fits two platforms is refused', async (t) => {
  const { uri } = await keyServer(t)
  const source = fixedPlatforms([
    platformOf('one', uri, { client_id: 'service-manager' }),
    platformOf('two', uri, { scope: 'osb.read' })
  ])
  const { get, lines } = await guarded(t, source)
  assert.equal((await get(`Bearer ${await signed()}`)).statusCode, 401)
  const [warning] = lines().filter(({ level }) => level === 40)
  assert.deepEqual(
    [warning?.msg, warning?.platforms],
    ['a token fits several platforms and was refused', ['one', 'two']]
  )
})

test('auth plugin: the challenge names the schemes that are configured', async (t) => {
  const { uri } = await keyServer(t)
  const password = { name: 'a', basic: [{ username: 'a', password_hash: someHash }] }
  const certificate = { name: 'b', certificate: [{ subject: 'CN=b' }] }
  const token = platformOf('c', uri, { client_id: 'c' })
  const ofBasic = 'Basic realm="Open Service Broker", charset="UTF-8"'
  const ofBearer = 'Bearer realm="Open Service Broker"'
  const challenges: [NamedPlatform[], string | string[] | undefined][] = [
    [[password], ofBasic],
    [[token, certificate], ofBearer],
    [
      [password, token],
      [ofBasic, ofBearer]
    ],
    [[certificate], undefined]
  ]
  for (const [given, expected] of challenges) {
    const { get } = await guarded(t, fixedPlatforms(given))
    const reply = await get()
    assert.deepEqual([reply.statusCode, reply.json()], [401, unauthorized])
    assert.deepEqual(reply.headers['www-authenticate'], expected)
  }
})

test('auth plugin: keys that cannot be had are 503 with Retry-After and a line in the log, and count as no failure', async (t) => {
  const { state, uri } = await keyServer(t, (_, reply) => reply.writeHead(500).end())
  const source = fixedPlatforms([platformOf('cf', uri, { client_id: 'service-manager' })])
  const { get, lines, text } = await guarded(t, source)
  const token = await signed()
  for (let index = 0; index < 120; index += 1) {
    const reply = await get(`Bearer ${token}`)
    assert.deepEqual(reply.json(), { description: 'The keys that tokens are checked with cannot be had.' })
    assert.deepEqual([reply.statusCode, reply.headers['retry-after']], [503, '5'])
    assert.equal(reply.headers['www-authenticate'], undefined)
  }
  assert.equal(state.fetches, 1)
  const [line] = lines().filter(({ level }) => level === 50)
  assert.match(JSON.stringify(line), new RegExp(`the keys of ${issuer}, for the platform cf, cannot be had`))
  assert.match(JSON.stringify(line), new RegExp(`${uri} answers 500`))
  assert.ok(!text().includes(token))
  assert.equal((await get('Bearer a.b.c')).statusCode, 401)
  assert.equal((await get(basic('a', 'b'))).statusCode, 401)
})

const silent = { debug: () => undefined, warn: () => undefined }

/** How many tokens were let in, and the statuses of those that could not be checked. */
async function outcomeOf(tokens: Tokens, token: string): Promise<string | number | undefined> {
  try {
    return await tokens.platformOf(token, silent)
  } catch (error) {
    assert.ok(error instanceof BrokerError)
    return error.status
  }
}

test('tokens: keys are fetched again some seconds after a failure, and those that are known stay in use', async (t) => {
  const { state, uri } = await keyServer(t, (_, reply) => reply.end('no keys'))
  const clock = { now: 0 }
  const trusted = { platform: 'cf', issuer, audience: 'osb', claims: {}, keys: { uri: new URL(uri) } }
  const tokens = new Tokens([trusted], () => clock.now)
  const token = await signed()
  for (let again = 0; again < 3; again += 1) assert.equal(await outcomeOf(tokens, token), 503)
  assert.equal(state.fetches, 1)
  state.listener = (_, reply) => reply.end(JSON.stringify({ keys }))
  clock.now += 5_000
  assert.equal(await outcomeOf(tokens, token), 'cf')
  state.listener = (_, reply) => reply.writeHead(500).end()
  assert.equal(await outcomeOf(tokens, token), 'cf')
})

test('tokens: a server of keys that says nothing is waited for 3 s', async (t) => {
  const { uri } = await keyServer(t, () => undefined)
  const trusted = { platform: 'cf', issuer, audience: 'osb', claims: {}, keys: { uri: new URL(uri) } }
  const start = performance.now()
  assert.equal(await outcomeOf(new Tokens([trusted]), await signed()), 503)
  const tookMs = performance.now() - start
  assert.ok(tookMs > 2_500 && tookMs < 8_000, `${tookMs} ms`)
})

test('tokens: a redirect is not followed', async (t) => {
  const aim = await keyServer(t)
  const { uri } = await keyServer(t, (_, reply) => reply.writeHead(302, { location: aim.uri }).end())
  const trusted = { platform: 'cf', issuer, audience: 'osb', claims: {}, keys: { uri: new URL(uri) } }
  assert.equal(await outcomeOf(new Tokens([trusted]), await signed()), 503)
  assert.equal(aim.state.fetches, 0)
})
