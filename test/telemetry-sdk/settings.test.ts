import assert from 'node:assert/strict'
import { test } from 'node:test'
import { telemetrySettings } from '../../src/telemetry-sdk/settings.ts'

const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' }

test('telemetry settings: nothing is on that no variable asks for', () => {
  const off = [
    {},
    { OTEL_SERVICE_NAME: 'broker' },
    { OTEL_TRACES_EXPORTER: 'none', OTEL_METRICS_EXPORTER: '' },
    { ...endpoint, OTEL_SDK_DISABLED: 'TRUE' },
    { ...endpoint, OTEL_TRACES_EXPORTER: 'none', OTEL_METRICS_EXPORTER: 'none' }
  ]
  for (const variables of off) assert.equal(telemetrySettings(variables), undefined, JSON.stringify(variables))
})

test('telemetry settings: a signal is exported where its exporter or an endpoint of it is named', () => {
  const on = (variables: Record<string, string>) => {
    const settings = telemetrySettings(variables)
    return [settings?.traces, settings?.metrics]
  }
  assert.deepEqual(on(endpoint), [true, ['otlp']])
  assert.deepEqual(on({ OTEL_METRICS_EXPORTER: 'prometheus' }), [false, ['prometheus']])
  assert.deepEqual(on({ ...endpoint, OTEL_METRICS_EXPORTER: 'otlp, prometheus' }), [true, ['otlp', 'prometheus']])
  assert.deepEqual(on({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:4318/v1/traces' }), [true, []])
  assert.deepEqual(on({ OTEL_TRACES_EXPORTER: 'otlp' }), [true, []])
})

test('telemetry settings: defaults, and what is set', () => {
  assert.deepEqual(telemetrySettings(endpoint), {
    traces: true,
    metrics: ['otlp'],
    sampler: 'parentbased_always_on',
    samplerRatio: 1,
    prometheus: { host: '127.0.0.1', port: 9464 },
    spanDelayMs: 5_000,
    metricIntervalMs: 60_000
  })
  const set = telemetrySettings({
    ...endpoint,
    OTEL_TRACES_SAMPLER: 'traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '0.25',
    OTEL_EXPORTER_PROMETHEUS_HOST: '0.0.0.0',
    OTEL_EXPORTER_PROMETHEUS_PORT: '9000',
    OTEL_BSP_SCHEDULE_DELAY: '100',
    OTEL_METRIC_EXPORT_INTERVAL: '200'
  })
  assert.equal(set?.sampler, 'traceidratio')
  assert.equal(set?.samplerRatio, 0.25)
  assert.deepEqual(set?.prometheus, { host: '0.0.0.0', port: 9000 })
  assert.deepEqual([set?.spanDelayMs, set?.metricIntervalMs], [100, 200])
})

const refusals: [Record<string, string>, RegExp][] = [
  [{ OTEL_TRACES_EXPORTER: 'zipkin' }, /^OTEL_TRACES_EXPORTER is "zipkin": it must be otlp or none\.$/],
  [{ OTEL_METRICS_EXPORTER: 'console' }, /^OTEL_METRICS_EXPORTER is "console": it must be otlp, prometheus or none\.$/],
  [
    { ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
    /^OTEL_EXPORTER_OTLP_PROTOCOL is "grpc": it must be http\/protobuf\.$/
  ],
  [{ ...endpoint, OTEL_TRACES_SAMPLER: 'xray' }, /^OTEL_TRACES_SAMPLER is "xray": it must be always_on, .* or .*\.$/],
  [
    { ...endpoint, OTEL_TRACES_SAMPLER_ARG: '2' },
    /^OTEL_TRACES_SAMPLER_ARG is "2": it must be a number from 0 to 1\.$/
  ],
  [
    { ...endpoint, OTEL_EXPORTER_PROMETHEUS_PORT: '0' },
    /^OTEL_EXPORTER_PROMETHEUS_PORT is "0": it must be a whole number from 1 to 65535\.$/
  ]
]
for (const [variables, message] of refusals) {
  const [name, value] = Object.entries(variables).at(-1) ?? []
  test(`telemetry settings: ${name}=${value} is refused`, () => {
    assert.throws(() => telemetrySettings(variables), { name: 'ConfigError', message })
  })
}
