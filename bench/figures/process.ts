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

/**
 * What the image and the archives run, made anew. The environment that comes back has the code compiled and kept by a run
 * before, as theirs is.
 */
async function prepareBundle(stage: Stage, env: Record<string, string> = {}): Promise<Record<string, string>> {
  bundled ??= promisify(execFile)(process.execPath, ['deploy/build/bundle.ts'], { cwd: root })
  await bundled
  const kept = { ...env, NODE_COMPILE_CACHE: await stage.folder() }
  await (await healthy(stage, kept)).stop()
  return kept
}

/**
 * What Node takes in a container of 256 MiB, which is the limit of the chart and of the manifests. Without any limit it lets
 * new objects have 192 MB on a large machine before it collects, which says nothing of the program.
 */
const CONTAINER = '--max-old-space-size=256 --max-semi-space-size=1'

/** How long a process is left alone before it counts as idle. */
const settle = ({ pace }: Stage) => sleep(pace.short ? 500 : 2_000)

export const processFigures: readonly Figure[] = [
  {
    name: 'start',
    title: 'start of the bundle to the first 200',
    baseline: '`node -e 0`',
    goal: { atMost: 4 },
    expected: 6.5,
    async prepare(stage) {
      const env = await prepareBundle(stage)
      return {
        unit: 'ms',
        ours: () => startTime(stage, env),
        baseline: () => nodeDoesNothing()
      }
    }
  },
  {
    name: 'memory-idle',
    title: 'memory when idle',
    baseline: 'a bare Node process that does nothing',
    goal: { atMost: 2.2 },
    expected: 2.07,
    async prepare(stage) {
      const env = await prepareBundle(stage)
      return { unit: 'MB', ours: () => memory(stage, { env }), baseline: () => bareMemory(stage) }
    }
  },
  {
    name: 'memory-used',
    title: 'memory after 100,000 requests of mixed load, state in PostgreSQL, with the heap of a container of 256 MiB',
    baseline: 'a bare Node process that does nothing',
    goal: { atMost: 3 },
    expected: 2.8,
    slow: true,
    async prepare(stage) {
      // In memory it would be the operations that are kept for a week, and no figure of the program's
      const url = await stage.database('bench')
      const env = await prepareBundle(stage, {
        BROKER_STORAGE: 'postgres',
        DATABASE_URL: url,
        NODE_OPTIONS: CONTAINER
      })
      return { unit: 'MB', ours: () => memory(stage, { env, requests: 100_000 }), baseline: () => bareMemory(stage) }
    }
  }
]

/** From the start of the process to the first answer. */
async function startTime(stage: Stage, env: Record<string, string>): Promise<Sample> {
  const begin = performance.now()
  const broker = await healthy(stage, env)
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
