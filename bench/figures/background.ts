import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Figure } from '../harness/figure.ts'
import { load } from '../harness/load.ts'
import { startTarget, type Target } from '../harness/processes.ts'
import { query, type Stage } from '../harness/stage.ts'

const worker = fileURLToPath(new URL('../targets/pg-boss-worker.ts', import.meta.url))
const clients = 50

export const backgroundFigure: Figure = {
  name: 'background',
  title: 'asynchronous provisions accepted and finished a second, `example` without delay, two replicas',
  baseline: 'pg-boss alone: as many jobs sent and done by two processes with an empty handler',
  goal: { atLeast: 0.6 },
  async prepare(stage) {
    const amount = stage.pace.short ? 300 : 2_000
    const ours = await ourReplicas(stage)
    const theirs = await pgBossWorkers(stage)
    return { unit: 'operations/s', ours: () => ours(amount), baseline: () => theirs(amount) }
  }
}

/** Requests go to both replicas; the last operation to end decides. */
async function ourReplicas(stage: Stage) {
  const url = await stage.database('bench_replicas')
  const keys = `k1:${Buffer.alloc(32, 7).toString('base64')}`
  const env = { BROKER_STORAGE: 'postgres', DATABASE_URL: url, BROKER_ENCRYPTION_KEYS: keys }
  const replicas = [await stage.broker(env, { place: 'anywhere' }), await stage.broker(env, { place: 'anywhere' })]
  return async (amount: number) => {
    const begin = performance.now()
    await Promise.all(
      replicas.map(({ url, headers }) =>
        load({
          scenario: 'provisionAsync',
          url,
          path: '/v2/service_instances',
          headers,
          connections: clients / replicas.length,
          seconds: 0,
          amount: amount / replicas.length
        })
      )
    )
    const left = `SELECT count(*)::int AS left FROM osb.operations WHERE state = 'in progress'`
    while ((await query(url, left))[0]?.left !== 0) await sleep(5)
    return (amount * 1_000) / (performance.now() - begin)
  }
}

/** Both send and both work. */
async function pgBossWorkers(stage: Stage) {
  const url = await stage.database('bench_pg_boss')
  const workers: Target[] = []
  for (let index = 0; index < 2; index += 1) {
    const target = await startTarget([worker], { place: 'anywhere', env: { DATABASE_URL: url } })
    stage.cleanUp(() => target.stop())
    workers.push(target)
  }
  return async (amount: number) => {
    const begin = performance.now()
    await Promise.all(
      workers.map(({ url }) =>
        load({
          scenario: 'provision',
          url,
          path: '/jobs',
          headers: {},
          connections: clients / workers.length,
          seconds: 0,
          amount: amount / workers.length
        })
      )
    )
    const left = `SELECT count(*)::int AS left FROM pgboss.job WHERE name = 'bench' AND state < 'completed'`
    while ((await query(url, left))[0]?.left !== 0) await sleep(5)
    return (amount * 1_000) / (performance.now() - begin)
  }
}
