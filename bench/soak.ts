import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { load } from './harness/load.ts'
import { positive } from './harness/options.ts'
import { askProbe, residentMegabytes } from './harness/processes.ts'
import { machine } from './harness/report.ts'
import { type BrokerTarget, Stage } from './harness/stage.ts'
import { type Point, slope } from './harness/statistics.ts'

/*
 * npm run bench:soak [-- --minutes 30 --rate 100]: memory of `osb serve` under a steady mixed load on PostgreSQL. Instances
 * and bindings go as they come, so that nothing but a leak grows. It fails when the slope of the second and the last third is
 * beyond what is allowed: of the resident memory, or of the heap after a collection.
 */

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '30' }, rate: { type: 'string', default: '100' } }
})
const [minutes, rate] = [positive('minutes', values.minutes), positive('rate', values.rate)]

const SAMPLES = 180
/** A machine that is busy for a moment has some refused, as it should; more than that is another load. */
const MAY_REFUSE = 0.01
/** Samples from one line of the log to the next. */
const SHOWN = 18
const MS_PER_HOUR = 3_600_000
/** In MB an hour: a heap that has leaked nothing is the same to a few hundred kB, resident memory is V8's to give back. */
const ALLOWED = { resident: 30, heap: 5 }

console.log(machine())
const stage = new Stage({ rounds: 1, seconds: minutes * 60, short: false, rows: 0 })
try {
  const url = await stage.database('bench_soak')
  const broker = await stage.broker({ BROKER_STORAGE: 'postgres', DATABASE_URL: url }, { probed: true })
  const { resident, heap } = await soak(broker)
  for (const [name, points, allowed] of [
    ['resident memory', resident, ALLOWED.resident],
    ['heap after a collection', heap, ALLOWED.heap]
  ] as const) {
    const growth = slope(settled(points)) * MS_PER_HOUR
    const verdict = growth <= allowed ? 'flat' : 'grows'
    const ends = `${megabytes(points[0])} at first, ${megabytes(points.at(-1))} at the end`
    const bound = `${growth.toFixed(2)} MB an hour over the last two thirds (at most ${allowed})`
    console.log(`${name}: ${ends}; ${bound}: ${verdict}`)
    if (growth > allowed) process.exitCode = 1
  }
} finally {
  await stage.close()
}

async function soak(broker: BrokerTarget): Promise<{ resident: Point[]; heap: Point[] }> {
  const [resident, heap]: [Point[], Point[]] = [[], []]
  const seconds = minutes * 60
  let ended = false
  const loaded = load(broker, {
    scenario: 'mixed',
    path: '/v2/service_instances',
    connections: 10,
    seconds,
    rate,
    mayRefuse: MAY_REFUSE
  }).finally(() => {
    ended = true
  })
  const begin = performance.now()
  const sampling = (async () => {
    while (!ended) {
      // Resident memory first: the collection would change it
      const at = performance.now()
      resident.push({ at, value: residentMegabytes(broker.pid) })
      heap.push({ at, value: (await askProbe(broker.child)).heapMegabytes })
      if (resident.length % SHOWN === 1)
        console.log(
          `${((at - begin) / 60_000).toFixed(1)} min: ${megabytes(resident.at(-1))} resident, ${megabytes(heap.at(-1))} heap`
        )
      await Promise.race([sleep((seconds * 1_000) / SAMPLES), loaded])
    }
  })()
  const [{ requests, refused, busy, p99Ms }] = await Promise.all([loaded, sampling])
  const share = busy.server === undefined ? '' : `, server busy ${(busy.server * 100).toFixed(0)} %`
  console.log(`${requests} requests in ${minutes} minutes, ${refused} refused, 99 of 100 within ${p99Ms} ms${share}`)
  return { resident, heap }
}

/** Without the first third, in which caches fill and code is compiled. */
function settled(points: readonly Point[]): readonly Point[] {
  return points.slice(Math.floor(points.length / 3))
}

function megabytes(point: Point | undefined): string {
  return `${point?.value.toFixed(1)} MB`
}
