import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { readEnvironment } from '../../src/config.ts'
import { startBroker } from '../../src/server.ts'
import { buildApp, headers, ids, provisionBody, testStores } from '../helper/app.ts'
import { answered, onePlatform, Platform, refused } from './support.ts'

const url = '/v2/service_instances/i-1'
const json = { ...headers, 'content-type': 'application/json' }
const deletion = `?service_id=${ids.service}&plan_id=${ids.plans.sync}`

interface Raw {
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: string
}

/** A broker that listens, and a way to send it bytes that no client would. */
async function listening(t: TestContext): Promise<{ app: FastifyInstance; raw: (text: string) => Promise<Raw> }> {
  const app = await buildApp(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const address = app.server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { app, raw: (text) => exchange(address.port, text) }
}

function exchange(port: number, text: string): Promise<Raw> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(port, '127.0.0.1', () => socket.write(Buffer.from(text, 'latin1')))
    socket.setTimeout(10_000, () => socket.destroy(new Error('no answer within 10 s')))
    socket.on('data', (chunk) => chunks.push(chunk))
    // A server that has answered may reset a connection that still sends.
    socket.on('error', (error) => (chunks.length > 0 ? finish() : reject(error)))
    socket.on('end', finish)
    function finish() {
      const all = Buffer.concat(chunks).toString('utf8')
      const [head = '', ...rest] = all.split('\r\n\r\n')
      const [first = '', ...lines] = head.split('\r\n')
      const fields = lines.map((line) => [
        line.split(':')[0]?.toLowerCase() ?? '',
        line.split(': ').slice(1).join(': ')
      ])
      socket.destroy()
      resolve({ status: Number(first.split(' ')[1]), headers: Object.fromEntries(fields), body: rest.join('\r\n\r\n') })
    }
  })
}

function head(line: string, more: Record<string, string | number> = {}): string {
  const all = { host: 'broker', connection: 'close', ...headers, ...more }
  return `${line} HTTP/1.1\r\n${Object.entries(all)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n`
}

function rawRefused({ status, headers, body }: Raw, expected: number, description: RegExp): void {
  assert.equal(status, expected, body)
  assert.match(String(headers['content-type']), /^application\/json/)
  assert.match(JSON.parse(body).description, description)
}

async function put(app: FastifyInstance, payload: string, own: Record<string, string> = json, path = url) {
  return app.inject({ method: 'PUT', url: path, headers: own, payload })
}

/** Nothing was made, and the broker still works. */
async function unharmed(app: FastifyInstance): Promise<void> {
  const platform = new Platform(app)
  refused(await platform.fetch('i-1'), 404, /"i-1"/)
  refused(await platform.poll(url), 404, /no operation/)
  answered(await platform.get('/v2/catalog'), 200)
}

test('PUT instance: bodies that are no JSON object answer 400 that says so', async (t) => {
  const app = await buildApp(t)
  const bodies: [string, RegExp][] = [
    ['', /body must be object/],
    ['   ', /body must be object/],
    ['{', /not valid JSON/],
    ['{"service_id": }', /not valid JSON/],
    ["{'service_id': 1}", /not valid JSON/],
    ['{} {}', /not valid JSON/],
    ['undefined', /not valid JSON/],
    ['{"a": NaN}', /not valid JSON/],
    ['null', /body must be object/],
    ['5', /body must be object/],
    ['"text"', /body must be object/],
    ['true', /body must be object/],
    ['[]', /body must be object/],
    [JSON.stringify([provisionBody()]), /body must be object/]
  ]
  for (const [body, says] of bodies) refused(await put(app, body), 400, says)
  await unharmed(app)
})

