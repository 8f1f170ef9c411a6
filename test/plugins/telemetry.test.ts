import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, test } from 'node:test'
import { context, metrics, propagation, SpanStatusCode, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader
} from '@opentelemetry/sdk-metrics'
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import Fastify, { type FastifyInstance } from 'fastify'
import { openServiceBroker } from '../../src/app.ts'
import { MemoryStore } from '../../src/stores/memory.ts'
import { buildApp, credentials, headers, ids, provisionBody, testCatalog } from '../helper/app.ts'
import { gate, ScriptedProvider, until, untilAborted } from '../helper/scripted-provider.ts'
import { gateFor, Platform } from '../routes/support.ts'

// The SDK of a host, registered before the broker is.
const exporter = new InMemorySpanExporter()
const spanProcessors = [new SimpleSpanProcessor({ exporter })]
trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors }))
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
propagation.setGlobalPropagator(new W3CTraceContextPropagator())
const metricExporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
const reader = new PeriodicExportingMetricReader({ exporter: metricExporter, exportIntervalMillis: 3_600_000 })
const meterProvider = new MeterProvider({ readers: [reader] })
metrics.setGlobalMeterProvider(meterProvider)
after(() => meterProvider.shutdown())

const path = '/v2/service_instances/i-1'
const route = 'PUT /v2/service_instances/:instance_id'
const spansOf = (traceId: string) =>
  exporter.getFinishedSpans().filter((span) => span.spanContext().traceId === traceId)

/** Values of a metric by its labels, as they are now. */
async function valuesOf(name: string): Promise<[Record<string, unknown>, unknown][]> {
  metricExporter.reset()
  await meterProvider.forceFlush()
  const all = metricExporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
  return all
    .filter(({ descriptor }) => descriptor.name === name)
    .flatMap(({ dataPoints }) =>
      dataPoints.map(({ attributes, value }) => [attributes, value] as [typeof attributes, unknown])
    )
}

test('trace: request, attempt and provider function are one, below the trace of the platform', async (t) => {
  const app = await buildApp(t)
  const traceId = '11111111111111111111111111111111'
  const traceparent = `00-${traceId}-2222222222222222-01`
  const reply = await app.inject({
    method: 'PUT',
    url: path,
    headers: { ...headers, traceparent },
    payload: provisionBody()
  })
  assert.equal(reply.statusCode, 201)
  await until('the span of the request', () => spansOf(traceId).some(({ name }) => name === route))
  const names = spansOf(traceId).map(({ name, parentSpanContext }) => {
    const parent = spansOf(traceId).find((span) => span.spanContext().spanId === parentSpanContext?.spanId)
    return `${name} < ${parent?.name ?? parentSpanContext?.spanId}`
  })
  assert.deepEqual(names, [
    'example provision < operation provision',
    `operation provision < ${route}`,
    `${route} < 2222222222222222`
  ])
})

test('trace: a failure is named by the kind of its error, and its words stay out', async (t) => {
  const failing = async () => {
    throw Object.assign(new Error('hush-words'), { code: '28P01' })
  }
  const app = await buildApp(t, { providers: [new ScriptedProvider({ provision: failing })], syncDeadlineMs: 500 })
  const traceId = '33333333333333333333333333333333'
  const traceparent = `00-${traceId}-2222222222222222-01`
  const reply = await app.inject({
    method: 'PUT',
    url: path,
    headers: { ...headers, traceparent },
    payload: provisionBody()
  })
  assert.equal(reply.statusCode, 500)
  await until('the span of the request', () => spansOf(traceId).some(({ name }) => name === route))
  const spans = spansOf(traceId)
  const call = spans.find(({ name }) => name === 'example provision')
  assert.equal(call?.attributes['error.type'], '28P01')
  assert.deepEqual(call?.status, { code: SpanStatusCode.ERROR })
  assert.deepEqual(
    spans.flatMap(({ events }) => events),
    []
  )
  assert.equal(spans.find(({ name }) => name === route)?.attributes['error.type'], '500')
  assert.ok(spans.filter(({ name }) => name === 'operation provision').length > 1, 'no try was repeated')
})

test('trace: the span of a host is used, and left to it to end', async (t) => {
  const app = Fastify()
  t.after(() => app.close())
  const tracer = trace.getTracer('host')
  app.addHook('onRequest', (_request, _reply, done) => tracer.startActiveSpan('of the host', () => done()))
  await app.register(openServiceBroker, { catalog: testCatalog(), auth: credentials })
  const before = exporter.getFinishedSpans().length
  await app.inject({ method: 'PUT', url: path, headers, payload: provisionBody() })
  const names = exporter
    .getFinishedSpans()
    .slice(before)
    .map(({ name }) => name)
  assert.deepEqual(names, ['example provision', 'operation provision'])
})

