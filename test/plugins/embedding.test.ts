import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import basicAuth from '@fastify/basic-auth'
import fastifyPostgres from '@fastify/postgres'
import Fastify, { type FastifyInstance, type FastifyRequest, type FastifyServerOptions } from 'fastify'
import pg from 'pg'
import { openServiceBroker } from '../../src/app.ts'
import {
  basic,
  headers,
  ids,
  newEncryptionKeys,
  provisionBody,
  testCatalog,
  credentials as usual
} from '../helper/app.ts'
import { testPostgres } from '../helper/postgres.ts'
import { ASYNC, accepted, answered, instancePath, Platform, refused, succeeded } from '../routes/support.ts'

const broker = { prefix: '/osb', catalog: testCatalog(), auth: usual }

function hostApp(t: TestContext, options: FastifyServerOptions = {}): FastifyInstance {
  const app = Fastify({ logger: false, ...options })
  t.after(() => app.close())
  return app
}

/** One instance's life on an embedded broker. */
async function worksAt(app: FastifyInstance, prefix = '/osb', own: Record<string, string> = headers): Promise<void> {
  const platform = new Platform(app, own, prefix)
  answered(await platform.get('/v2/catalog'), 200)
  answered(await platform.provision('i-1', provisionBody(ids.plans.sync, { parameters: { a: 5 } })), 201, {})
  answered(await platform.fetch('i-1'), 200, {
    service_id: ids.service,
    plan_id: ids.plans.sync,
    parameters: { a: 5 }
  })
  assert.ok(Object(answered(await platform.bind('i-1', 'b-1'), 201).credentials).password)
  refused(await platform.provision('i-2', { ...provisionBody(), organization_guid: 5 }), 400, /organization_guid/)
  refused(await platform.provision('i-2', provisionBody('unknown')), 400, /unknown/)
  refused(await platform.get('/v2/unknown'), 404, /\/v2\/unknown/)
  answered(await platform.deprovision('i-1'), 200, {})
}

test('embedding: routes beside the broker stay open, with their own validation, parsers and handlers', async (t) => {
  const app = hostApp(t)
  app.setErrorHandler((error, _request, reply) => reply.code(418).send({ host: String(error) }))
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ host: 'nothing here' }))
  app.addContentTypeParser('application/x-host', { parseAs: 'string' }, async (_request: unknown, body: string) => ({
    host: body
  }))
  app.post('/before', async ({ body }) => ({ body }))
  await app.register(openServiceBroker, broker)
  const schema = { body: { type: 'object', properties: { size: { type: 'integer' } }, additionalProperties: false } }
  app.post('/after', { schema }, async ({ body }) => ({ body }))
  app.get('/broken', async () => {
    throw new Error('broken')
  })
  await app.ready()

  const open = await app.inject({ method: 'POST', url: '/before', payload: { a: 1 } })
  assert.deepEqual([open.statusCode, open.json()], [200, { body: { a: 1 } }])
  // Fastify's defaults, coercion and removal of unknown fields, are the host's to have.
  const coerced = await app.inject({ method: 'POST', url: '/after', payload: { size: '5', other: 1 } })
  assert.deepEqual(coerced.json(), { body: { size: 5 } })
  const own = await app.inject({
    method: 'POST',
    url: '/before',
    payload: 'text',
    headers: { 'content-type': 'application/x-host' }
  })
  assert.deepEqual(own.json(), { body: { host: 'text' } })
  const broken = await app.inject('/broken')
  assert.deepEqual([broken.statusCode, broken.json()], [418, { host: 'Error: broken' }])
  const unknown = await app.inject('/unknown')
  assert.deepEqual([unknown.statusCode, unknown.json()], [404, { host: 'nothing here' }])
  assert.equal(unknown.headers['x-broker-api-request-identity'], undefined)
  await worksAt(app)
  refused(await app.inject('/osb/v2/catalog'), 401, /credentials/)
})

test('embedding: without a prefix the host’s own not-found handler answers', async (t) => {
  const app = hostApp(t)
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ host: 'nothing here' }))
  await app.register(openServiceBroker, { catalog: testCatalog(), auth: usual })
  app.get('/open', async () => ({ open: true }))
  assert.deepEqual((await app.inject('/unknown')).json(), { host: 'nothing here' })
  assert.deepEqual((await app.inject('/open')).json(), { open: true })
  answered(await app.inject({ url: '/v2/catalog', headers }), 200)
})