test('PUT, PATCH: fields of another type are never coerced and answer 400 that names them', async (t) => {
  const platform = await onePlatform(t)
  const wrong: [string, unknown][] = [
    ['service_id', 5],
    ['service_id', null],
    ['service_id', ''],
    ['service_id', [ids.service]],
    ['plan_id', true],
    ['plan_id', {}],
    ['organization_guid', 0],
    ['organization_guid', ''],
    ['organization_guid', null],
    ['space_guid', ''],
    ['space_guid', false],
    ['parameters', null],
    ['parameters', '{}'],
    ['parameters', []],
    ['context', null],
    ['context', 'text'],
    ['maintenance_info', null],
    ['maintenance_info', '1.0.0'],
    ['maintenance_info', { version: 1 }],
    ['maintenance_info', { version: null }]
  ]
  for (const [name, value] of wrong) {
    refused(await platform.provision('i-1', { ...provisionBody(), [name]: value }), 400, new RegExp(name))
  }
  for (const name of ['service_id', 'plan_id', 'organization_guid', 'space_guid']) {
    refused(await platform.provision('i-1', { ...provisionBody(), [name]: undefined }), 400, new RegExp(name))
  }
  await unharmed(platform.app)

  answered(await platform.provision('i-1', provisionBody(ids.plans.sync, { parameters: { a: 1 } })), 201)
  for (const [name, value] of wrong) {
    if (['organization_guid', 'space_guid'].includes(name)) continue
    refused(await platform.update('i-1', { parameters: { a: 2 }, [name]: value }), 400, new RegExp(name))
  }
  refused(await platform.update('i-1', { previous_values: 'none' }), 400, /previous_values/)
  refused(await platform.send('PATCH', url, { parameters: { a: 2 } }), 400, /service_id/)
  const binds: [string, unknown][] = [
    ['service_id', 5],
    ['plan_id', null],
    ['app_guid', 5],
    ['app_guid', ''],
    ['bind_resource', 'app'],
    ['bind_resource', { app_guid: 5 }],
    ['bind_resource', { route: null }],
    ['parameters', 'x'],
    ['context', []],
    ['predecessor_binding_id', '']
  ]
  for (const [name, value] of binds) {
    const body = { service_id: ids.service, plan_id: ids.plans.sync, [name]: value }
    refused(await platform.bind('i-1', 'b-1', body), 400, new RegExp(name))
  }
  refused(await platform.fetchBinding('i-1', 'b-1'), 404, /"b-1"/)
  assert.deepEqual(answered(await platform.fetch('i-1'), 200).parameters, { a: 1 })
})

test('PUT instance: another content type answers 400; none at all is tried as JSON', async (t) => {
  const { app, raw } = await listening(t)
  const body = JSON.stringify(provisionBody())
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonx', 'text/json', 'x']) {
    refused(await put(app, body, { ...headers, 'content-type': type }), 400, /[Cc]ontent.type|[Mm]edia [Tt]ype/)
  }
  refused(
    await put(app, body, { ...headers, 'content-type': 'multipart/form-data; boundary=x' }),
    400,
    /content type must be application\/json/
  )
  await unharmed(app)
  const none = await raw(head(`PUT ${url}`, { 'content-length': body.length }) + body)
  assert.deepEqual([none.status, none.body], [201, '{}'])
  rawRefused(await raw(`${head('PUT /v2/service_instances/i-2', { 'content-length': 1 })}{`), 400, /not valid JSON/)
  for (const type of [
    'application/json; charset=utf-8',
    'APPLICATION/JSON',
    'application/json;charset=UTF-8',
    'application/merge-patch+json'
  ]) {
    answered(await put(app, body, { ...headers, 'content-type': type }), 200, {})
  }
})

test('GET, DELETE: a JSON content type without a body is taken, as Korifi sends it', async (t) => {
  const { app, raw } = await listening(t)
  answered(await put(app, JSON.stringify(provisionBody())), 201)
  for (const length of [{}, { 'content-length': 0 }]) {
    const type = { 'content-type': 'application/json', ...length }
    assert.equal((await raw(head('GET /v2/catalog', type))).status, 200)
    assert.equal((await raw(head(`GET ${url}`, type))).status, 200)
    assert.equal((await raw(head(`GET ${url}/last_operation`, type))).status, 200)
    const gone = await raw(head(`DELETE ${url}/service_bindings/b-1${deletion}`, type))
    rawRefused(gone, 410, /does not exist/)
  }
  const chunked = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' }
  const deleted = await raw(`${head(`DELETE ${url}${deletion}`, chunked)}0\r\n\r\n`)
  assert.deepEqual([deleted.status, deleted.body], [200, '{}'])
})

