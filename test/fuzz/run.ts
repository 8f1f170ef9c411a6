import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { temporaryDataDir } from '../helper/postgres.ts'
import { openMemoryBroker } from './memory-broker.ts'
import type { Extent, Part } from './part.ts'
import { openPostgresState } from './postgres-state.ts'
import { openBrokerProcess } from './process.ts'
import { sequences } from './sequences.ts'
import { type Vitals, watched } from './watch.ts'
import { wire } from './wire.ts'

/*
 * npm run fuzz -- [--requests 20000] [--seed N] [--minutes 0] [--part process|state|postgres|wire [--path P]]
 * Requests as platforms send them, most of them broken in one place, and bytes that are no requests. A failure is made
 * as short as it can be, and printed with the command that repeats it. With --minutes, round after round.
 */

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '20000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    minutes: { type: 'string', default: '0' },
    part: { type: 'string' },
    path: { type: 'string' }
  }
})

/** What the memory store keeps of a request on the average (operations, for a week), with room; and what the other does. */
const MAX_KEPT_BYTES = { memory: 1_500, postgres: 500 }

interface Outcome {
  readonly parts: readonly Part[]
  readonly vitals?: Vitals
  readonly problems: readonly string[]
}

/** The parts of a run, with their shares of the requests. */
const parts: Record<string, { share: number; run: (extent: Extent) => Promise<Outcome> }> = {
  process: { share: 0.6, run: (extent) => onProcess(extent, sequences) },
  wire: { share: 0.15, run: (extent) => onProcess(extent, ({ url }, own) => wire(url, own)) },
  state: { share: 0.2, run: onMemory },
  postgres: { share: 0.05, run: onPostgres }
}

const requests = positive('requests')
const until = Date.now() + number('minutes') * 60_000
const chosen = Object.entries(parts).filter(([name]) => values.part === undefined || name === values.part)
if (chosen.length === 0)
  throw new TypeError(`--part must be one of ${Object.keys(parts).join(', ')}, not ${values.part}`)
let failed = false
for (let seed = number('seed'); ; seed += 1) {
  for (const [name, { share, run }] of chosen) {
    const began = Date.now()
    const count = Math.ceil(requests * (values.part === undefined ? share : 1))
    const outcome = await run({ requests: count, seed, path: values.path })
    failed = report(name, { seed, count, ms: Date.now() - began }, outcome) || failed
  }
  if (failed || Date.now() >= until) break
}
process.exitCode = failed ? 1 : 0

/** Half of it warms the process up; what it keeps of the other half is what it keeps. */
async function onProcess(
  extent: Extent,
  fire: (target: { url: string }, own: Extent) => Promise<Part>
): Promise<Outcome> {
  const broker = await openBrokerProcess({ variables: { BROKER_STORAGE: 'memory' }, slowMs: 1_500 })
  const fired: Part[] = []
  const vitals = await watched(broker, MAX_KEPT_BYTES.memory, async (half) => {
    const part = await fire(broker, halfOf(extent, half))
    fired.push(part)
    return part.sent
  })
  return { parts: fired, vitals, problems: [...vitals.problems, ...(await broker.stop())] }
}

async function onMemory(extent: Extent): Promise<Outcome> {
  const broker = await openMemoryBroker()
  try {
    const part = await sequences(broker, extent)
    return { parts: [part], problems: broker.errors }
  } finally {
    await broker.close()
  }
}

async function onPostgres(extent: Extent): Promise<Outcome> {
  const dataDir = temporaryDataDir()
  const server = await startEmbeddedPostgres({ dataDir, databases: ['state'], settings: { fsync: 'off' } })
  const connectionString = server.urlOf('state')
  const broker = await openBrokerProcess({
    variables: { BROKER_STORAGE: 'postgres', DATABASE_URL: connectionString },
    // The state is looked at when it has ended.
    slowMs: 200
  })
  const state = await openPostgresState(connectionString)
  const fired: Part[] = []
  const vitals = await watched(broker, MAX_KEPT_BYTES.postgres, async (half) => {
    const part = await sequences({ url: broker.url, state }, halfOf(extent, half))
    fired.push(part)
    return part.sent
  })
  const problems = [...vitals.problems, ...(await broker.stop())]
  await state.close()
  await server.stop()
  await rm(join(dataDir), { recursive: true, force: true })
  return { parts: fired, vitals, problems }
}

/** The two halves differ in their seeds; a failure is repeated in either. */
function halfOf({ requests, seed, path }: Extent, half: 'first' | 'second'): Extent {
  return { requests: requests / 2, seed: half === 'first' || path !== undefined ? seed : -seed, path }
}

function report(name: string, run: { seed: number; count: number; ms: number }, outcome: Outcome): boolean {
  const sent = outcome.parts.reduce((sum, part) => sum + part.sent, 0)
  console.log(`\n${name}: ${sent} requests in ${(run.ms / 1_000).toFixed(1)} s, seed ${run.seed}`)
  const counts = new Map<string, number>()
  for (const { answers } of outcome.parts)
    for (const [key, count] of answers) counts.set(key, (counts.get(key) ?? 0) + count)
  for (const [key, count] of [...counts].sort()) console.log(`  ${String(count).padStart(7)}  ${key}`)
  if (outcome.vitals !== undefined) {
    const { keptBytes, slowestProbeMs, probes, descriptors } = outcome.vitals
    console.log(`  ${Math.round(keptBytes)} bytes kept for each request`)
    console.log(`  ${probes} probes of /healthz, the slowest took ${Math.round(slowestProbeMs)} ms`)
    console.log(`  ${descriptors.before} file descriptors before, ${descriptors.after} after`)
  }
  for (const problem of outcome.problems) console.log(`PROBLEM ${problem}`)
  const failures = outcome.parts.flatMap(({ failure }) => failure ?? [])
  outcome.parts.forEach(({ failure, seed }) => {
    if (failure === undefined) return
    console.log(`FAILURE ${failure.message}\n  the shortest that fails:`)
    for (const line of failure.example) console.log(`    ${line}`)
    console.log(`  again: npm run fuzz -- --part ${name} --seed ${seed} --path ${failure.path}`)
  })
  return failures.length > 0 || outcome.problems.length > 0
}

function number(name: 'requests' | 'seed' | 'minutes'): number {
  const value = Number(values[name])
  if (!Number.isFinite(value)) throw new TypeError(`--${name} must be a number, not ${values[name]}`)
  return value
}

function positive(name: 'requests'): number {
  const value = number(name)
  if (value <= 0) throw new TypeError(`--${name} must be above 0, not ${values[name]}`)
  return value
}