test('embedding: nothing leaks to the host, and the host’s decorators survive', async (t) => {
  const app = hostApp(t)
  const decorators = { store: 'host store', config: { host: true }, db: 'host db' }
  for (const [name, value] of Object.entries(decorators)) app.decorate<unknown>(name, value)
  app.decorateRequest('platform', 'host')
  await app.register(openServiceBroker, broker)
  await app.ready()
  for (const name of ['osbStorage', 'osbLifecycle', 'basicAuth', 'pg'])
    assert.equal(app.hasDecorator(name), false, name)
  for (const name of ['osbCall', 'osbPlatform', 'osbMinor']) assert.equal(app.hasRequestDecorator(name), false, name)
  for (const [name, value] of Object.entries(decorators)) assert.equal(app.getDecorator(name), value)
  await worksAt(app)
})

test('embedding: a host that uses @fastify/basic-auth itself keeps it, beside the broker’s', async (t) => {
  const app = hostApp(t)
  await app.register(basicAuth, {
    // biome-ignore lint/complexity/useMaxParams: the signature is @fastify/basic-auth's
    validate: (username, password, _request, _reply, done) =>
      done(username === 'host' && password === 'host' ? undefined : new Error('not the host'))
  })
  const ofHost = app.basicAuth
  await app.register(openServiceBroker, broker)
  app.get('/private', { onRequest: app.basicAuth }, async () => ({ private: true }))
  await app.ready()
  assert.equal(app.basicAuth, ofHost)
  assert.equal((await app.inject({ url: '/private', headers })).statusCode, 401)
  const authorization = basic('host', 'host')
  assert.deepEqual((await app.inject({ url: '/private', headers: { authorization } })).json(), { private: true })
  refused(await app.inject({ url: '/osb/v2/catalog', headers: { ...headers, authorization } }), 401, /credentials/)
  await worksAt(app)
})

test('embedding: a host’s decorator named basicAuth that is not a plugin’s survives', async (t) => {
  const app = hostApp(t)
  app.decorate('basicAuth', () => assert.fail('the broker called the host'))
  await app.register(openServiceBroker, broker)
  await app.ready()
  await worksAt(app)
})

test('embedding: two brokers under two prefixes have their own credentials, catalogs and instances', async (t) => {
  const app = hostApp(t)
  const { services } = testCatalog()
  await app.register(openServiceBroker, { ...broker, prefix: '/one', catalog: { services: services.slice(0, 1) } })
  await app.register(openServiceBroker, {
    prefix: '/two',
    catalog: testCatalog(),
    auth: { username: 'two', password: 'two' },
    missingVersionStatus: 400
  })
  const one = new Platform(app, headers, '/one')
  const own = { ...headers, authorization: basic('two', 'two') }
  const two = new Platform(app, own, '/two')
  refused(await new Platform(app, own, '/one').get('/v2/catalog'), 401, /credentials/)
  refused(await new Platform(app, headers, '/two').get('/v2/catalog'), 401, /credentials/)
  const offered = async (platform: Platform) => {
    const { services: served } = answered(await platform.get('/v2/catalog'), 200)
    return Array.isArray(served) ? served.length : 0
  }
  assert.deepEqual([await offered(one), await offered(two)], [1, 2])
  answered(await one.provision('i-1'), 201)
  refused(await two.fetch('i-1'), 404, /"i-1"/)
  answered(await two.provision('i-1', provisionBody(ids.plans.other, { service_id: ids.other })), 201)
  answered(await one.fetch('i-1'), 200, { service_id: ids.service, plan_id: ids.plans.sync })
  const { authorization } = own
  assert.equal((await app.inject({ url: '/two/v2/catalog', headers: { authorization } })).statusCode, 400)
  assert.equal(
    (await app.inject({ url: '/one/v2/catalog', headers: { authorization: headers.authorization } })).statusCode,
    412
  )
})

test('embedding: the host’s Ajv options and compilers have no effect', async (t) => {
  const app = hostApp(t, {
    ajv: { customOptions: { coerceTypes: 'array', removeAdditional: 'all', useDefaults: true, allErrors: true } }
  })
  await app.register(openServiceBroker, broker)
  await worksAt(app)

  const other = hostApp(t)
  other.setValidatorCompiler(() => () => ({ error: new Error('the host refuses') }))
  await other.register(openServiceBroker, broker)
  await worksAt(other)
})

