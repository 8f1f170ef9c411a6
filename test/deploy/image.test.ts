import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { ValidationSeverity, validate } from 'dockerfile-utils'
import { Environment } from '../../src/config.ts'
import { end, platformOf, temporaryFolder } from '../server/broker-process.ts'
import { assemble, confined, type Image, layerSizes, within } from './image.ts'
import { freePort, listenOn, postgresVariables, run, serve, walk } from './program.ts'

const dockerfile = readFileSync(join(import.meta.dirname, '../../Dockerfile'), 'utf8')

const built = mkdtempSync(join(tmpdir(), 'osb-image-'))
after(() => rmSync(built, { recursive: true }))
let assembled: Image | undefined
const image = () => {
  assembled ??= assemble(dockerfile, built)
  return assembled
}

test('Dockerfile: a linter finds nothing', () => {
  const faults = validate(dockerfile, { deprecatedMaintainer: ValidationSeverity.ERROR })
  assert.deepEqual(
    faults.map(({ message, range }) => `line ${range.start.line + 1}: ${message}`),
    []
  )
})

test('Dockerfile: an exact base, a user by number, labels, and what the configuration expects', () => {
  const { base, user, labels, exposed, env, stopSignal } = image()
  assert.match(base, /^node:\d+\.\d+\.\d+-[a-z]+-slim$/)
  assert.match(user, /^[1-9]\d*:[1-9]\d*$/)
  for (const name of ['title', 'description', 'licenses', 'version', 'revision']) {
    assert.ok(labels[`org.opencontainers.image.${name}`], name)
  }
  assert.deepEqual(exposed, [String(Environment.properties.BROKER_PORT.default)])
  assert.equal(stopSignal, 'SIGTERM')
  for (const name of Object.keys(env)) {
    assert.ok(name in Environment.properties || /^(?:PATH|NODE_.*)$/.test(name), `the broker reads no ${name}`)
  }
})

test('image: read-only and as its own user, it serves the whole life of a database, is healthy, and stops', async (t) => {
  if (!confined) t.diagnostic('no root on Linux: without a root file system of its own, and without another user')
  const { bytes, compressed } = layerSizes(image())
  t.diagnostic(`layers of the application: ${megabytes(bytes)}, compressed ${megabytes(compressed)}`)

  const variables = {
    ...(await postgresVariables()),
    BROKER_PORT: String(await freePort()),
    OTEL_EXPORTER_PROMETHEUS_PORT: String(await freePort())
  }
  const { command, options } = within(image(), [...image().entrypoint, ...image().cmd], { variables })
  const broker = await serve(t, command, options)
  assert.match(broker.greeting, /http:\/\/[0-9.]+:\d+ \(state: postgres\)/)
  if (confined) {
    const status = readFileSync(`/proc/${broker.pid}/status`, 'utf8')
    assert.match(status, new RegExp(`^Uid:\\t${image().user.split(':')[0]}\\t`, 'm'))
    const mounts = readFileSync(`/proc/${broker.pid}/mounts`, 'utf8')
    assert.match(mounts, /^\S+ \/ \S+ ro,/m)
  }
  await walk(broker)
  assert.equal((await platformOf(broker, '')('GET', '/readyz')).status, 200)
  assert.deepEqual(await healthOf(t, variables), { code: 0, stderr: '' })
  assert.deepEqual(await end(broker, 'SIGTERM'), { code: 0, signal: null })

  const { code, stderr } = await healthOf(t, variables)
  assert.equal(code, 1)
  assert.match(stderr, /^GET \/healthz: .*ECONNREFUSED.*\n$/)
})

test('image: without the health listener, its health check asks the broker, by HTTPS if it has a certificate', async (t) => {
  const fixture = (name: string) => readFileSync(join(import.meta.dirname, '../fixtures/tls', name))
  const asked: string[] = []
  const server = createHttpsServer({ cert: fixture('cert.pem'), key: fixture('key.pem') }, (request, reply) => {
    asked.push(request.url ?? '')
    reply.writeHead(asked.length === 1 ? 200 : 503).end('{}')
  })
  const port = String(await listenOn(server))
  t.after(() => server.close())
  const variables = { BROKER_PORT: port, BROKER_TLS_CERT: 'cert.pem', BROKER_HEALTH_LISTENER: 'off' }
  assert.deepEqual(await healthOf(t, variables), { code: 0, stderr: '' })
  const { code, stderr } = await healthOf(t, variables)
  assert.deepEqual([code, stderr, asked], [1, 'GET /healthz answered 503\n', ['/healthz', '/healthz']])
})

test('image: its health check asks the health listener, wherever that listens', async (t) => {
  const asked: string[] = []
  const server = createServer((request, reply) => {
    asked.push(`${request.url} ${request.socket.localAddress}`)
    reply.end('{}')
  })
  const port = String(await listenOn(server))
  t.after(() => server.close())
  const variables = { OTEL_EXPORTER_PROMETHEUS_PORT: port, BROKER_PORT: '1', BROKER_TLS_CERT: 'cert.pem' }
  for (const host of ['', '0.0.0.0', '::', '127.0.0.1']) {
    const outcome = await healthOf(t, { ...variables, OTEL_EXPORTER_PROMETHEUS_HOST: host })
    assert.deepEqual(outcome, { code: 0, stderr: '' }, host)
  }
  assert.deepEqual(asked, Array(4).fill('/healthz 127.0.0.1'))
})

test('image: its compiled code is that of its user and its Node', () => {
  const [folder = '', ...others] = readdirSync(join(image().root, image().env.NODE_COMPILE_CACHE ?? ''))
  assert.deepEqual(others, [])
  const uid = confined ? image().user.split(':')[0] : process.getuid?.()
  assert.ok(folder.startsWith(`${process.version}-${process.arch}-`) && folder.endsWith(`-${uid}`), folder)
  assert.ok(readdirSync(join(image().root, image().env.NODE_COMPILE_CACHE ?? '', folder)).length > 0)
})

test('image: without configuration it ends with one line that says what to set', async (t) => {
  const { command, options } = within(image(), [...image().entrypoint, ...image().cmd])
  const { code, stderr } = await run(t, command, options)
  assert.equal(code, 1)
  assert.match(stderr, /^Set BROKER_USERNAME and BROKER_PASSWORD\b[^\n]*\n$/)
})

test('Dockerfile: a line less in what it copies to build from, and nothing is built', (t) => {
  const lines = dockerfile.split('\n').filter((line) => /^COPY (?!-)/.test(line) && !line.includes('package.json'))
  assert.ok(lines.length >= 6)
  for (const line of lines) {
    assert.throws(
      () => assemble(dockerfile.replace(`${line}\n`, ''), temporaryFolder(t)),
      /Command failed|npm ci needs/,
      line
    )
  }
})

async function healthOf(t: TestContext, variables: Record<string, string>) {
  const { command, options } = within(image(), image().healthcheck, { variables })
  const { code, stderr } = await run(t, command, options)
  return { code, stderr }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
