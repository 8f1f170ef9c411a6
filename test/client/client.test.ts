import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type TestContext, test } from 'node:test'
import {
  BrokerUnreachable,
  httpTransport,
  injectTransport,
  OperationFailed,
  OperationTimeout,
  OsbClient,
  OsbError,
  UnexpectedAnswer,
  waitForOperation
} from '../../src/client/index.ts'
import { retryAfterMs } from '../../src/client/retry-after.ts'
import { bindBody, buildApp, credentials, ids, provisionBody } from '../helper/app.ts'

const planIds = (plan_id: string) => ({ service_id: ids.service, plan_id })

async function clientOf(t: TestContext, more: object = {}) {
  return new OsbClient({ transport: injectTransport(await buildApp(t)), ...credentials, ...more })
}

for (const over of ['inject', 'HTTP'] as const) {
  test(`OsbClient over ${over}: the whole life of an instance and a binding`, async (t) => {
    const app = await buildApp(t)
    const transport =
      over === 'inject'
        ? injectTransport(app)
        : httpTransport({ url: `${await app.listen({ host: '127.0.0.1', port: 0 })}/` })
    const client = new OsbClient({ transport, ...credentials })
    const { services } = await client.catalog()
    assert.deepEqual(
      services.map(({ id }) => id),
      [ids.service, ids.other]
    )

    const instanceId = 'a/b ü+%'
    const both = { instanceId, bindingId: 'c?d' }
    const provisioned = await client.provision(instanceId, provisionBody(ids.plans.async))
    assert.equal(provisioned.status, 202)
    const polls: string[] = []
    const { operation } = provisioned
    await waitForOperation(client, { instanceId }, { operation, onPoll: ({ state }) => polls.push(state) })
    assert.equal(polls.at(-1), 'succeeded')
    assert.deepEqual(await client.fetchInstance(instanceId), planIds(ids.plans.async))

    const updated = await client.update(
      instanceId,
      { service_id: ids.service, plan_id: ids.plans.sync },
      { acceptsIncomplete: false }
    )
    assert.deepEqual([updated.status, updated.operation], [200, undefined])

    const bound = await client.bind(both, bindBody(ids.plans.sync))
    assert.equal(bound.status, 201)
    assert.deepEqual((await client.fetchBinding(both)).credentials, bound.body.credentials)
    const rotated = await client.bind({ instanceId, bindingId: 'e' }, { predecessor_binding_id: both.bindingId })
    assert.equal(rotated.status, 201)

    assert.equal((await client.unbind(both, planIds(ids.plans.sync))).status, 200)
    assert.equal((await client.deprovision(instanceId, planIds(ids.plans.sync))).status, 200)
    await assert.rejects(client.deprovision(instanceId, planIds(ids.plans.sync)), { name: 'OsbError', status: 410 })
  })
}

test('OsbClient: a refusal carries status, code and description', async (t) => {
  const client = await clientOf(t)
  const refusal = client.provision('i', provisionBody(ids.plans.async), { acceptsIncomplete: false })
  await assert.rejects(refusal, (error) => {
    assert.ok(error instanceof OsbError)
    assert.deepEqual([error.status, error.details.error], [422, 'AsyncRequired'])
    assert.match(error.message, /requires client support for asynchronous/)
    return true
  })
  const stranger = new OsbClient({ transport: injectTransport(await buildApp(t)), username: 'x', password: 'y' })
  await assert.rejects(stranger.catalog(), { name: 'OsbError', status: 401 })
})

test('OsbClient: sends version, identities and a request identity of its own each time', async (t) => {
  const seen: Record<string, unknown>[] = []
  const url = await serve(t, (request, response) => {
    seen.push(request.headers)
    response.end('{"services":[]}')
  })
  const originatingIdentity = { platform: 'osb', value: { user: 'Zoë' } }
  const client = new OsbClient({ transport: httpTransport({ url }), apiVersion: '2.14', originatingIdentity })
  await client.catalog()
  await client.catalog()
  const [first, second] = seen
  assert.equal(first?.['x-broker-api-version'], '2.14')
  assert.equal(first?.authorization, undefined)
  const [platform, value = ''] = String(first?.['x-broker-api-originating-identity']).split(' ')
  assert.deepEqual([platform, JSON.parse(Buffer.from(value, 'base64').toString())], ['osb', { user: 'Zoë' }])
  assert.notEqual(first?.['x-broker-api-request-identity'], second?.['x-broker-api-request-identity'])
})