test('embedding: the host’s serializers and error formatter have no effect', async (t) => {
  const compiled = hostApp(t)
  compiled.setSerializerCompiler(() => () => '{"of":"the host"}')
  await compiled.register(openServiceBroker, broker)
  await worksAt(compiled)

  const replied = hostApp(t)
  replied.setReplySerializer(() => '{"of":"the host"}')
  await replied.register(openServiceBroker, broker)
  await worksAt(replied)

  const formatted = hostApp(t)
  formatted.setSchemaErrorFormatter(() => new Error('of the host'))
  await formatted.register(openServiceBroker, broker)
  await worksAt(formatted)
})

test('embedding: auth false leaves the authentication to the host, the version check stays', async (t) => {
  const app = hostApp(t)
  await app.register(openServiceBroker, { ...broker, auth: false })
  const version = { 'x-broker-api-version': '2.17' }
  await worksAt(app, '/osb', version)
  refused(await app.inject('/osb/v2/catalog'), 412, /X-Broker-API-Version/)
})

test('embedding: a function of the host names the platform of each request, and those of nobody are refused', async (t) => {
  const app = hostApp(t)
  const auth = async ({ headers }: FastifyRequest) => {
    if (headers.authorization === 'broken') throw new Error('the directory of platforms is away')
    return new Map([
      ['token-a', 'a'],
      ['token-b', 'b'],
      ['nameless', '']
    ]).get(headers.authorization ?? '')
  }
  await app.register(openServiceBroker, { ...broker, auth })
  const as = (authorization: string) => ({ authorization, 'x-broker-api-version': '2.17' })
  const url = '/osb/v2/service_instances/i-1'
  const made = await app.inject({ method: 'PUT', url, headers: as('token-a'), payload: provisionBody() })
  assert.equal(made.statusCode, 201)
  assert.equal((await app.inject({ url, headers: as('token-a') })).statusCode, 200)
  refused(await app.inject({ url, headers: as('token-b') }), 404, /"i-1"/)
  for (const nobody of ['', 'nameless', 'other']) refused(await app.inject({ url, headers: as(nobody) }), 401, /./)
  refused(await app.inject({ url, headers: as('broken') }), 500, /^The broker failed/)
  assert.equal((await app.inject('/osb/healthz')).statusCode, 200)
})

test('embedding: a catalog with a fault keeps the app from booting and names the place', async (t) => {
  const app = hostApp(t)
  const { services } = testCatalog()
  const catalog = { services: services.map((service) => ({ ...service, id: 'same' })) }
  await assert.rejects(async () => {
    await app.register(openServiceBroker, { ...broker, catalog })
  }, /services\[1/)
})

test('embedding: a retention of the audit that is no number of days keeps the app from booting', async (t) => {
  for (const auditRetentionDays of [0, 1.5, Number.NaN, 36_501]) {
    const app = hostApp(t)
    const message = `auditRetentionDays is ${auditRetentionDays}: it must be a whole number from 1 to 36500.`
    await assert.rejects(async () => {
      await app.register(openServiceBroker, { ...broker, auditRetentionDays })
    }, new Error(message))
  }
})

test('embedding: options are not changed, and serve again', async (t) => {
  const catalog = testCatalog()
  const options = { ...broker, catalog, store: 'memory' as const }
  const before = structuredClone(options)
  for (let again = 0; again < 2; again += 1) {
    const app = hostApp(t)
    await app.register(openServiceBroker, options)
    await worksAt(app)
  }
  assert.deepEqual(options, before)
})

test('embedding: an injected pool is used, and stays usable after the app has closed', async (t) => {
  const connectionString = await (await testPostgres()).createDatabase()
  const pool = new pg.Pool({ connectionString, max: 5 })
  t.after(() => pool.end())
  const encryptionKeys = newEncryptionKeys()
  const app = hostApp(t)
  await app.register(openServiceBroker, { ...broker, store: { pool }, encryptionKeys })
  await worksAt(app)
  const platform = new Platform(app, headers, '/osb')
  const operation = accepted(await platform.provision('i-9', provisionBody(ids.plans.either), ASYNC))
  answered(await platform.ended(instancePath('i-9'), operation), 200, succeeded)
  await app.close()
  assert.equal(pool.ended, false)
  assert.deepEqual((await pool.query('SELECT 1 AS one')).rows, [{ one: 1 }])

  // Another broker on the same pool, of a host with @fastify/postgres, finds what the first one made.
  const next = hostApp(t)
  await next.register(fastifyPostgres, { connectionString })
  await next.register(openServiceBroker, { ...broker, store: { pool: next.pg.pool }, encryptionKeys })
  const again = new Platform(next, headers, '/osb')
  answered(await again.fetch('i-9'), 200, { service_id: ids.service, plan_id: ids.plans.either })
  answered(await again.poll(instancePath('i-9'), operation), 200, succeeded)
})
