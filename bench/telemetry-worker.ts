import { registerHooks } from 'node:module'
import Fastify from 'fastify'

/*
 * One manner of bench/telemetry.ts: a broker in memory, and requests to it without a network. The manner `without` is the same
 * program with its instrumentation taken out as it loads.
 */

const EMPTY_PLUGIN = 'export const telemetry = async () => {}; export const metrics = async () => {}'
const EMPTY_SPANS = `
  export const inSpan = (name, attributes, work) => work({ setAttribute() {}, setStatus() {} })
  export const inCallSpan = (name, attributes, work) => work()
  export const inTrace = (traceparent, work) => work()
  export const markFailed = () => {}, labelActiveSpan = () => {}, traceContext = () => {}, traceIdOf = () => {}
  export const errorType = () => 'Error'`
const EMPTY_METERS = `
  export const meter = () => ({ createCounter: () => ({ add() {} }) }), durations = () => ({ record() {} })
  export const secondsSince = () => 0, observePool = () => () => {}
  export const SECONDS_OF_CALLS = [], SECONDS_OF_OPERATIONS = []`
const taken = new Map([
  ['/plugins/telemetry.ts', EMPTY_PLUGIN],
  ['/plugins/metrics.ts', EMPTY_PLUGIN],
  ['/src/telemetry/spans.ts', EMPTY_SPANS],
  ['/src/telemetry/meters.ts', EMPTY_METERS]
])

if (process.env.MANNER === 'without') {
  registerHooks({
    load(url, context, next) {
      const [, source] = [...taken].find(([path]) => url.endsWith(path)) ?? []
      return source === undefined ? next(url, context) : { format: 'module', source, shortCircuit: true }
    }
  })
}

const { startTelemetry } = await import('../src/telemetry-sdk/index.ts')
const { openServiceBroker } = await import('../src/app.ts')
const { serverOptions } = await import('../src/server.ts')
const { credentials, headers, provisionBody, bindBody, deleteQuery, testCatalog } = await import(
  '../test/helper/app.ts'
)

const app = Fastify({ ...serverOptions, logger: { level: 'warn' } })
const telemetry = await startTelemetry(process.env, app.log)
await app.register(openServiceBroker, { catalog: testCatalog(), auth: credentials })
const ask = async (method: 'GET' | 'PUT' | 'DELETE', url: string, payload?: object) => {
  const reply = await app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) })
  if (reply.statusCode >= 300) throw new Error(`${method} ${url} answered ${reply.statusCode}: ${reply.body}`)
}
await ask('PUT', '/v2/service_instances/polled', provisionBody())

const workloads: Record<string, (turn: number) => Promise<void>> = {
  poll: () => ask('GET', '/v2/service_instances/polled/last_operation'),
  life: async (turn) => {
    const instance = `/v2/service_instances/i-${turn}`
    await ask('PUT', instance, provisionBody())
    await ask('PUT', `${instance}/service_bindings/b`, bindBody())
    await ask('DELETE', `${instance}/service_bindings/b${deleteQuery()}`)
    await ask('DELETE', `${instance}${deleteQuery()}`)
  }
}
let turn = 0

/** Answers with the processor time that one turn took, in microseconds: others on the machine do not count into it. */
process.on('message', async ({ workload, turns }: { workload: string; turns: number }) => {
  const before = process.cpuUsage()
  for (const end = turn + turns; turn < end; turn += 1) await workloads[workload]?.(turn)
  const { user, system } = process.cpuUsage(before)
  process.send?.((user + system) / turns)
})
process.on('disconnect', async () => {
  await app.close()
  await telemetry.stop()
  process.exit(0)
})
process.send?.('ready')