test('OsbClient: answers that the specification does not know are told with the request', async (t) => {
  const answers: [number, string, RegExp][] = [
    [200, '<html>', /^GET \/v2\/catalog was answered 200, which is no JSON object: <html>/],
    [200, '{"services":5}', /which is no catalog/],
    [204, '', /answered 204, which is no JSON object/],
    [302, '{}', /answered 302, not 200/]
  ]
  for (const [status, body, message] of answers) {
    const url = await serve(t, (_, response) => void response.writeHead(status, { location: '/x' }).end(body))
    const client = new OsbClient({ transport: httpTransport({ url }) })
    await assert.rejects(client.catalog(), (error) => error instanceof UnexpectedAnswer && message.test(error.message))
  }
})

test('OsbClient: a broker that is away or does not answer is BrokerUnreachable, without its credentials', async (t) => {
  const url = await serve(t, () => {})
  const silent = new OsbClient({ transport: httpTransport({ url, timeoutMs: 50 }) })
  await assert.rejects(silent.catalog(), (error) => error instanceof BrokerUnreachable && /in time/.test(error.message))
  const away = new OsbClient({ transport: httpTransport({ url: 'http://user:secret@127.0.0.1:9/osb' }) })
  await assert.rejects(away.catalog(), { message: /^http:\/\/127\.0\.0\.1:9\/osb cannot be reached: .*ECONNREFUSED/ })
})

test('httpTransport: HTTPS is trusted with the authority that is named, and not without', async (t) => {
  const file = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}.pem`, import.meta.url), 'utf8')
  const server = createSecureServer({ key: file('key'), cert: file('cert') }, (_, response) => {
    response.end('{"services":[]}')
  })
  const url = (await listening(t, server)).replace('http:', 'https:')
  const trusting = new OsbClient({ transport: httpTransport({ url, ca: file('cert') }) })
  assert.deepEqual(await trusting.catalog(), { services: [] })
  const strange = new OsbClient({ transport: httpTransport({ url }) })
  await assert.rejects(strange.catalog(), { name: 'BrokerUnreachable', message: /cannot be reached: self-signed/ })
})

test('waitForOperation: a failed operation throws its description', async (t) => {
  const client = await clientOf(t)
  const { operation } = await client.provision('i', provisionBody(ids.plans.failing))
  const waiting = waitForOperation(client, { instanceId: 'i' }, { operation })
  await assert.rejects(waiting, (error) => error instanceof OperationFailed && /fails on provision/.test(error.message))
})

test('waitForOperation: trouble of polls passes, Retry-After is kept, and 410 is the end of a delete', async (t) => {
  const script: [number, string, Record<string, string>][] = [
    [500, '{"description":"down"}', {}],
    [200, 'nonsense', { 'retry-after': '0' }],
    [200, '{"state":"in progress","description":"half"}', { 'retry-after': '1' }],
    [410, '{}', {}]
  ]
  const asked: number[] = []
  const url = await serve(t, (_, response) => {
    asked.push(Date.now())
    const [status, body, headers] = script.shift() ?? [410, '{}', {}]
    response.writeHead(status, headers).end(body)
  })
  const client = new OsbClient({ transport: httpTransport({ url }) })
  const texts: unknown[] = []
  await waitForOperation(
    client,
    { instanceId: 'i' },
    { removes: true, onPoll: ({ description }) => texts.push(description) }
  )
  assert.deepEqual(texts, ['half'])
  assert.equal(asked.length, 4)
  // Timers may fire a moment early.
  assert.ok((asked[3] ?? 0) - (asked[2] ?? 0) >= 990, 'the second that the broker asked for')
})

test('waitForOperation: ends in time, by its signal, and at once where no repetition helps', async (t) => {
  const client = await clientOf(t)
  const { operation } = await client.provision('slow', provisionBody(ids.plans.slow))
  const ids_ = { instanceId: 'slow' }
  await assert.rejects(waitForOperation(client, ids_, { operation, timeoutMs: 10 }), OperationTimeout)
  const signal = AbortSignal.timeout(50)
  await assert.rejects(waitForOperation(client, ids_, { operation, signal }), { name: /AbortError|TimeoutError/ })
  await assert.rejects(waitForOperation(client, { instanceId: 'nothing' }), { name: 'OsbError', status: 404 })
  await client.deprovision('slow', planIds(ids.plans.slow))
})

test('retryAfterMs: seconds, dates, and nothing else', () => {
  const now = Date.parse('2026-01-01T00:00:00Z')
  assert.equal(retryAfterMs('7', now), 7_000)
  assert.equal(retryAfterMs('Thu, 01 Jan 2026 00:00:05 GMT', now), 5_000)
  assert.equal(retryAfterMs('Thu, 01 Jan 2020 00:00:00 GMT', now), 0)
  for (const header of [undefined, '', 'soon']) assert.equal(retryAfterMs(header, now), undefined)
})

/** A broker that lies, gone after the test. */
async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  return listening(t, createServer(listener))
}

async function listening(t: TestContext, server: Server): Promise<string> {
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return `http://127.0.0.1:${address.port}`
}
