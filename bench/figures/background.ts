import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Figure } from '../harness/figure.ts'
import { type LoadTarget, load } from '../harness/load.ts'
import { startTarget, type Target } from '../harness/processes.ts'
import type { Measure } from '../harness/rounds.ts'
import { query, type Stage } from '../harness/stage.ts'

const worker = fileURLToPath(new URL('../targets/pg-boss-worker.ts', import.meta.url))
const clients = 50

export const backgroundFigure: Figure = {
  name: 'background',
  title: 'asynchronous provisions accepted and finished a second, `example` without delay, two replicas',
  baseline: 'pg-boss alone: as many jobs sent and done by two processes with an empty handler',
  goal: { atLeast: 0.6 },
  expected: 0.6,
  async prepare(stage) {
    return {
      unit: 'operations/s',
      ours: await ourReplicas(stage),
      baseline: await pgBossWorkers(stage)
    }
  }
}

/** Requests go to both replicas, and both work. */
async function ourReplicas(stage: Stage): Promise<Measure> {
  const url = await stage.database('bench_replicas')
  const keys = `k1:${Buffer.alloc(32, 7).toString('base64')}`
  const env = { BROKER_STORAGE: 'postgres', DATABASE_URL: url, BROKER_ENCRYPTION_KEYS: keys }
  const replicas = [await stage.broker(env, { place: 'anywhere' }), await stage.broker(env, { place: 'anywhere' })]
  return finished(stage, url, {
    targets: replicas,
    order: { scenario: 'provisionAsync', path: '/v2/service_instances' },
    unfinished: `SELECT count(*)::int AS n FROM osb.operations WHERE state = 'in progress'`,
    took: `SELECT extract(epoch FROM max(finished_at) - min(created_at))::float AS seconds, count(*)::int AS n
      FROM osb.operations WHERE created_at >= $1`
  })
}

/** Both send and both work. */
async function pgBossWorkers(stage: Stage): Promise<Measure> {
  const url = await stage.database('bench_pg_boss')
  const workers: Target[] = []
  for (let index = 0; index < 2; index += 1) {
    const target = await startTarget([worker], { place: 'anywhere', env: { DATABASE_URL: url } })
    stage.cleanUp(() => target.stop())
    workers.push(target)
  }
  return finished(stage, url, {
    targets: workers,
    order: { scenario: 'provision', path: '/jobs' },
    unfinished: `SELECT count(*)::int AS n FROM pgboss.job WHERE name = 'bench' AND state < 'completed'`,
    took: `SELECT extract(epoch FROM max(completed_on) - min(created_on))::float AS seconds, count(*)::int AS n
      FROM pgboss.job WHERE name = 'bench' AND created_on >= $1`
  })
}

interface Work {
  readonly targets: readonly LoadTarget[]
  readonly order: { readonly scenario: 'provision' | 'provisionAsync'; readonly path: string }
  readonly unfinished: string
  /** From the first that was accepted to the last that ended, by what the rows say; and how many they were. */
  readonly took: string
}

function finished(stage: Stage, url: string, { targets, order, unfinished, took }: Work): Measure {
  const amount = stage.pace.short ? 200 : 1_000
  const share = { connections: clients / targets.length, seconds: 0, amount: amount / targets.length }
  return async () => {
    const [begin] = await query(url, 'SELECT now() AS at')
    await Promise.all(targets.map((target) => load(target, { ...order, ...share })))
    while ((await query(url, unfinished))[0]?.n !== 0) await sleep(20)
    const [{ seconds, n } = {}] = await query(url, took, [begin?.at])
    if (n !== amount) throw new Error(`${n} of ${amount} were found to have been done`)
    return { value: amount / Number(seconds) }
  }
}
