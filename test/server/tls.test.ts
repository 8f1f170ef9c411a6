import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { Agent, type RequestOptions, request } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { connect } from 'node:tls'
import { basic } from '../helper/app.ts'
import { phc } from '../platforms/support.ts'
import { type Broker, scene, temporaryFolder, until, type Variables } from './broker-process.ts'
import { type Certificate, makeCertificate } from './certificates.ts'

const server = { subject: '/CN=localhost', alternativeName: 'DNS:localhost,IP:127.0.0.1' }
const credentials = { BROKER_USERNAME: 'platform', BROKER_PASSWORD: 'tls-password' }
const authorization = basic('platform', 'tls-password')

/** A broker that speaks HTTPS, and requests to it. */
async function secure(t: TestContext, variables: Variables) {
  const catalog = join(temporaryFolder(t), 'catalog.json')
  const plan = { id: 'toy-plan', name: 'only', description: 'd' }
  const service = { id: 'toy', name: 'toy', description: 'd', bindable: true, plans: [plan] }
  writeFileSync(catalog, JSON.stringify({ services: [{ ...service, 'x-broker': { provider: 'example' } }] }))
  const { serve } = scene(t)
  const broker = await serve({
    BROKER_STORAGE: 'memory',
    BROKER_CATALOG_PATH: catalog,
    LOG_LEVEL: 'info',
    ...variables
  })
  assert.match(broker.url, /^https:\/\/127\.0\.0\.1:\d+$/)
  return broker
}

/** `GET /v2/catalog`, and the number of the certificate that it was answered with. */
async function get(broker: Broker, options: RequestOptions) {
  const headers = { 'x-broker-api-version': '2.17', ...options.headers }
  const sent = request(`${broker.url}/v2/catalog`, { agent: false, ...options, headers }).end()
  const [reply] = await once(sent, 'response')
  const serial: string = reply.socket.getPeerCertificate().serialNumber
  return { status: reply.statusCode, body: JSON.parse(await text(reply)), serial }
}

function serialOf({ cert }: Certificate): string {
  return new X509Certificate(cert).serialNumber
}

test('TLS: the certificate is swapped under a running server, in place and by a symbolic link', async (t) => {
  const folder = temporaryFolder(t)
  const ca = makeCertificate(folder, 'ca', { subject: '/CN=ca' })
  // As Kubernetes mounts a secret: tls.crt → ..data/tls.crt, ..data → a folder of its own for each version.
  const put = (version: string) => {
    const made = makeCertificate(folder, version, { ...server, issuer: ca })
    const path = join(folder, `..${version}`)
    mkdirSync(path)
    writeFileSync(join(path, 'tls.crt'), made.cert)
    writeFileSync(join(path, 'tls.key'), made.key)
    symlinkSync(`..${version}`, join(folder, '..next'))
    renameSync(join(folder, '..next'), join(folder, '..data'))
    return made
  }
  const first = put('one')
  const [certFile, keyFile] = [join(folder, 'tls.crt'), join(folder, 'tls.key')]
  symlinkSync('..data/tls.crt', certFile)
  symlinkSync('..data/tls.key', keyFile)
  const broker = await secure(t, { ...credentials, BROKER_TLS_CERT: certFile, BROKER_TLS_KEY: keyFile })
  const options = { ca: ca.cert, headers: { authorization } }
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  const serial = async () => (await get(broker, options)).serial
  const keptAlive = async () => (await get(broker, { ...options, agent })).serial
  assert.deepEqual([await serial(), await keptAlive()], [serialOf(first), serialOf(first)])

  const second = put('two')
  await until('the new certificate is served', async () => (await serial()) === serialOf(second))
  assert.equal(await keptAlive(), serialOf(first))

  // The key that does not fit comes first: refused, then mended.
  const third = makeCertificate(folder, 'three', { ...server, issuer: ca })
  const errors = () => broker.log.filter(({ level }) => level === 50)
  writeFileSync(join(folder, '..two', 'tls.key'), third.key)
  await until('the pair is refused', () => errors().length > 0)
  assert.match(JSON.stringify(errors()), /the certificate was not loaded again; the old one stays/)
  assert.match(JSON.stringify(errors()), /BROKER_TLS_KEY: \S+ is not the key of the first certificate in /)
  assert.doesNotMatch(JSON.stringify(broker.log), /PRIVATE KEY/)
  assert.equal(await serial(), serialOf(second))
  writeFileSync(join(folder, 'renamed'), third.cert)
  renameSync(join(folder, 'renamed'), join(folder, '..two', 'tls.crt'))
  await until('the mended pair is served', async () => (await serial()) === serialOf(third))
  assert.equal(errors().length, 1)
})

