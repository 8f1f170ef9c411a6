import { randomUUID } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { hostname } from 'node:os'
import { context, DiagLogLevel, diag, metrics, propagation, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { CompositePropagator, W3CTraceContextPropagator } from '@opentelemetry/core'
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { B3Propagator } from '@opentelemetry/propagator-b3'
import {
  defaultResource,
  detectResources,
  type Resource,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
  serviceNameEnvDetector
} from '@opentelemetry/resources'
import { type IMetricReader, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { shippedManifest } from '../package-files.ts'
import { SCOPE } from '../telemetry/scope.ts'
import { observeRuntime } from './runtime.ts'
import { samplerOf } from './sampler.ts'
import type { TelemetrySettings } from './settings.ts'

/** Where the SDK says what troubles it. */
export interface TelemetryLog {
  warn(message: string): void
  warn(fields: object, message: string): void
}

/** The SDK, once it is registered. */
export interface RunningSdk {
  /** Answers a scrape of Prometheus. */
  readonly metrics: RequestListener | undefined
  /** Sends what is left and stops. */
  shutdown(): Promise<void>
}

/** An exporter that waits longer than its interval would be overtaken by the next one. */
const EXPORT_TIMEOUT_MS = 30_000

/** Registers the SDK with the API. */
export async function startSdk(settings: TelemetrySettings, log: TelemetryLog): Promise<RunningSdk> {
  const warn = (message: string) => log.warn({ component: 'opentelemetry' }, message)
  diag.setLogger({ error: warn, warn, info() {}, debug() {}, verbose() {} }, DiagLogLevel.WARN)
  const resource = await ownResource()
  const stops: (() => Promise<void>)[] = []
  // The health listener serves its metrics.
  const scraped = settings.metrics.includes('prometheus')
  const prometheus = scraped ? new PrometheusExporter({ preventServerStart: true }) : undefined
  if (settings.traces) {
    const processor = new BatchSpanProcessor({
      exporter: new OTLPTraceExporter(),
      scheduledDelayMillis: settings.spanDelayMs
    })
    const provider = new TracerProvider({ resource, sampler: samplerOf(settings), spanProcessors: [processor] })
    trace.setGlobalTracerProvider(provider)
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
    // The last to find a context wins.
    const propagators = [new B3Propagator(), new W3CTraceContextPropagator()]
    propagation.setGlobalPropagator(new CompositePropagator({ propagators }))
    stops.push(() => provider.shutdown())
  }
  if (settings.metrics.length > 0) {
    const otlp = settings.metrics.includes('otlp') ? otlpReader(settings) : undefined
    const readers = [prometheus, otlp].filter((reader) => reader !== undefined)
    const provider = new MeterProvider({ resource, readers })
    metrics.setGlobalMeterProvider(provider)
    observeRuntime()
    stops.push(() => provider.shutdown())
  }
  return {
    metrics: prometheus && ((request, response) => prometheus.getMetricsRequestHandler(request, response)),
    async shutdown() {
      await Promise.all(stops.map((stop) => stop()))
    }
  }
}

/** What these signals are of; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` have the last word. */
async function ownResource(): Promise<Resource> {
  const { version } = shippedManifest()
  const own = resourceFromAttributes({
    'service.name': SCOPE,
    'service.version': version,
    'service.instance.id': randomUUID(),
    'host.name': hostname()
  })
  const given = detectResources({ detectors: [resourceAttributesEnvDetector, serviceNameEnvDetector] })
  return defaultResource().merge(own).merge(given)
}

function otlpReader({ metricIntervalMs }: TelemetrySettings): IMetricReader {
  return new PeriodicExportingMetricReader({
    exporter: new OTLPMetricExporter(),
    exportIntervalMillis: metricIntervalMs,
    exportTimeoutMillis: Math.min(metricIntervalMs, EXPORT_TIMEOUT_MS)
  })
}