test('any route: ids that cannot be are answered 4xx with a description, over real HTTP', async (t) => {
  const { app, raw } = await listening(t)
  const body = JSON.stringify(provisionBody())
  const long = (length: number) => 'x'.repeat(length)
  const cases: [string, number, RegExp][] = [
    [long(256), 400, /instance_id|255/],
    [long(300), 400, /instance_id|255/],
    [long(5_000), 400, /./],
    ['%zz', 400, /./],
    ['%ff', 400, /./],
    ['%', 400, /./],
    ['%c3%28', 400, /./],
    ['%ed%a0%80', 400, /./],
    ['%00', 400, /U\+0000/],
    ['a%00b', 400, /U\+0000/]
  ]
  for (const [id, status, says] of cases) {
    const path = `/v2/service_instances/${id}`
    const withBody = { 'content-type': 'application/json', 'content-length': body.length }
    rawRefused(await raw(head(`PUT ${path}`, withBody) + body), status, says)
    rawRefused(await raw(head(`GET ${path}`)), status, says)
    rawRefused(await raw(head(`DELETE ${path}${deletion}`)), status, says)
    rawRefused(await raw(head(`GET ${path}/last_operation`)), status, says)
    rawRefused(await raw(head(`PUT ${url}/service_bindings/${id}`, withBody) + body), status, says)
  }
  for (const path of ['/v2/service_instances/', '/v2/service_instances//last_operation']) {
    const { status, body: answer } = await raw(head(`GET ${path}`))
    assert.ok(status === 400 || status === 404, `${path} ${status}`)
    assert.ok(JSON.parse(answer).description, answer)
  }
  // Ids at the limit, and ids that look like paths, are ids.
  for (const id of [long(255), '..%2f..%2fetc', '%E2%9C%93', 'a\'b"c;--', '__proto__', 'constructor']) {
    const path = `/v2/service_instances/${id.replaceAll('"', '%22')}`
    const withBody = { 'content-type': 'application/json', 'content-length': body.length }
    assert.equal((await raw(head(`PUT ${path}`, withBody) + body)).status, 201, id)
    assert.equal((await raw(head(`GET ${path}`))).status, 200, id)
    assert.equal((await raw(head(`DELETE ${path}${deletion}`))).status, 200, id)
  }
  await unharmed(app)
})