test('TLS: 1.2 and 1.3 are spoken, 1.1 is not, nor is HTTP', async (t) => {
  const made = makeCertificate(temporaryFolder(t), 'server', server)
  const files = { BROKER_TLS_CERT: made.certFile, BROKER_TLS_KEY: made.keyFile }
  // Node and OpenSSL themselves would speak the old ones.
  const lenient = { NODE_OPTIONS: '--tls-min-v1.0 --tls-cipher-list=DEFAULT@SECLEVEL=0' }
  const broker = await secure(t, { ...credentials, ...files, ...lenient })
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const own = { ca: made.cert, headers: { authorization }, minVersion: version, maxVersion: version }
    assert.equal((await get(broker, own)).status, 200)
  }
  const old = { ca: made.cert, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
  await assert.rejects(get(broker, old), /alert protocol version|wrong version|unsupported protocol/)
  await assert.rejects(fetch(broker.url.replace('https:', 'http:')))
  assert.ok(broker.log.some(({ msg }) => msg === `Server listening at ${broker.url}`))
})

test('mutual TLS: a certificate lets its platform in; one that is unknown or not verified does not', async (t) => {
  const folder = temporaryFolder(t)
  const made = makeCertificate(folder, 'server', server)
  const ca = makeCertificate(folder, 'ca', { subject: '/CN=ca' })
  const own = (name: string, subject: string, alternativeName?: string, issuer = ca) =>
    makeCertificate(folder, name, { subject, issuer, ...(alternativeName === undefined ? {} : { alternativeName }) })
  const file = join(folder, 'platforms.json')
  const platforms = {
    cf: { certificate: [{ subject: 'CN=cf-prod, OU=platforms' }] },
    k8s: { certificate: [{ san: 'URI:spiffe://example/k8s' }, { san: 'DNS:k8s.example.com' }] },
    korifi: { basic: [{ username: 'korifi', password_hash: phc('korifi-pass') }] }
  }
  writeFileSync(file, JSON.stringify({ platforms }))
  const broker = await secure(t, {
    BROKER_PLATFORMS_FILE: file,
    BROKER_TLS_CERT: made.certFile,
    BROKER_TLS_KEY: made.keyFile,
    BROKER_TLS_CLIENT_CA: ca.certFile
  })
  const statusOf = async (certificate?: Certificate, header?: string) => {
    const { cert, key } = certificate ?? {}
    const identity = cert === undefined || key === undefined ? {} : { cert, key }
    const headers = header === undefined ? {} : { authorization: header }
    const { status, body } = await get(broker, { ca: made.cert, ...identity, headers })
    if (status === 401) assert.deepEqual(body, { description: 'The credentials are missing or wrong.' })
    return status
  }
  const cf = own('cf', '/OU=platforms/CN=cf-prod')
  const password = basic('korifi', 'korifi-pass')
  assert.equal(await statusOf(cf), 200)
  assert.equal(await statusOf(own('uri', '/CN=any', 'URI:spiffe://example/k8s')), 200)
  assert.equal(await statusOf(own('dns', '/CN=any', 'DNS:other.example.com,DNS:K8S.example.com')), 200)
  assert.equal(await statusOf(undefined, password), 200)
  assert.equal(await statusOf(), 401)
  assert.equal(await statusOf(own('stranger', '/CN=stranger')), 401)
  assert.equal(await statusOf(own('part', '/CN=cf-prod')), 401)
  assert.equal(await statusOf(own('text', '/CN=cf-prod,OU=platforms')), 401)
  const rogue = makeCertificate(folder, 'rogue', { subject: '/CN=ca' })
  assert.equal(await statusOf(own('forged', '/OU=platforms/CN=cf-prod', undefined, rogue)), 401)
  assert.equal(await statusOf(makeCertificate(folder, 'self', { subject: '/OU=platforms/CN=cf-prod' })), 401)
  // A header decides alone.
  assert.equal(await statusOf(cf, password), 200)
  assert.equal(await statusOf(cf, basic('korifi', 'wrong')), 401)
  assert.equal(await statusOf(cf, ''), 401)
  assert.equal(await statusOf(own('both', '/OU=platforms/CN=cf-prod', 'DNS:k8s.example.com')), 401)
  const ambiguous = /"platforms":\["cf","k8s"\],"msg":"a certificate fits several platforms/
  await until('it is told in the log', () => ambiguous.test(JSON.stringify(broker.log)))

  // Each is a tenant: what one has made, the other does not see.
  const { headers, ...rest } = { ca: made.cert, cert: cf.cert, key: cf.key, headers: {} }
  assert.equal(await provision(broker, { ...rest, headers }), 201)
  assert.equal(await provision(broker, { ca: made.cert, headers: { authorization: password } }), 409)
})

