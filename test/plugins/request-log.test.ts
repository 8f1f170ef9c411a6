import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import { openServiceBroker } from '../../src/app.ts'
import { serverOptions } from '../../src/server.ts'
import {
  bindBody,
  credentials,
  deleteQuery,
  headers,
  ids,
  pollUntilEnded,
  provisionBody,
  testCatalog
} from '../helper/app.ts'

const path = '/v2/service_instances/i-1'
const identity = {
  'x-broker-api-request-identity': 'request-1',
  'x-broker-api-originating-identity': `cloudfoundry ${Buffer.from('{"user_id":"user-1"}').toString('base64')}`
}

type Line = Record<string, unknown>

async function logging(t: TestContext, level: string) {
  const lines: Line[] = []
  const stream = { write: (line: string) => void lines.push(JSON.parse(line)) }
  const app = Fastify({ ...serverOptions, logger: { level, stream } })
  t.after(() => app.close())
  app.get('/host', async () => ({ hello: 'world' }))
  await app.register(openServiceBroker, { catalog: testCatalog(), auth: credentials })
  await app.ready()
  const answered = () => lines.filter(({ msg }) => msg === 'request completed')
  const send = (method: 'GET' | 'PUT' | 'DELETE', url: string, payload?: object) =>
    app.inject({ method, url, headers: { ...headers, ...identity }, ...(payload === undefined ? {} : { payload }) })
  return { app, lines, answered, send }
}

test('request log: at info one line for each mutation, with its ids, and none for reads', async (t) => {
  const { answered, send, lines } = await logging(t, 'info')
  await send('PUT', path, provisionBody())
  await send('GET', path)
  await send('GET', `${path}/last_operation`)
  await send('GET', '/v2/catalog')
  await send('GET', '/readyz')
  await send('PUT', `${path}/service_bindings/b-1`, bindBody())
  await send('DELETE', `${path}${deleteQuery()}`)
  const [provision, bind, deprovision, ...more] = answered()
  assert.deepEqual(more, [])
  assert.deepEqual(without(provision, 'time', 'pid', 'hostname', 'reqId', 'ms', 'operation'), {
    level: 30,
    msg: 'request completed',
    method: 'PUT',
    path,
    status: 201,
    requestIdentity: 'request-1',
    user: 'user-1',
    platform: 'default',
    instance: 'i-1'
  })
  assert.equal(typeof provision?.ms, 'number')
  assert.equal(typeof provision?.reqId, 'string')
  assert.match(String(provision?.operation), /^[0-9a-f-]{36}$/)
  assert.deepEqual([bind?.path, bind?.binding], [`${path}/service_bindings/b-1`, 'b-1'])
  assert.deepEqual([deprovision?.method, deprovision?.path, deprovision?.status], ['DELETE', path, 200])
  assert.ok(!lines.some(({ msg }) => msg === 'incoming request'))
})

test('request log: at debug reads are logged too', async (t) => {
  const { answered, send, lines } = await logging(t, 'debug')
  await send('GET', `${path}/last_operation`)
  await send('GET', '/v2/catalog')
  assert.deepEqual(
    answered().map(({ level, path, status }) => [level, path, status]),
    [
      [20, `${path}/last_operation`, 404],
      [20, '/v2/catalog', 200]
    ]
  )
  assert.equal(lines.filter(({ msg }) => msg === 'incoming request').length, 2)
})

test('request log: one that is refused before it is known who asks says what it was about', async (t) => {
  const { app, answered } = await logging(t, 'info')
  const payload = provisionBody()
  await app.inject({ method: 'PUT', url: path, headers: { ...identity, 'x-broker-api-version': '2.17' }, payload })
  const [line] = answered()
  assert.deepEqual([line?.status, line?.instance, line?.requestIdentity], [401, 'i-1', 'request-1'])
})

test('request log: the lines of background work have the ids of its request', async (t) => {
  const { app, send, lines, answered } = await logging(t, 'info')
  await send('PUT', `${path}?accepts_incomplete=true`, provisionBody(ids.plans.async))
  await pollUntilEnded(app, `${path}/last_operation`)
  const [request] = answered()
  const [ended] = lines.filter(({ msg }) => msg === 'provision succeeded')
  const expected = { requestIdentity: 'request-1', user: 'user-1', platform: 'default', instance: 'i-1' }
  assert.deepEqual(without(ended, 'time', 'pid', 'hostname', 'level', 'msg', 'operation'), expected)
  assert.equal(ended?.operation, request?.operation)
})

test('request log: no secret is in it at any level', async (t) => {
  const { send, lines } = await logging(t, 'trace')
  await send('PUT', path, provisionBody(ids.plans.sync, { parameters: { note: 'hush-parameter' } }))
  const bound = await send('PUT', `${path}/service_bindings/b-1`, bindBody())
  const log = JSON.stringify(lines)
  const [, basic = ''] = headers.authorization.split(' ')
  const issued = Object.values<string>(bound.json().credentials)
  assert.ok(issued.length > 0)
  for (const secret of [credentials.password, basic, 'hush-parameter', ...issued.filter((value) => value.length > 8)]) {
    assert.ok(!log.includes(secret), secret)
  }
})

test('request log: routes of a host are logged as Fastify does', async (t) => {
  const { app, lines } = await logging(t, 'info')
  await app.inject('/host')
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    ['incoming request', 'request completed']
  )
})

function without(line: Line | undefined, ...names: string[]): Line {
  return Object.fromEntries(Object.entries(line ?? {}).filter(([name]) => !names.includes(name)))
}