for (const testStore of testStores) {
  test(`any route: NUL and lone surrogates, on ${testStore}, answer 400 wherever they are`, async (t) => {
    const { app } = await onePlatform(t, { testStore })
    const bad = ['\\u0000', 'a\\u0000b', '\\ud800', '\\udc00x', 'x\\ud800\\ud800']
    for (const text of bad) {
      const bodies = [
        JSON.stringify(provisionBody(ids.plans.sync, { parameters: { a: '?' } })),
        JSON.stringify(provisionBody(ids.plans.sync, { parameters: { a: [{ '?': 1 }] } })),
        JSON.stringify(provisionBody(ids.plans.sync, { context: { '?': {} } })),
        JSON.stringify({ ...provisionBody(), organization_guid: '?' }),
        JSON.stringify({ ...provisionBody(), service_id: '?' }),
        JSON.stringify({ ...provisionBody(), unknown: '?' })
      ]
      for (const body of bodies) {
        refused(await put(app, body.replace('?', text)), 400, /NUL character or a lone surrogate/)
      }
    }
    for (const query of ['?service_id=%00&plan_id=x', '?service_id=a&plan_id=a%00']) {
      refused(await app.inject({ method: 'DELETE', url: `${url}${query}`, headers }), 400, /NUL/)
    }
    await unharmed(app)
  })

  test(`PUT instance: originating identities, on ${testStore}, are taken or answered 400, never 500`, async (t) => {
    const { app } = await onePlatform(t, { testStore })
    const encode = (text: string) => Buffer.from(text).toString('base64')
    const body = JSON.stringify(provisionBody())
    const nested = `{"a":${'['.repeat(5_000)}${']'.repeat(5_000)}}`
    const wrong = [
      'cloudfoundry',
      'cloudfoundry !!!',
      `cloudfoundry ${encode('not json')}`,
      `cloudfoundry ${encode('[]')}`,
      `cloudfoundry ${encode('"text"')}`,
      `cloudfoundry ${encode('null')}`,
      `cloudfoundry ${encode('{"user_id":"a\\u0000"}')}`,
      `cloudfoundry ${encode('{"user_id":"a\\ud800"}')}`,
      `cloudfoundry ${encode('{"\\udc00":1}')}`,
      `cloudfoundry ${encode('{}')} more`,
      `cloudfoundry ${encode(nested)}`,
      encode('{}')
    ]
    for (const header of wrong) {
      const own = { ...json, 'x-broker-api-originating-identity': header }
      refused(await put(app, body, own), 400, /X-Broker-API-Originating-Identity/)
    }
    await unharmed(app)
    for (const header of ['', `cloudfoundry ${encode('{"user_id":"ü"}')}`, `x ${encode('{}')}`]) {
      const reply = await put(app, body, { ...json, 'x-broker-api-originating-identity': header })
      assert.ok(reply.statusCode === 200 || reply.statusCode === 201, reply.body)
    }
  })
}

test('PUT instance: a body over 1 MiB answers 413, over real HTTP; one just below is taken', async (t) => {
  const { app, raw } = await listening(t)
  const bodyOf = (size: number) => {
    const empty = JSON.stringify(provisionBody(ids.plans.sync, { parameters: { text: '' } }))
    return empty.replace('"text":""', `"text":"${'x'.repeat(size - empty.length)}"`)
  }
  const type = { 'content-type': 'application/json' }
  const large = bodyOf(1024 * 1024 + 1)
  rawRefused(await raw(head(`PUT ${url}`, { ...type, 'content-length': large.length }) + large), 413, /too large/)
  const chunk = `${large.length.toString(16)}\r\n${large}\r\n0\r\n\r\n`
  rawRefused(await raw(head(`PUT ${url}`, { ...type, 'transfer-encoding': 'chunked' }) + chunk), 413, /too large/)
  await unharmed(app)
  answered(await put(app, bodyOf(1024 * 1024)), 201, {})
})

test('PUT instance: JSON that nests too deep answers 400', async (t) => {
  const app = await buildApp(t)
  const nest = (depth: number, [open, close]: [string, string] = ['[', ']']) =>
    JSON.stringify(provisionBody(ids.plans.sync, { parameters: { a: '?' } })).replace(
      '"?"',
      `${open.repeat(depth)}1${close.repeat(depth)}`
    )
  for (const depth of [65, 1_000, 100_000]) {
    refused(await put(app, nest(depth)), 400, /nests deeper/)
    refused(await put(app, nest(depth, ['{"a":', '}'])), 400, /nests deeper/)
  }
  refused(await put(app, '['.repeat(500_000)), 400, /not valid JSON|nests deeper/)
  await unharmed(app)
  answered(await put(app, nest(50)), 201, {})
  answered(await put(app, nest(50)), 200, {})
})