test('mutual TLS: a session that is resumed lets in whoever the first one did', async (t) => {
  const folder = temporaryFolder(t)
  const made = makeCertificate(folder, 'server', server)
  const ca = makeCertificate(folder, 'ca', { subject: '/CN=ca' })
  const file = join(folder, 'platforms.json')
  writeFileSync(file, JSON.stringify({ platforms: { cf: { certificate: [{ subject: 'CN=cf' }] } } }))
  const broker = await secure(t, {
    BROKER_PLATFORMS_FILE: file,
    BROKER_TLS_CERT: made.certFile,
    BROKER_TLS_KEY: made.keyFile,
    BROKER_TLS_CLIENT_CA: ca.certFile
  })
  const port = Number(new URL(broker.url).port)
  const statusesOf = async (identity: { cert?: string; key?: string }) => {
    const statuses: (string | undefined)[] = []
    let session: Buffer | undefined
    for (const isResumed of [false, true]) {
      const resumed = session === undefined ? {} : { session }
      const socket = connect({ port, host: '127.0.0.1', ca: made.cert, ...identity, ...resumed })
      socket.on('session', (ticket) => {
        session = ticket
      })
      await once(socket, 'secureConnect')
      assert.equal(socket.isSessionReused(), isResumed)
      socket.write('GET /v2/catalog HTTP/1.1\r\nHost: a\r\nX-Broker-API-Version: 2.17\r\nConnection: close\r\n\r\n')
      statuses.push(/^HTTP\/1\.1 (\d+) /.exec(await text(socket))?.[1])
    }
    return statuses
  }
  const { cert, key } = makeCertificate(folder, 'cf', { subject: '/CN=cf', issuer: ca })
  const forged = makeCertificate(folder, 'forged', { subject: '/CN=cf' })
  assert.deepEqual(await statusesOf({ cert, key }), ['200', '200'])
  assert.deepEqual(await statusesOf({}), ['401', '401'])
  assert.deepEqual(await statusesOf({ cert: forged.cert, key: forged.key }), ['401', '401'])

  // The CA is taken away: neither a new session nor one from before gets in.
  const socket = connect({ port, host: '127.0.0.1', ca: made.cert, cert, key })
  const [before]: Buffer[] = await once(socket, 'session')
  socket.destroy()
  writeFileSync(ca.certFile, makeCertificate(folder, 'next', { subject: '/CN=next' }).cert)
  const statusOf = async (more: object) => (await get(broker, { ca: made.cert, cert, key, ...more })).status
  await until('the new CA is in use', async () => (await statusOf({})) === 401)
  assert.equal(await statusOf({ session: before }), 401)
})

async function provision(broker: Broker, options: RequestOptions): Promise<number> {
  const body = { service_id: 'toy', plan_id: 'toy-plan', organization_guid: 'org', space_guid: 'space' }
  const headers = { 'x-broker-api-version': '2.17', 'content-type': 'application/json', ...options.headers }
  const url = `${broker.url}/v2/service_instances/i-1`
  const sent = request(url, { agent: false, ...options, method: 'PUT', headers }).end(JSON.stringify(body))
  const [reply] = await once(sent, 'response')
  await text(reply)
  return reply.statusCode
}
