import autocannon from 'autocannon'
import { type ScenarioName, scenarios } from './scenarios.ts'

/** What {@link load} passes to this process. */
export interface LoadOrder {
  readonly scenario: ScenarioName
  readonly url: string
  readonly path: string
  readonly salt: string
  readonly headers: Record<string, string>
  readonly connections: number
  /** How long, or with `amount` how many requests. */
  readonly seconds: number
  readonly amount?: number
}

/** What it prints. */
export interface LoadReport {
  readonly requestsPerSecond: number
  readonly requests: number
  /** Answers that were neither 2xx nor 304. */
  readonly refused: number
  readonly errors: number
  readonly p50Ms: number
  readonly p99Ms: number
}

// A process of its own: load made in the process that is measured would be measured along.
const order: LoadOrder = JSON.parse(process.argv[2] ?? '{}')
let refused = 0
const requests = scenarios[order.scenario](order).map((request) => ({
  ...request,
  onResponse: (status: number) => {
    if (status !== 304 && (status < 200 || status > 299)) refused += 1
  }
}))
const result = await autocannon({
  url: order.url,
  connections: order.connections,
  headers: order.headers,
  requests,
  ...(order.amount === undefined ? { duration: order.seconds } : { amount: order.amount })
})
const report: LoadReport = {
  requestsPerSecond: result.requests.total / result.duration,
  requests: result.requests.total,
  refused,
  errors: result.errors + result.timeouts,
  p50Ms: result.latency.p50,
  p99Ms: result.latency.p99
}
process.stdout.write(JSON.stringify(report))
