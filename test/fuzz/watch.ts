import { setTimeout as delay } from 'node:timers/promises'
import { FuzzClient } from './client.ts'
import type { BrokerProcess } from './process.ts'

/** What a process under fire was like. */
export interface Vitals {
  /** Bytes for each request that were kept. */
  readonly keptBytes: number
  readonly slowestProbeMs: number
  readonly probes: number
  readonly descriptors: { readonly before: number | undefined; readonly after: number | undefined }
  /** What is wrong with them. */
  readonly problems: readonly string[]
}

const PROBE_EVERY_MS = 100
const MAX_PROBLEMS = 3
/** An orchestrator's patience, in the usual case. */
const PROBE_MS = 2_000
const SETTLE_MS = 3_000
/** Code that is compiled late, and the like. */
const SPARE_BYTES = 1024 * 1024
/** A timer of the broker's own may have one open at any time. */
const SPARE_DESCRIPTORS = 2

/**
 * Watches a process while `fire` sends requests at it, twice: first to warm it up, then to measure.
 * @param maxKeptBytes what it may keep of each request on the average
 */
export async function watched(
  broker: BrokerProcess,
  maxKeptBytes: number,
  fire: (share: 'first' | 'second') => Promise<number>
): Promise<Vitals> {
  const before = broker.descriptors()
  const firing = new AbortController()
  const probing = probe(broker.url, firing.signal)
  let kept = 0
  let sent = 0
  let trouble: string | undefined
  try {
    await fire('first')
    const memory = await broker.memory()
    sent = await fire('second')
    kept = (await broker.memory()) - memory
  } catch (error) {
    // A process that has ended cannot be asked; what its end says is told when it is stopped.
    trouble = `the process cannot be watched: ${error instanceof Error ? error.message : error}`
  } finally {
    firing.abort()
  }
  const { slowestMs, count, problems } = await probing
  if (trouble !== undefined) problems.unshift(trouble)
  const after = await settled(broker, before)
  if (kept > SPARE_BYTES + maxKeptBytes * sent) {
    problems.push(`memory: ${kept} bytes are kept of ${sent} requests, and ${maxKeptBytes} may be of each`)
  }
  if (before !== undefined && after !== undefined && after > before + SPARE_DESCRIPTORS) {
    problems.push(`file descriptors: ${before} before, ${after} after`)
  }
  return {
    keptBytes: kept / Math.max(1, sent),
    slowestProbeMs: slowestMs,
    probes: count,
    descriptors: { before, after },
    problems
  }
}

async function probe(url: string, signal: AbortSignal) {
  const client = new FuzzClient(url)
  const problems: string[] = []
  let slowestMs = 0
  let count = 0
  while (!signal.aborted) {
    const began = performance.now()
    try {
      const { status } = await client.send({ method: 'GET', path: '/healthz', headers: {} })
      if (status !== 200) problems.push(`/healthz answered ${status}`)
    } catch (error) {
      // Once is enough to know of a process that has ended.
      if (problems.length < MAX_PROBLEMS) problems.push(`/healthz: ${error instanceof Error ? error.message : error}`)
    }
    const took = performance.now() - began
    if (took > PROBE_MS) problems.push(`/healthz took ${Math.round(took)} ms`)
    slowestMs = Math.max(slowestMs, took)
    count += 1
    await delay(PROBE_EVERY_MS)
  }
  client.close()
  return { slowestMs, count, problems }
}

/** Closing takes a moment. */
async function settled(broker: BrokerProcess, before: number | undefined): Promise<number | undefined> {
  for (const end = Date.now() + SETTLE_MS; ; await delay(50)) {
    const now = broker.descriptors()
    if (now === undefined || before === undefined || now <= before || Date.now() > end) return now
  }
}
