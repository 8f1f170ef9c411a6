import {
  type Attributes,
  context,
  INVALID_SPAN_CONTEXT,
  isSpanContextValid,
  ProxyTracerProvider,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace
} from '@opentelemetry/api'
import { SCOPE } from './scope.ts'

export type { Attributes, Span }

// Delegates to whatever SDK is registered, also later; without one its spans record nothing.
const tracer = trace.getTracer(SCOPE)
const nobody = new ProxyTracerProvider().getDelegate()
const noSpan = trace.wrapSpanContext(INVALID_SPAN_CONTEXT)

/** Whether an SDK is registered: without one nothing is to be spent on spans that record nothing. */
export function isTraced(): boolean {
  const provider = trace.getTracerProvider()
  return !(provider instanceof ProxyTracerProvider) || provider.getDelegate() !== nobody
}

/**
 * Runs work in a span of its own, below the active one. A failure is named and never quoted: the words of an error may
 * hold what nobody may read.
 */
export function inSpan<T>(name: string, attributes: Attributes, work: (span: Span) => Promise<T>): Promise<T> {
  return isTraced() ? run(name, { attributes, kind: SpanKind.INTERNAL }, work) : work(noSpan)
}

/** Runs a call of a server in a span. It is none without a trace: a sweep, which nobody asked for, begins no trace. */
export function inCallSpan<T>(name: string, attributes: Attributes, work: () => Promise<T>): Promise<T> {
  if (trace.getActiveSpan() === undefined) return work()
  return run(name, { attributes, kind: SpanKind.CLIENT }, work)
}

function run<T>(
  name: string,
  options: { attributes: Attributes; kind: SpanKind },
  work: (span: Span) => Promise<T>
): Promise<T> {
  return tracer.startActiveSpan(name, options, async (span) => {
    try {
      return await work(span)
    } catch (error) {
      markFailed(span, errorType(error))
      throw error
    } finally {
      span.end()
    }
  })
}

/** Says on a span that its work has failed. */
export function markFailed(span: Span, type: string): void {
  span.setAttribute('error.type', type)
  span.setStatus({ code: SpanStatusCode.ERROR })
}

/** Adds to the active span, if there is one. */
export function labelActiveSpan(attributes: Attributes): void {
  trace.getActiveSpan()?.setAttributes(attributes)
}

/** What kind of error it is: its code (SQLSTATE, `ECONNREFUSED`), else its name. */
export function errorType(error: unknown): string {
  if (!(error instanceof Error)) return typeof error
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}

/** The active span as a W3C `traceparent`, so that another process goes on with its trace; undefined without one. */
export function traceContext(): string | undefined {
  const spanContext = trace.getSpanContext(context.active())
  if (spanContext === undefined || !isSpanContextValid(spanContext)) return undefined
  const flags = spanContext.traceFlags.toString(16).padStart(2, '0')
  return `00-${spanContext.traceId}-${spanContext.spanId}-${flags}`
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/

/** Runs work within the trace of a `traceparent` that {@link traceContext} made. */
export function inTrace<T>(traceparent: string | undefined, work: () => T): T {
  const [, traceId, spanId, flags] = TRACEPARENT.exec(traceparent ?? '') ?? []
  if (traceId === undefined || spanId === undefined || flags === undefined) return work()
  const spanContext = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true }
  return context.with(trace.setSpanContext(context.active(), spanContext), work)
}

/** The id of the trace of a `traceparent`. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  return TRACEPARENT.exec(traceparent ?? '')?.[1]
}
