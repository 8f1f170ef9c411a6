import { monitorEventLoopDelay } from 'node:perf_hooks'
import { getHeapSpaceStatistics } from 'node:v8'
import { meter } from '../telemetry/index.ts'

const RESOLUTION_MS = 10
const NANOSECONDS = 1e9
const QUANTILES = { p50: 50, p90: 90, p99: 99 } as const

/** Measures the process itself (semantic conventions: Node.js, V8, process). */
export function observeRuntime(): void {
  const instruments = meter()
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delay.enable()
  const gauge = (name: string, description: string, unit: string) =>
    instruments.createObservableGauge(name, { description, unit })
  const quantiles = Object.entries(QUANTILES).map(([name, percent]) => ({
    percent,
    instrument: gauge(`nodejs.eventloop.delay.${name}`, 'Delay of the event loop since the last collection', 's')
  }))
  const longest = gauge('nodejs.eventloop.delay.max', 'Longest delay of the event loop since the last collection', 's')
  const utilization = gauge('nodejs.eventloop.utilization', 'Share of time in which the event loop was busy', '1')
  const heap = gauge('v8js.memory.heap.used', 'Used memory of the heap, by space', 'By')
  const memory = gauge('process.memory.usage', 'Resident memory of the process', 'By')

  let before = performance.eventLoopUtilization()
  const observed = [...quantiles.map(({ instrument }) => instrument), longest, utilization, heap, memory]
  instruments.addBatchObservableCallback((result) => {
    for (const { instrument, percent } of quantiles) result.observe(instrument, delay.percentile(percent) / NANOSECONDS)
    result.observe(longest, delay.max / NANOSECONDS)
    delay.reset()
    const now = performance.eventLoopUtilization()
    result.observe(utilization, performance.eventLoopUtilization(now, before).utilization)
    before = now
    for (const { space_name, space_used_size } of getHeapSpaceStatistics()) {
      result.observe(heap, space_used_size, { 'v8js.heap.space.name': space_name })
    }
    result.observe(memory, process.memoryUsage.rss())
  }, observed)
}
