import { ConfigError } from '../config.ts'

/** What the standard's variables ask for, as far as this program reads them itself; the exporters read their own. */
export interface TelemetrySettings {
  readonly traces: boolean
  readonly metrics: readonly MetricsExporter[]
  readonly sampler: Sampler
  /** From 0 to 1. */
  readonly samplerRatio: number
  readonly prometheus: { readonly host: string; readonly port: number }
  readonly spanDelayMs: number
  readonly metricIntervalMs: number
}

export type MetricsExporter = (typeof METRICS_EXPORTERS)[number]
export type Sampler = (typeof SAMPLERS)[number]
/** An environment of a process. */
export type Variables = Readonly<Record<string, string | undefined>>

const METRICS_EXPORTERS = ['otlp', 'prometheus'] as const
const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio'
] as const

/**
 * The address of the listener for metrics and health checks.
 * @throws {ConfigError}
 */
export function prometheusAddress(variables: Variables): { readonly host: string; readonly port: number } {
  const { OTEL_EXPORTER_PROMETHEUS_HOST: host, OTEL_EXPORTER_PROMETHEUS_PORT: port } = variables
  return {
    host: host?.trim() || '127.0.0.1',
    port: whole('OTEL_EXPORTER_PROMETHEUS_PORT', port?.trim() || '9464', 65_535)
  }
}

/**
 * Reads the variables of the OpenTelemetry specification; undefined when they ask for nothing. Unlike there, a signal whose
 * exporter is not named is exported only where an endpoint for it is: asking for Prometheus must not send traces anywhere.
 * @throws {ConfigError}
 */
export function telemetrySettings(variables: Variables): TelemetrySettings | undefined {
  const read = (name: string) => {
    const text = variables[name]?.trim()
    return text === '' ? undefined : text
  }
  if (read('OTEL_SDK_DISABLED')?.toLowerCase() === 'true') return undefined
  const exporters = (signal: 'TRACES' | 'METRICS', allowed: readonly MetricsExporter[]) => {
    const named = read(`OTEL_${signal}_EXPORTER`)
    const endpoint = read(`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`) ?? read('OTEL_EXPORTER_OTLP_ENDPOINT')
    const list = (named ?? (endpoint === undefined ? 'none' : 'otlp')).split(',').map((name) => name.trim())
    return list
      .filter((name) => name !== 'none')
      .map((name) => oneOf(`OTEL_${signal}_EXPORTER`, name, [...allowed, 'none'] as const))
      .filter((name) => name !== 'none')
  }
  const traces = exporters('TRACES', ['otlp']).length > 0
  const metrics = exporters('METRICS', METRICS_EXPORTERS)
  if (!traces && metrics.length === 0) return undefined
  for (const name of ['', 'TRACES_', 'METRICS_'].map((signal) => `OTEL_EXPORTER_OTLP_${signal}PROTOCOL`)) {
    oneOf(name, read(name) ?? 'http/protobuf', ['http/protobuf'])
  }
  return {
    traces,
    metrics: [...new Set(metrics)],
    sampler: oneOf('OTEL_TRACES_SAMPLER', read('OTEL_TRACES_SAMPLER') ?? 'parentbased_always_on', SAMPLERS),
    samplerRatio: number('OTEL_TRACES_SAMPLER_ARG', read('OTEL_TRACES_SAMPLER_ARG') ?? '1', { minimum: 0, maximum: 1 }),
    prometheus: prometheusAddress(variables),
    spanDelayMs: whole('OTEL_BSP_SCHEDULE_DELAY', read('OTEL_BSP_SCHEDULE_DELAY') ?? '5000', 3_600_000),
    metricIntervalMs: whole('OTEL_METRIC_EXPORT_INTERVAL', read('OTEL_METRIC_EXPORT_INTERVAL') ?? '60000', 3_600_000)
  }
}

function oneOf<Choice extends string>(name: string, text: string, allowed: readonly Choice[]): Choice {
  const found = allowed.find((choice) => choice === text)
  if (found !== undefined) return found
  const list = allowed.join(', ').replace(/, ([^,]*)$/, ' or $1')
  throw new ConfigError(`${name} is ${JSON.stringify(text)}: it must be ${list}.`)
}

function number(name: string, text: string, { minimum, maximum }: { minimum: number; maximum: number }): number {
  const value = Number(text)
  if (value >= minimum && value <= maximum) return value
  throw new ConfigError(`${name} is ${JSON.stringify(text)}: it must be a number from ${minimum} to ${maximum}.`)
}

function whole(name: string, text: string, maximum: number): number {
  if (/^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= maximum) return Number(text)
  throw new ConfigError(`${name} is ${JSON.stringify(text)}: it must be a whole number from 1 to ${maximum}.`)
}
