import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { freePort } from '../chaos/replicas.ts'
import { openOtlpReceiver } from '../helper/otlp-receiver.ts'
import { end, platformOf, scene, until } from './broker-process.ts'

const memory = {
  BROKER_STORAGE: 'memory',
  BROKER_USERNAME: 'platform',
  BROKER_PASSWORD: 'p-password',
  POSTGRESQL_ADMIN_URL: 'postgresql://admin@127.0.0.1:1/postgres'
}
/** Says of each module of OpenTelemetry that it is loaded. */
const tattle = `import { registerHooks } from 'node:module'
registerHooks({ load(url, context, next) {
  const name = /node_modules\\/(@opentelemetry\\/[^/]+)/.exec(url)?.[1]
  if (name !== undefined) process.stderr.write('loaded ' + name + '\\n')
  return next(url, context)
} })`
const loud = { ...memory, NODE_OPTIONS: `--import "data:text/javascript,${encodeURIComponent(tattle)}"` }

async function receiving(t: TestContext) {
  const receiver = await openOtlpReceiver()
  t.after(() => receiver.close())
  // Nothing is sent by itself before the process ends
  const variables = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_BSP_SCHEDULE_DELAY: '600000' }
  return { receiver, variables }
}

describe('telemetry of the process', { concurrency: 2 }, () => {
  test('off: no module of the SDK is loaded; on: they are', async (t) => {
    const { receiver, variables } = await receiving(t)
    const { serve } = scene(t)
    const [off, on] = await Promise.all([serve(loud), serve({ ...loud, ...variables })])
    const loaded = (text: string) => [...new Set(text.match(/^loaded .*$/gm))].sort()
    assert.deepEqual(loaded(off.stderr), ['loaded @opentelemetry/api'])
    assert.ok(loaded(on.stderr).includes('loaded @opentelemetry/sdk-trace'), on.stderr)
    assert.equal(receiver.spans.length, 0)
  })

  test('SIGTERM: what is left is sent; /readyz says 503 while the server still answers', async (t) => {
    const { receiver, variables } = await receiving(t)
    const broker = await scene(t).serve({ ...memory, ...variables })
    const ask = platformOf(broker, 'platform:p-password')
    assert.equal((await ask('GET', '/v2/catalog')).status, 200)
    assert.equal((await fetch(`${broker.url}/readyz`)).status, 503)
    broker.child.kill('SIGTERM')
    const stopping = await until('the broker says that it stops', async () => {
      const reply = await fetch(`${broker.url}/readyz`)
      const { failing } = (await reply.json()) as { failing: string[] }
      return failing.includes('operations') && { reply, failing }
    })
    assert.equal(stopping.reply.status, 503)
    assert.equal((await fetch(`${broker.url}/healthz`)).status, 200)
    assert.deepEqual(await broker.ended, { code: 0, signal: null })
    assert.deepEqual(
      receiver.spans.map(({ name }) => name),
      ['GET /v2/catalog']
    )
    assert.ok(receiver.metrics.has('http.server.request.duration'))
  })

  test('SIGTERM: a receiver that does not answer holds up nobody', async (t) => {
    const { receiver, variables } = await receiving(t)
    const broker = await scene(t).serve({ ...memory, ...variables })
    assert.equal((await platformOf(broker, 'platform:p-password')('GET', '/v2/catalog')).status, 200)
    receiver.hang()
    const began = performance.now()
    assert.deepEqual(await end(broker, 'SIGTERM'), { code: 0, signal: null })
    assert.ok(performance.now() - began < 10_000)
    assert.ok(broker.log.some(({ msg }) => msg === 'the last spans and metrics could not be sent in time'))
  })

  test('/metrics: on a port of its own; one that is taken is named', async (t) => {
    const port = String(await freePort())
    const prometheus = { ...memory, OTEL_METRICS_EXPORTER: 'prometheus', OTEL_EXPORTER_PROMETHEUS_PORT: port }
    const { serve, run } = scene(t)
    const broker = await serve(prometheus)
    const reply = await fetch(`http://127.0.0.1:${port}/metrics`)
    assert.equal(reply.status, 200)
    assert.ok((await reply.text()).includes('\nosb_operations_unfinished{'))
    assert.equal((await fetch(`${broker.url}/metrics`)).status, 404)
    const second = run(['serve'], { ...prometheus, BROKER_PORT: '0' })
    assert.equal((await second.ended).code, 1)
    assert.match(
      second.stderr,
      new RegExp(`^OTEL_EXPORTER_PROMETHEUS_HOST .* OTEL_EXPORTER_PROMETHEUS_PORT ${port}, .*EADDRINUSE`)
    )
  })

  test('LOG_FORMAT=pretty: lines for people; without a terminal they are JSON', async (t) => {
    const { serve } = scene(t)
    const [pretty, json] = await Promise.all([
      serve({ ...memory, LOG_FORMAT: 'pretty', LOG_LEVEL: 'info' }),
      serve({ ...memory, LOG_LEVEL: 'info' })
    ])
    const listening = (line: string) => line.includes('Server listening at')
    const line = await until('the line for people', () => pretty.stdout.split('\n').find(listening))
    assert.match(line, /^\[[\d:.]+\] INFO: Server listening at/)
    await until('the line for machines', () => json.log.some(({ msg }) => listening(String(msg))))
  })
})
