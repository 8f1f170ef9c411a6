import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { exampleServiceId, plans, serviceId } from '../chaos/catalog.ts'
import { freePort, type Replica } from '../chaos/replicas.ts'
import { openScene, type Scene } from '../chaos/scene.ts'
import { type OtlpReceiver, openOtlpReceiver, type ReceivedSpan } from '../helper/otlp-receiver.ts'
import { query, until } from './broker-process.ts'

const route = 'PUT /v2/service_instances/:instance_id'

describe('two replicas that are traced and measured', () => {
  let receiver: OtlpReceiver
  let scene: Scene
  let ports: number[]
  const issued: string[] = []
  /** All that `/metrics` has answered. */
  const scrapes: string[] = []

  before(async () => {
    receiver = await openOtlpReceiver()
    ports = [await freePort(), await freePort()]
    scene = await openScene(2, { fsync: 'off' }, (index) => ({
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_METRICS_EXPORTER: 'otlp,prometheus',
      OTEL_EXPORTER_PROMETHEUS_PORT: String(ports[index]),
      OTEL_BSP_SCHEDULE_DELAY: '100',
      OTEL_METRIC_EXPORT_INTERVAL: '500'
    }))
  })

  after(async () => {
    await scene?.close({ keep: false })
    await receiver?.close()
  })

  const ask = async (
    replica: Replica | undefined,
    path: string,
    options: { method?: string; body?: object; trace?: object } = {}
  ) => {
    const { method = 'GET', body, trace = {} } = options
    const init = body === undefined ? { method } : { method, body: JSON.stringify(body) }
    const reply = await fetch(`${replica?.url}/v2/service_instances/${path}`, {
      ...init,
      headers: { ...scene.headers, ...trace }
    })
    // biome-ignore lint/suspicious/noExplicitAny: tests read bodies of every shape
    return { status: reply.status, body: (await reply.json()) as any }
  }
  const scrape = async (index: number) => {
    const text = await (await fetch(`http://127.0.0.1:${ports[index]}/metrics`)).text()
    scrapes.push(text)
    return text
  }
  const ended = (path: string) =>
    until(`the end of ${path}`, async () => {
      const { body } = await ask(scene.replicas[0], `${path}/last_operation`)
      return body.state !== 'in progress' && body.state
    })
  const provisionBody = (service: string, plan: string) => ({
    service_id: service,
    plan_id: plan,
    organization_guid: 'org',
    space_guid: 'space'
  })

  /** A provision on the first replica, with the spans of its trace. */
  const provisionTraced = async (id: string) => {
    const { traceId, parent, headers } = newTrace()
    const body = provisionBody(serviceId, plans.small)
    const { status, body: reply } = await ask(scene.replicas[0], `${id}?accepts_incomplete=true`, {
      method: 'PUT',
      body,
      trace: headers
    })
    assert.equal(status, 202)
    assert.equal(await ended(id), 'succeeded')
    const spans = await until('the statements of the trace', () => {
      const found = receiver.spans.filter((span) => span.traceId === traceId)
      const names = found.map(({ name }) => name)
      return names.includes('operation provision') && names.includes(route) && found
    })
    const [request] = spans.filter(({ name }) => name === route)
    const [attempt] = spans.filter(({ name }) => name === 'operation provision')
    assert.equal(request?.parentSpanId, parent)
    assert.equal(request?.attributes['osb.operation.id'], reply.operation)
    assert.equal(attempt?.attributes['osb.operation.id'], reply.operation)
    assert.equal(attempt?.attributes['osb.attempt.outcome'], 'succeeded')
    return { spans, request, attempt }
  }

  test('PUT instance: one trace from the request on one replica to the statements on the other', async () => {
    // More at once than one replica has hands for: the other takes some of them
    const all = await Promise.all(Array.from({ length: 24 }, (_, index) => provisionTraced(`traced-${index}`)))
    const elsewhere = all.find(({ request, attempt }) => attempt?.process !== request?.process)
    assert.ok(elsewhere, 'the other replica never came to work')
    const { spans, attempt } = elsewhere
    const statement = spans.find(({ name }) => name === 'CREATE DATABASE')
    assert.equal(statement?.process, attempt?.process)
    assert.deepEqual(trail(spans, statement), ['CREATE DATABASE', 'postgresql provision', 'operation provision', route])
  })

  test('PUT binding: B3 headers are taken in, single and multiple', async () => {
    const binding = { service_id: serviceId, plan_id: plans.small }
    const single = newTrace()
    const multiple = newTrace()
    const ignored = newTrace()
    const traces = [
      { b3: `${single.traceId}-${single.parent}-1` },
      { 'x-b3-traceid': multiple.traceId, 'x-b3-spanid': multiple.parent, 'x-b3-sampled': '1' },
      { traceparent: `00-${ignored.traceId}-short-01` }
    ]
    for (const [index, trace] of traces.entries()) {
      const { status, body } = await ask(scene.replicas[0], `traced-0/service_bindings/b-${index}`, {
        method: 'PUT',
        body: binding,
        trace
      })
      assert.equal(status, 201)
      issued.push(body.credentials.password, body.credentials.uri)
    }
    const found = await until('the spans of the binds', () => {
      const all = receiver.spans.filter(({ name }) => name.startsWith('PUT ') && name.endsWith(':binding_id'))
      return all.length === 3 && all
    })
    const binds = found.map(({ traceId, parentSpanId }) => `${traceId} ${parentSpanId}`)
    assert.ok(binds.includes(`${single.traceId} ${single.parent}`), binds.join('\n'))
    assert.ok(binds.includes(`${multiple.traceId} ${multiple.parent}`), binds.join('\n'))
    assert.ok(!binds.some((bind) => bind.startsWith(ignored.traceId)), binds.join('\n'))
    const logins = receiver.spans.filter(({ traceId, name }) => traceId === single.traceId && name === 'CREATE ROLE')
    assert.equal(logins.length, 1)
  })

  test('/metrics: requests, attempts and statements are counted, and no label is an id', async () => {
    const text = await scrape(0)
    const bind = 'http_route="/v2/service_instances/:instance_id/service_bindings/:binding_id"'
    assert.equal(valueIn(text, 'http_server_request_duration_count', '_method="PUT"', bind, 'status_code="201"'), 3)
    assert.equal(
      valueIn(text, 'osb_operation_attempts_total', 'kind="bind"', 'outcome="succeeded"', 'repeated="false"'),
      3
    )
    assert.equal(valueIn(text, 'osb_provider_duration_count', '_provider="postgresql"', '_function="bind"'), 3)
    assert.ok(valueIn(text, 'db_client_operation_duration_count', '_operation_name="CREATE ROLE"') >= 3)
    assert.ok(!text.includes('traced-0'), 'an id is a label')
  })

  test('kill -9 of the worker: the attempt of the one that takes over is in the trace of the request', async () => {
    const { traceId, headers } = newTrace()
    const { body } = await ask(scene.replicas[0], 'taken-over?accepts_incomplete=true', {
      method: 'PUT',
      body: provisionBody(exampleServiceId, plans.brief),
      trace: headers
    })
    const killed = await until('a replica works', async () => {
      for (const replica of scene.replicas) if (await replica.logged('attempt 1 begins', body.operation)) return replica
      return undefined
    })
    await killed.end('SIGKILL')
    const isTakeover = (span: ReceivedSpan) =>
      span.attributes['osb.operation.id'] === body.operation && span.attributes['osb.operation.attempt'] === 2
    const attempt = await until('the second attempt', () => receiver.spans.find(isTakeover), 30_000)
    assert.equal(attempt.traceId, traceId)
    assert.equal(attempt.attributes['osb.attempt.outcome'], 'succeeded')
    const survivor = scene.replicas.find((replica) => replica !== killed)
    await until('the log tells the end and names the trace', () =>
      survivor?.logged('provision succeeded', body.operation, traceId)
    )
    // The one that was killed may have been the only one that was asked, and may not have exported what it measured.
    assert.equal((await ask(survivor, 'taken-over/last_operation')).body.state, 'succeeded')
    // By now what was read before the binds is out of date
    const text = await scrape(scene.replicas.findIndex((replica) => replica !== killed))
    assert.equal(valueIn(text, 'osb_bindings', 'osb_service="databases"', 'osb_plan="small"', 'osb_status="ready"'), 3)
  })

  test('/metrics: every metric that the dashboard names is exported, and every one that is exported is documented', async () => {
    const scraped = new Set(scrapes.flatMap((text) => [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name)))
    const root = join(import.meta.dirname, '../..')
    const { panels, templating } = JSON.parse(await readFile(join(root, 'deploy/grafana/broker.json'), 'utf8'))
    const targets: { expr: string }[] = panels.flatMap(({ targets = [] }) => targets)
    const named = targets.map(({ expr }) => [...expr.matchAll(/(\w+)\{/g)].map(([, name = '']) => name))
    for (const { query: text } of templating.list) {
      if (text.includes('(')) named.push([/^label_values\((\w+),/.exec(text)?.[1] ?? text])
    }
    assert.ok(named.length > 10, 'the dashboard has few queries')
    for (const names of named) assert.notDeepEqual(names, [])
    const family = (name: string) => name.replace(/_(?:bucket|count|sum)$/, '')
    const unknown = named.flat().filter((name) => !scraped.has(name) && !scraped.has(family(name)))
    assert.deepEqual(unknown, [])

    const page = await readFile(join(root, 'docs/observability.md'), 'utf8')
    const table = page.slice(page.indexOf('## Metrics'), page.indexOf('## Logs'))
    const documented = [...table.matchAll(/^\| `(\S+)` \|/gm)].map(([, name]) => name)
    // What is missing after that, the comparison says
    await until('an export of all metrics', () => receiver.metrics.size >= documented.length).catch(() => {})
    assert.deepEqual([...receiver.metrics].sort(), documented.sort())
  })

  test('secrets: none that was issued is in a span, a metric or the log', async () => {
    assert.equal(issued.length, 6)
    const told = Buffer.concat([receiver.bytes(), Buffer.from(scrapes.join('\n'))])
    // What is searched is not compressed
    assert.ok(told.includes('CREATE ROLE') && told.includes('taken-over'))
    const logs = await Promise.all(scene.replicas.map(({ name }) => readFile(join(scene.folder, `${name}.log`))))
    const password =
      Buffer.from(scene.headers.authorization?.split(' ')[1] ?? '', 'base64')
        .toString()
        .split(':')[1] ?? ''
    const verifiers = await query(
      scene.adminUrl,
      `SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname <> 'postgres'`
    )
    assert.equal(verifiers.length, 3)
    const secrets = [
      ...issued,
      password,
      scene.headers.authorization ?? '',
      ...verifiers.map((row) => String(row.rolpassword))
    ]
    for (const secret of secrets) {
      assert.ok(secret.length > 8)
      for (const text of [told, ...logs]) assert.ok(!text.includes(secret), secret)
    }
    assert.ok(!told.includes('SCRAM-SHA-256'))
  })
})

function newTrace() {
  const traceId = randomBytes(16).toString('hex')
  const parent = randomBytes(8).toString('hex')
  return { traceId, parent, headers: { traceparent: `00-${traceId}-${parent}-01` } }
}

/** Names of a span and of those that it is below. */
function trail(spans: readonly ReceivedSpan[], span: ReceivedSpan | undefined): string[] {
  if (span === undefined) return []
  return [
    span.name,
    ...trail(
      spans,
      spans.find(({ spanId }) => spanId === span.parentSpanId)
    )
  ]
}

/** The value of a metric that has these labels among others. */
function valueIn(text: string, name: string, ...labels: string[]): number {
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`))
  const found = lines.filter((candidate) => labels.every((label) => candidate.includes(label)))
  assert.notEqual(found.length, 0, `${name} ${labels.join()}: ${lines.join('\n')}`)
  // A statement that failed has a series of its own, such as a CREATE ROLE of two replicas that start at once.
  return found.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}
