import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { openOtlpReceiver } from '../test/helper/otlp-receiver.ts'

/*
 * npm run bench:telemetry: what traces and metrics cost a request. `without`: the instrumentation is taken out of the program;
 * `off`: as it is, and no variable asks for anything; `on`: everything is exported. Rounds take turns, so that whatever else
 * the machine does meets all of them.
 */

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '15' } } })
const rounds = Number(values.rounds)
const workloads = { poll: { turns: 1_000, requests: 1 }, life: { turns: 150, requests: 4 } } as const
const manners = ['without', 'off', 'on'] as const

const receiver = await openOtlpReceiver()
const workers = new Map<string, ChildProcess>()
for (const manner of manners) workers.set(manner, await start(manner))
try {
  console.log('| requests | without | off | on | off / without | on / without |\n| --- | --- | --- | --- | --- | --- |')
  for (const [workload, { turns, requests }] of Object.entries(workloads)) {
    const times = new Map<string, number[]>(manners.map((manner) => [manner, []]))
    // The first rounds of a new process are no one's measure
    for (let round = -3; round < rounds; round += 1) {
      for (const [manner, worker] of workers) {
        worker.send({ workload, turns })
        const [micros] = await once(worker, 'message')
        if (round >= 0) times.get(manner)?.push(micros / requests)
      }
    }
    const [without = Number.NaN, off = Number.NaN, on = Number.NaN] = manners.map((manner) =>
      median(times.get(manner) ?? [])
    )
    const micros = [without, off, on].map((time) => `${time.toFixed(0)} µs`)
    console.log(
      `| ${workload} | ${micros.join(' | ')} | ${(off / without).toFixed(3)} | ${(on / without).toFixed(3)} |`
    )
  }
  console.log(`\nprocessor time of a request, medians of ${rounds} rounds`)
} finally {
  await Promise.all([...workers.values()].map((worker) => Promise.all([once(worker, 'exit'), worker.disconnect()])))
  await receiver.close()
}

async function start(manner: string): Promise<ChildProcess> {
  const exporting = manner === 'on' ? { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url } : {}
  const worker = fork(new URL('telemetry-worker.ts', import.meta.url), {
    env: { PATH: process.env.PATH, MANNER: manner, ...exporting }
  })
  await once(worker, 'message')
  return worker
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}
