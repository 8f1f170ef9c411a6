import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { freePort } from '../deploy/program.ts'
import { end, scene, until, type Variables } from './broker-process.ts'
import { dial, get, refusedOnce } from './lines.ts'

const memory: Variables = {
  BROKER_STORAGE: 'memory',
  BROKER_USERNAME: 'platform',
  BROKER_PASSWORD: 'p-password',
  BROKER_CATALOG_PATH: fileURLToPath(new URL('../fixtures/seed-catalog.yaml', import.meta.url))
}

async function serving(t: TestContext, variables: Variables = {}) {
  const port = await freePort()
  const health = { BROKER_HEALTH_LISTENER: 'on', OTEL_EXPORTER_PROMETHEUS_PORT: String(port) }
  const broker = await scene(t).serve({ ...memory, ...health, ...variables })
  return { broker, port, url: `http://127.0.0.1:${port}` }
}

describe('health listener', { concurrency: 2 }, () => {
  test('it answers health checks, and nothing of the API', async (t) => {
    const { broker, url, port } = await serving(t)
    for (const path of ['/healthz', '/readyz?verbose']) {
      for (const base of [url, broker.url]) {
        const reply = await fetch(base + path)
        assert.deepEqual([reply.status, await reply.json()], [200, { status: 'ok' }], base + path)
      }
    }
    for (const path of ['/v2/catalog', '/docs/json', '/metrics', '/', '/healthz/']) {
      const reply = await fetch(url + path)
      assert.deepEqual([reply.status, await reply.json()], [404, { description: `There is no GET ${path}.` }])
      assert.equal(reply.headers.get('x-content-type-options'), 'nosniff')
      assert.equal(reply.headers.get('referrer-policy'), 'no-referrer')
    }
    const raw: [string, number][] = [
      ['nonsense\r\n\r\n', 400],
      ['GET /healthz HTTP/1.1\r\n\r\n', 400],
      ['CONNECT other:443 HTTP/1.1\r\nHost: other\r\n\r\n', 405],
      [get('/metrics', 'Expect: miracles\r\n'), 417]
    ]
    for (const [text, status] of raw) {
      const line = await dial(t, port)
      line.send(text)
      const reply = await refusedOnce(line, status, /\.$/)
      assert.match(reply.head, /x-content-type-options: nosniff/i, text)
      assert.match(reply.head, /referrer-policy: no-referrer/i, text)
    }
    const wrong = await fetch(`${url}/healthz`, { method: 'POST' })
    assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'GET, HEAD'])
  })

  test('it shares its port with the metrics', async (t) => {
    const { url } = await serving(t, { OTEL_METRICS_EXPORTER: 'prometheus', BROKER_HEALTH_LISTENER: 'off' })
    const metrics = await fetch(`${url}/metrics`)
    assert.equal(metrics.status, 200)
    assert.match(await metrics.text(), /^osb_operations_unfinished/m)
    assert.deepEqual(
      [metrics.headers.get('x-content-type-options'), metrics.headers.get('referrer-policy')],
      ['nosniff', 'no-referrer']
    )
    assert.equal((await fetch(`${url}/readyz`)).status, 200)
    const wrong = await fetch(`${url}/metrics`, { method: 'DELETE' })
    assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'GET, HEAD'])
    assert.equal((await fetch(`${url}/metrics`, { method: 'HEAD' })).status, 200)
  })

  test('a flood of the port of the platforms does not reach it', async (t) => {
    const { broker, url } = await serving(t, { BROKER_MAX_CONNECTIONS: '2', BROKER_MAX_CONNECTIONS_PER_ADDRESS: '2' })
    const port = Number(new URL(broker.url).port)
    const catalog = get('/v2/catalog').replace(/Basic \S+/, `Basic ${btoa('platform:p-password')}`)
    // Connections of a platform are not closed for others, so that these keep the port busy.
    for (let count = 0; count < 2; count += 1) {
      const line = await dial(t, port)
      line.send(catalog)
      await until('the catalog comes', () => line.said.includes('200 OK'))
    }
    const refused = await fetch(`${broker.url}/v2/catalog`)
    assert.equal(refused.status, 503)
    for (const path of ['/healthz', '/readyz']) assert.equal((await fetch(url + path)).status, 200)
  })

  test('idle connections to it keep no health check out', async (t) => {
    const { port, url } = await serving(t)
    const idle = await Promise.all(
      Array.from({ length: 300 }, async (_, index) => {
        const socket = connect({ port, host: '127.0.0.1', localAddress: `127.0.2.${(index % 200) + 1}` })
        t.after(() => socket.destroy())
        socket.on('error', () => undefined)
        await once(socket, 'connect')
        return socket
      })
    )
    for (let count = 0; count < 5; count += 1) assert.equal((await fetch(`${url}/healthz`)).status, 200)
    await until('the surplus is closed', () => idle.filter(({ closed }) => !closed).length <= 64)
  })

  test('SIGTERM: it ends with the process, also with a connection that stays open', async (t) => {
    const { broker, port } = await serving(t)
    const line = await dial(t, port)
    line.send(get('/healthz'))
    await until('it is served', () => line.said.includes('200 OK'))
    assert.deepEqual(await end(broker, 'SIGTERM'), { code: 0, signal: null })
  })

  test('a port that is taken, or none, ends the start with the name of the variable', async (t) => {
    const { port } = await serving(t)
    const start = async (value: string) => {
      const variables = { BROKER_HEALTH_LISTENER: 'on', OTEL_EXPORTER_PROMETHEUS_PORT: value, BROKER_PORT: '0' }
      const program = scene(t).run(['serve'], { ...memory, ...variables })
      assert.equal((await program.ended).code, 1)
      return program.stderr
    }
    assert.match(
      await start(String(port)),
      /^OTEL_EXPORTER_PROMETHEUS_HOST .* OTEL_EXPORTER_PROMETHEUS_PORT .*EADDRINUSE/
    )
    assert.match(await start('x'), /^OTEL_EXPORTER_PROMETHEUS_PORT is "x": it must be a whole number/)
  })
})
