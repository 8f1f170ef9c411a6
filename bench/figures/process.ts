import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Figure } from '../harness/figure.ts'
import { load } from '../harness/load.ts'
import { placed, residentMegabytes } from '../harness/processes.ts'
import type { Sample } from '../harness/rounds.ts'
import type { BrokerTarget, Stage } from '../harness/stage.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const bundle = join(root, 'dist/bundle/osb.mjs')

let bundled: Promise<unknown> | undefined

/** The file that the image and the archives run, made anew, with the code compiled by a run before as theirs is. */
function prepareBundle(): Promise<unknown> {
  const run = (...args: string[]) => promisify(execFile)(process.execPath, args, { cwd: root })
  bundled ??= run('deploy/build/bundle.ts').then(() => run(bundle, '--help'))
  return bundled
}

/** How long a process is left alone before it counts as idle. */
const settle = ({ pace }: Stage) => sleep(pace.short ? 500 : 2_000)

export const processFigures: readonly Figure[] = [
  {
    name: 'start',
    title: 'start of the bundle to the first 200',
    baseline: '`node -e 0`',
    goal: { atMost: 4 },
    expected: 15.9,
    async prepare(stage) {
      await prepareBundle()
      return {
        unit: 'ms',
        ours: () => startTime(stage),
        baseline: () => nodeDoesNothing()
      }
    }
  },
  {
    name: 'memory-idle',
    title: 'memory when idle',
    baseline: 'a bare Node process that does nothing',
    goal: { atMost: 2.2 },
    expected: 2.67,
    async prepare(stage) {
      await prepareBundle()
      return { unit: 'MB', ours: () => memory(stage), baseline: () => bareMemory(stage) }
    }
  },
  {
    name: 'memory-used',
    title: 'memory after 100,000 requests of mixed load, state in PostgreSQL',
    baseline: 'a bare Node process that does nothing',
    goal: { atMost: 3 },
    expected: 7.7,
    slow: true,
    async prepare(stage) {
      await prepareBundle()
      // In memory it would be the operations that are kept for a week, and no figure of the program's
      const url = await stage.database('bench')
      const env = { BROKER_STORAGE: 'postgres', DATABASE_URL: url }
      return { unit: 'MB', ours: () => memory(stage, { env, requests: 100_000 }), baseline: () => bareMemory(stage) }
    }
  }
]

/** From the start of the process to the first answer. */
async function startTime(stage: Stage): Promise<Sample> {
  const begin = performance.now()
  const broker = await healthy(stage)
  const elapsed = performance.now() - begin
  await broker.stop()
  return { value: elapsed }
}

/** A broker that has answered its first probe. */
async function healthy(stage: Stage, env = {}): Promise<BrokerTarget> {
  const broker = await stage.broker(env, { program: bundle })
  const reply = await fetch(`${broker.url}/healthz`)
  if (reply.status !== 200) throw new Error(`/healthz answered ${reply.status}`)
  await reply.arrayBuffer()
  return broker
}

async function memory(stage: Stage, { env = {}, requests = 0 } = {}): Promise<Sample> {
  const broker = await healthy(stage, env)
  const order = { scenario: 'mixed', path: '/v2/service_instances', connections: 20, seconds: 0 } as const
  if (requests > 0) await load(broker, { ...order, amount: requests })
  await settle(stage)
  const megabytes = residentMegabytes(broker.pid)
  await broker.stop()
  return { value: megabytes }
}

async function bareMemory(stage: Stage): Promise<Sample> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
  await once(child, 'spawn')
  await settle(stage)
  const megabytes = residentMegabytes(child.pid ?? 0)
  child.kill()
  await once(child, 'exit')
  return { value: megabytes }
}

async function nodeDoesNothing(): Promise<Sample> {
  const begin = performance.now()
  const [command = '', ...args] = placed('server', [process.execPath, '-e', '0'])
  const child = spawn(command, args, { stdio: 'ignore' })
  await once(child, 'exit')
  return { value: performance.now() - begin }
}
