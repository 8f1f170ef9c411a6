import { monitorEventLoopDelay } from 'node:perf_hooks'

/*
 * What a process tells of itself, over the channel to its parent: it is imported into the one that is measured, and changes
 * nothing of it but a timer of 10 ms and, when asked, a collection of garbage.
 */

export interface ProbeReport {
  /** As the broker exports it, `nodejs.eventloop.delay.p99`: with the 10 ms between two looks. */
  readonly delayP99Ms: number
  /** After a collection, in megabytes. */
  readonly heapMegabytes: number
}

const delay = monitorEventLoopDelay({ resolution: 10 })
delay.enable()
process.on('message', () => {
  const delayP99Ms = delay.percentile(99) / 1e6
  globalThis.gc?.()
  const report: ProbeReport = { delayP99Ms, heapMegabytes: process.memoryUsage().heapUsed / 1024 ** 2 }
  process.send?.(report)
  delay.reset()
})
// The parent's wish to hear from it is no reason to stay
process.channel?.unref()
