import {
  type Attributes,
  type Context,
  context,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace
} from '@opentelemetry/api'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { durations, isMeasured, isTraced, SECONDS_OF_CALLS, secondsSince } from '../src/telemetry/index.ts'
import { SCOPE } from '../src/telemetry/scope.ts'
import { subjectOf } from './subject.ts'

/** What a request is traced by. */
interface RequestTrace {
  readonly span: Span
  readonly context: Context
  /** Of few values each: the route and not the path, which has ids. */
  readonly labels: Attributes
  /** As `performance.now()` told. */
  readonly began: number
  /** Whether the span is ours to end, or that of a host. */
  readonly own: boolean
}

/**
 * A span and the duration of each request (semantic conventions: HTTP server). The trace of the platform goes on, where its
 * headers tell one (W3C Trace Context, B3; what the registered propagator reads). It is the host's span where the host
 * traces its requests itself.
 */
export const telemetry = fp(
  async (app) => {
    const tracer = trace.getTracer(SCOPE)
    const measures = isMeasured()
    const measured = durations('http.server.request.duration', 'From request to answer', SECONDS_OF_CALLS)

    const begin = (request: FastifyRequest): RequestTrace => {
      const began = performance.now()
      const route = request.routeOptions.url ?? ''
      const labels = { 'http.request.method': request.method, 'http.route': route, 'url.scheme': request.protocol }
      const active = trace.getActiveSpan()
      if (active !== undefined) return { span: active, context: context.active(), labels, began, own: false }
      const parent = propagation.extract(context.active(), request.headers)
      const options = { kind: SpanKind.SERVER, attributes: labels }
      const span = tracer.startSpan(`${request.method} ${route}`, options, parent)
      return { span, context: trace.setSpan(parent, span), labels, began, own: true }
    }

    const end = (request: FastifyRequest, reply: FastifyReply, { span, labels, began, own }: RequestTrace) => {
      const outcome = outcomeOf(reply)
      measured.record(secondsSince(began), { ...labels, ...outcome })
      if (span.isRecording()) span.setAttributes({ ...outcome, ...subjectAttributes(request) })
      if (!own) return
      if ('error.type' in outcome) span.setStatus({ code: SpanStatusCode.ERROR })
      span.end()
    }

    app.addHook('onRequest', (request, reply, done) => {
      if (!measures && !isTraced()) {
        done()
        return
      }
      const requestTrace = begin(request)
      // Comes when the answer has been sent, and when the platform has hung up before.
      reply.raw.once('close', () => end(request, reply, requestTrace))
      context.with(requestTrace.context, () => done())
    })
  },
  { name: 'osb-telemetry', fastify: '5.x', dependencies: ['osb-identity'] }
)

function outcomeOf({ raw, statusCode }: FastifyReply) {
  if (!raw.writableEnded) return { 'error.type': 'aborted' }
  const status = { 'http.response.status_code': statusCode }
  return statusCode >= 500 ? { ...status, 'error.type': String(statusCode) } : status
}

function subjectAttributes(request: FastifyRequest): Attributes {
  const { instance, binding, requestIdentity } = subjectOf(request)
  return {
    'osb.platform': request.osbPlatform,
    'osb.instance.id': instance,
    'osb.binding.id': binding,
    'osb.request.identity': requestIdentity
  }
}
