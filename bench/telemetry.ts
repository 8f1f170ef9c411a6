import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { openOtlpReceiver } from '../test/helper/otlp-receiver.ts'
import { median } from './harness/statistics.ts'

/*
 * npm run bench:telemetry: what traces and metrics cost a request. `without`: the instrumentation is taken out of the program;
 * `off`: as it is, and no variable asks for anything; `on`: everything is exported. Rounds take turns, so that whatever else
 * the machine does meets all of them.
 */

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '101' } } })
const rounds = Number(values.rounds)
const workloads = { poll: { turns: 300, requests: 1 }, life: { turns: 75, requests: 4 } } as const
const manners = ['without', 'off', 'on'] as const
/** The first rounds of a new process are no one's measure. */
const WARM_UP = 10

type Manner = (typeof manners)[number]
type Times = Record<Manner, number>

const receiver = await openOtlpReceiver()
const workers = new Map<Manner, ChildProcess>()
for (const manner of manners) workers.set(manner, await start(manner))
try {
  console.log('| requests | without | off | on | off / without | on / without |\n| --- | --- | --- | --- | --- | --- |')
  for (const [workload, { turns, requests }] of Object.entries(workloads)) {
    const all: Times[] = []
    for (let round = 0; round < WARM_UP + rounds; round += 1) {
      const times: Times = { without: 0, off: 0, on: 0 }
      // Each is the first of a round as often as the others
      for (let index = 0; index < manners.length; index += 1) {
        const manner = manners[(round + index) % manners.length] ?? 'on'
        times[manner] = (await measure(manner, { workload, turns })) / requests
      }
      if (round >= WARM_UP) all.push(times)
    }
    const micros = manners.map((manner) => `${median(all.map((times) => times[manner])).toFixed(0)} µs`)
    const ratios = [
      median(all.map(({ off, without }) => off / without)),
      median(all.map(({ on, without }) => on / without))
    ]
    console.log(`| ${workload} | ${micros.join(' | ')} | ${ratios.map((ratio) => ratio.toFixed(2)).join(' | ')} |`)
  }
  console.log(`\nprocessor time of a request; medians of ${rounds} rounds, and of the ratios within each`)
} finally {
  await Promise.all([...workers.values()].map((worker) => Promise.all([once(worker, 'exit'), worker.disconnect()])))
  await receiver.close()
}

async function measure(manner: Manner, work: { workload: string; turns: number }): Promise<number> {
  const worker = workers.get(manner)
  if (worker === undefined) throw new Error(`no worker for ${manner}`)
  worker.send(work)
  const [micros] = await once(worker, 'message')
  return micros
}

async function start(manner: Manner): Promise<ChildProcess> {
  const exporting = manner === 'on' ? { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url } : {}
  const worker = fork(new URL('telemetry-worker.ts', import.meta.url), {
    env: { PATH: process.env.PATH, MANNER: manner, ...exporting }
  })
  await once(worker, 'message')
  return worker
}