test('trace: a body that comes after its headers is worked on in the trace of its request', async (t) => {
  const app = Fastify()
  t.after(() => app.close())
  const arrived = gate()
  app.addHook('onRequest', async () => arrived.open())
  await app.register(openServiceBroker, { catalog: testCatalog(), auth: credentials })
  const traceId = '44444444444444444444444444444444'
  const traceparent = `00-${traceId}-2222222222222222-01`
  const platform = await put(app, 'late-body', { traceparent })
  platform.sendHeaders()
  await arrived.opened
  platform.sendBody()
  await until('the span of the request', () => spansOf(traceId).some(({ name }) => name === route))
  assert.deepEqual(
    spansOf(traceId).map(({ name }) => name),
    ['example provision', 'operation provision', route]
  )
})

test('trace: a platform that hangs up ends the span of its request', async (t) => {
  const work = gateFor(t)
  const provider = new ScriptedProvider({ provision: () => work.opened })
  const app = await buildApp(t, { providers: [provider] })
  const traceId = '55555555555555555555555555555555'
  const platform = await put(app, 'hung-up', { traceparent: `00-${traceId}-2222222222222222-01` })
  platform.sendHeaders()
  platform.sendBody()
  await until('the provider works', () => provider.calls.length === 1)
  platform.hangUp()
  const request = () => spansOf(traceId).find(({ name }) => name === route)
  await until('the span has ended', () => request() !== undefined)
  assert.equal(request()?.attributes['error.type'], 'aborted')
})

test('metrics: what the store holds is told by name, and the store is not read again within moments', async (t) => {
  const app = await buildApp(t)
  const send = (id: string, plan: string) =>
    app.inject({
      method: 'PUT',
      url: `/v2/service_instances/${id}?accepts_incomplete=true`,
      headers,
      payload: provisionBody(plan)
    })
  for (const id of ['m-1', 'm-2']) await send(id, ids.plans.sync)
  await send('m-3', ids.plans.slow)
  await new Platform(app).atWork('/v2/service_instances/m-3')
  const census = t.mock.method(MemoryStore.prototype, 'census')
  const instances = await valuesOf('osb.instances')
  const labels = (plan: string, status: string) => ({
    'osb.service': 'example',
    'osb.plan': plan,
    'osb.status': status
  })
  assert.deepEqual(instances, [
    [labels('sync', 'ready'), 2],
    [labels('slow', 'creating'), 1]
  ])
  const unfinished = await valuesOf('osb.operations.unfinished')
  assert.equal(unfinished.length, 10)
  assert.deepEqual(
    unfinished.filter(([, value]) => value !== 0),
    [[{ 'osb.operation.kind': 'provision', 'osb.operation.waiting': false }, 1]]
  )
  assert.deepEqual(await valuesOf('osb.operations.oldest_waiting'), [[{}, 0]])
  assert.equal(census.mock.callCount(), 1)
})

test('metrics: a halted create, and what took its place, are counted', async (t) => {
  const app = await buildApp(t, { providers: [new ScriptedProvider({ provision: untilAborted })] })
  const url = '/v2/service_instances/halted?accepts_incomplete=true'
  const payload = provisionBody(ids.plans.async)
  const count = async (kind: string, state: string) => {
    const values = await valuesOf('osb.operations.ended')
    const [, value] =
      values.find(([labels]) => labels['osb.operation.kind'] === kind && labels['osb.operation.state'] === state) ?? []
    return Number(value ?? 0)
  }
  const before = [await count('provision', 'halted'), await count('deprovision', 'succeeded')]
  await app.inject({ method: 'PUT', url, headers, payload })
  await app.inject({
    method: 'DELETE',
    url: `${url}&service_id=${ids.service}&plan_id=${ids.plans.async}`,
    headers
  })
  await until('the delete has ended', async () => (await count('deprovision', 'succeeded')) === (before[1] ?? 0) + 1)
  assert.equal(await count('provision', 'halted'), (before[0] ?? 0) + 1)
})

/** A provision on a connection of its own, part by part. */
async function put(app: FastifyInstance, id: string, more: Record<string, string>) {
  const port = Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port)
  const body = JSON.stringify(provisionBody())
  const all = {
    host: 'localhost',
    ...headers,
    ...more,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body)
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  const socket = connect({ host: '127.0.0.1', port })
  return {
    sendHeaders: () => socket.write(`PUT /v2/service_instances/${id} HTTP/1.1\r\n${lines.join('')}\r\n`),
    sendBody: () => socket.write(body),
    hangUp: () => socket.destroy()
  }
}
