import autocannon from 'autocannon'
import { type ScenarioName, type Step, scenarios } from './scenarios.ts'

/** What {@link load} passes to this process. */
export interface LoadOrder {
  readonly scenario: ScenarioName
  readonly url: string
  readonly path: string
  readonly salt: string
  readonly headers: Readonly<Record<string, string>>
  readonly connections: number
  /** How long, or with `amount` how many requests. */
  readonly seconds: number
  readonly amount?: number
  /** Requests a second; default: as many as are answered. */
  readonly rate?: number
}

/** What it prints. */
export interface LoadReport {
  readonly requests: number
  readonly seconds: number
  /** Answers with another status than the scenario says. */
  readonly refused: number
  /** The first of them. */
  readonly refusal?: string
  readonly errors: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Of this process, while it put load. */
  readonly processorSeconds: number
}

// A process of its own: load made in the process that is measured would be measured along.
const order: LoadOrder = JSON.parse(process.argv[2] ?? '{}')
let refused = 0
let refusal: string | undefined
const requests = scenarios[order.scenario](order).map(({ accepts, ...request }: Step, index) => ({
  ...request,
  onResponse: (status: number, body: string) => {
    if (accepts?.includes(status) ?? (status === 304 || (status >= 200 && status <= 299))) return
    refused += 1
    refusal ??= `request ${index + 1} of the scenario was answered ${status}: ${body}`
  }
}))
const before = process.cpuUsage()
const result = await autocannon({
  url: order.url,
  connections: order.connections,
  headers: order.headers,
  requests,
  // A run ends at the end of a sample, which is a second unless it is said
  sampleInt: 100,
  ...(order.amount === undefined ? { duration: order.seconds } : { amount: order.amount }),
  ...(order.rate === undefined ? {} : { overallRate: order.rate })
})
const { user, system } = process.cpuUsage(before)
const report: LoadReport = {
  requests: result.requests.total,
  seconds: result.duration,
  refused,
  ...(refusal === undefined ? {} : { refusal }),
  errors: result.errors + result.timeouts,
  p50Ms: result.latency.p50,
  p99Ms: result.latency.p99,
  processorSeconds: (user + system) / 1e6
}
process.stdout.write(JSON.stringify(report))