test('PUT, PATCH: integers beyond 2^53 - 1 answer 400 that says where, what was sent and what is allowed', async (t) => {
  const platform = await onePlatform(t)
  const { app } = platform
  const withNumber = (number: string, body: object = provisionBody()) =>
    JSON.stringify({ ...body, parameters: { size: '?' } }).replace('"?"', number)
  const allowed = 'an integer must be from -9007199254740991 to 9007199254740991'
  // 2^53 and 2^60 survive the rounding, but the next larger integer is read as the same number.
  const beyond = ['9007199254740992', '9007199254740993', '-9007199254740992', '1152921504606846976', '9'.repeat(300)]
  for (const number of beyond) {
    const says = new RegExp(`^body/parameters/size is ${number.slice(0, 200)}…?: ${allowed}`)
    refused(await put(app, withNumber(number)), 400, says)
  }
  const nested = JSON.stringify(provisionBody(ids.plans.sync, { context: { 'a/b': [{ id: 0 }, { id: '?' }] } }))
  refused(await put(app, nested.replace('"?"', '12345678901234567890')), 400, /^body\/context\/a~1b\/1\/id is 123/)
  refused(await put(app, '9007199254740993'), 400, /^body is 9007199254740993: /)
  const key = 'k'.repeat(100_000)
  const longKey = JSON.stringify(provisionBody(ids.plans.sync, { parameters: { [key]: '?' } }))
  refused(
    await put(app, longKey.replace('"?"', '9007199254740993')),
    400,
    /^body\/parameters\/k+… is 9007199254740993: /
  )
  await unharmed(app)

  const exact = [
    '9007199254740991',
    '-9007199254740991',
    '1e300',
    '0.1234567890123456789',
    '-9007199254740993.5',
    '1e16'
  ]
  for (const [index, number] of [...exact, '"9007199254740993"'].entries()) {
    const path = `/v2/service_instances/exact-${index}`
    answered(await put(app, withNumber(number), json, path), 201)
    assert.deepEqual(answered(await platform.fetch(`exact-${index}`), 200).parameters, { size: JSON.parse(number) })
  }
  const update = withNumber('9007199254740993', { service_id: ids.service })
  const path = '/v2/service_instances/exact-0'
  const patched = await app.inject({ method: 'PATCH', url: path, headers: json, payload: update })
  refused(patched, 400, /^body\/parameters\/size is 9007199254740993: /)
  const bind = withNumber('9007199254740993', { service_id: ids.service, plan_id: ids.plans.sync })
  refused(await put(app, bind, json, `${path}/service_bindings/b-1`), 400, /^body\/parameters\/size is 9007/)
  assert.deepEqual(answered(await platform.fetch('exact-0'), 200).parameters, { size: 9_007_199_254_740_991 })
})

test('PUT instance: `__proto__` as a field answers 400 and pollutes nothing', async (t) => {
  const app = await buildApp(t)
  const body = JSON.stringify(provisionBody(ids.plans.sync, { parameters: { a: '?' } }))
  refused(await put(app, body.replace('"?"', '{"__proto__":{"polluted":true}}')), 400, /__proto__/)
  refused(await put(app, body.replace('{', '{"__proto__":{"polluted":true},')), 400, /__proto__/)
  refused(await put(app, body.replace('"?"', '{"\\u005f_proto__":1}')), 400, /__proto__/)
  await unharmed(app)
  const constructed = body.replace('"?"', '{"constructor":{"prototype":{"polluted":true}}}')
  const reply = await put(app, constructed)
  assert.ok(reply.statusCode === 201 || reply.statusCode === 400, reply.body)
  assert.equal(Object.getOwnPropertyDescriptor(Object.prototype, 'polluted'), undefined)
})

test('any route: huge strings answer 400 with a description below 8 kB', async (t) => {
  const platform = await onePlatform(t)
  const huge = 'x'.repeat(500_000)
  refused(await platform.provision('i-1', provisionBody(huge)), 400, /plan/)
  refused(await platform.provision('i-1', { ...provisionBody(), service_id: huge }), 400, /service/)
  refused(await platform.update('i-1', { service_id: huge }), 400, /service/)
  refused(await platform.bind('i-1', 'b-1', { service_id: huge, plan_id: huge }), 400, /service/)
  answered(await platform.provision('i-1'), 201)
  refused(await platform.update('i-1', { service_id: ids.other, plan_id: huge }), 400, /plan/)
  refused(await platform.bind('i-1', 'b-1', { predecessor_binding_id: huge }), 400, /predecessor/)
  refused(await platform.deprovision('i-1', `?service_id=${huge.slice(0, 12_000)}&plan_id=x`), 400, /service/)
  answered(await platform.fetch('i-1'), 200)
})

