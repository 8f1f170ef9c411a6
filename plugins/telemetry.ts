import { type Context, context, propagation, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { durations, SECONDS_OF_CALLS, secondsSince, traceContext, traceIdOf } from '../src/telemetry/index.ts'
import { SCOPE } from '../src/telemetry/scope.ts'
import { describeRequest } from './request-log.ts'

declare module 'fastify' {
  interface FastifyRequest {
    osbTrace: RequestTrace | undefined
  }
}

/** What a request is traced by. */
export interface RequestTrace {
  readonly span: Span
  readonly context: Context
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
    const measured = durations('http.server.request.duration', 'From request to answer', SECONDS_OF_CALLS)
    app.decorateRequest('osbTrace', undefined)

    const begin = (request: FastifyRequest): RequestTrace => {
      const active = trace.getActiveSpan()
      const began = performance.now()
      if (active !== undefined) return { span: active, context: context.active(), began, own: false }
      const parent = propagation.extract(context.active(), request.headers)
      const attributes = labelsOf(request)
      const name = `${attributes['http.request.method']} ${attributes['http.route']}`
      const span = tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, parent)
      return { span, context: trace.setSpan(parent, span), began, own: true }
    }

    const end = (request: FastifyRequest, reply: FastifyReply, { span, began, own }: RequestTrace) => {
      const outcome = outcomeOf(reply)
      measured.record(secondsSince(began), { ...labelsOf(request), ...outcome })
      span.setAttributes({ ...outcome, 'osb.platform': request.osbPlatform, ...idsOf(request, SPAN_NAMES) })
      if (!own) return
      if ('error.type' in outcome) span.setStatus({ code: SpanStatusCode.ERROR })
      span.end()
    }

    app.addHook('onRequest', (request, reply, done) => {
      const osbTrace = begin(request)
      request.osbTrace = osbTrace
      // Comes when the answer has been sent, and when the platform has hung up before.
      reply.raw.once('close', () => end(request, reply, osbTrace))
      context.with(osbTrace.context, () => {
        describeRequest(request, reply, { ...idsOf(request, LOG_NAMES), ...traceOfLog() })
        done()
      })
    })
    // The body has been read since, by callbacks of the socket, which know nothing of the request's context.
    app.addHook('preValidation', (request, _reply, done) => {
      if (request.osbTrace === undefined) done()
      else context.with(request.osbTrace.context, () => done())
    })
  },
  { name: 'osb-telemetry', fastify: '5.x', dependencies: ['osb-identity'] }
)

/** Of few values each: the route and not the path, which has ids. */
function labelsOf(request: FastifyRequest) {
  return {
    'http.request.method': request.method,
    'http.route': request.routeOptions.url ?? '',
    'url.scheme': request.protocol
  }
}

function outcomeOf({ raw, statusCode }: FastifyReply) {
  if (!raw.writableEnded) return { 'error.type': 'aborted' }
  const status = { 'http.response.status_code': statusCode }
  return statusCode >= 500 ? { ...status, 'error.type': String(statusCode) } : status
}

const SPAN_NAMES = { instance: 'osb.instance.id', binding: 'osb.binding.id', identity: 'osb.request.identity' }
const LOG_NAMES = { instance: 'instance', binding: 'binding', identity: 'requestIdentity' }

/** What the path and the headers say the request is about. */
function idsOf({ params, headers }: FastifyRequest, names: typeof SPAN_NAMES): Record<string, string> {
  const ids: Record<string, string> = {}
  const { instance_id: instance, binding_id: binding } = params as Record<string, string | undefined>
  const identity = headers['x-broker-api-request-identity']
  if (instance !== undefined) ids[names.instance] = instance
  if (binding !== undefined) ids[names.binding] = binding
  if (typeof identity === 'string' && identity !== '') ids[names.identity] = identity
  return ids
}

function traceOfLog(): { trace_id?: string } {
  const traceId = traceIdOf(traceContext())
  return traceId === undefined ? {} : { trace_id: traceId }
}