test('any route: bad and repeated query parameters answer 400 that names them', async (t) => {
  const platform = await onePlatform(t)
  for (const value of ['yes', '1', '0', 'TRUE', '', 'null', 'true&accepts_incomplete=true']) {
    const query = `?accepts_incomplete=${value}`
    refused(await platform.provision('i-1', provisionBody(), query), 400, /accepts_incomplete/)
  }
  await unharmed(platform.app)
  answered(await platform.provision('i-1', provisionBody(), '?accepts_incomplete=true&unknown=1&unknown=2'), 201)
  const service = `service_id=${ids.service}`
  const plan = `plan_id=${ids.plans.sync}`
  refused(await platform.deprovision('i-1', `?${service}&${service}&${plan}`), 400, /service_id/)
  refused(await platform.deprovision('i-1', `?${service}&${plan}&${plan}`), 400, /plan_id/)
  refused(await platform.get(`${url}?${service}&${service}`), 400, /service_id/)
  refused(await platform.get(`${url}/last_operation?operation=a&operation=b`), 400, /operation/)
  refused(await platform.deprovision('i-1', '?__proto__=1'), 400, /__proto__/)
  answered(await platform.fetch('i-1'), 200)
})

test('any route: unknown paths answer 404 with a description below the prefix', async (t) => {
  const app = await buildApp(t, { prefix: '/osb' })
  for (const path of ['/osb/v2/unknown', '/osb/v3/catalog', '/osb/', '/osb/v2/service_instances/i-1/unknown']) {
    const reply = await app.inject({ url: path, headers })
    refused(reply, 404, new RegExp(`no GET ${path}`))
  }
  refused(await app.inject({ url: `/osb/${'x'.repeat(12_000)}`, headers }), 404, /no GET/)
})

test('any route: unknown paths of a server of our own answer 404 with a description', async (t) => {
  const broker = await startBroker(
    readEnvironment({
      BROKER_STORAGE: 'memory',
      BROKER_PORT: '0',
      BROKER_USERNAME: 'admin',
      BROKER_PASSWORD: 'secret',
      BROKER_DEFAULT_PROVIDER: 'example',
      BROKER_CATALOG_PATH: `${import.meta.dirname}/../fixtures/seed-catalog.yaml`,
      LOG_LEVEL: 'silent'
    })
  )
  t.after(() => broker.stop())
  const identity = { 'x-broker-api-request-identity': 'one' }
  const reply = await fetch(`${broker.url}/v2/unknown`, { headers: identity })
  assert.equal(reply.status, 404)
  assert.match(String(reply.headers.get('content-type')), /^application\/json/)
  const body = await reply.json()
  assert.match(String(Object(body).description), /\/v2\/unknown/)
  assert.ok(Object(body).error === undefined || /^[A-Za-z]+$/.test(Object(body).error), JSON.stringify(body))
  assert.equal(reply.headers.get('x-broker-api-request-identity'), 'one')
})

test('PUT instance: a body that is not valid UTF-8 answers 400', async (t) => {
  const { app, raw } = await listening(t)
  const body = JSON.stringify(provisionBody(ids.plans.sync, { parameters: { a: '?' } }))
  const invalid = body.replace('?', '\xff\xfe')
  const type = { 'content-type': 'application/json', 'content-length': body.length + 1 }
  const { status, body: answer } = await raw(head(`PUT ${url}`, type) + invalid)
  assert.equal(status, 400, answer)
  assert.ok(JSON.parse(answer).description)
  await unharmed(app)
})
