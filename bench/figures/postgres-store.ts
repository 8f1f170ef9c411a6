import { ids, provisionBody } from '../harness/catalog.ts'
import type { Figure } from '../harness/figure.ts'
import { type LoadTarget, load, perSecond } from '../harness/load.ts'
import { askProbe } from '../harness/processes.ts'
import type { Sample } from '../harness/rounds.ts'
import type { BrokerTarget, Stage } from '../harness/stage.ts'

const instances = '/v2/service_instances'

export const pollFigure: Figure = {
  name: 'poll',
  title: 'poll `last_operation` on PostgreSQL',
  baseline: 'a bare route with one primary-key SELECT through `pg`',
  goal: { atLeast: 0.7 },
  expected: 1.7,
  async prepare(stage) {
    const { broker, bare } = await sides(stage)
    const path = await waitingOperation(broker)
    return {
      unit: 'requests/s',
      ours: () => getRate(stage, broker, path),
      baseline: () => getRate(stage, bare, '/select/row-500')
    }
  }
}

export const provisionFigure: Figure = {
  name: 'provision',
  title: 'synchronous provision on PostgreSQL, provider `example`, 50 clients',
  baseline: 'a bare route with one plain INSERT',
  goal: { atLeast: 1 },
  expected: 0.52,
  async prepare(stage) {
    const { broker, bare } = await sides(stage)
    return {
      unit: 'requests/s',
      ours: () => provisionRate(stage, broker, instances),
      baseline: () => provisionRate(stage, bare, '/insert')
    }
  }
}

export const eventLoopFigure: Figure = {
  name: 'event-loop',
  title: "99th percentile of the event loop's delay under mixed load on PostgreSQL, 20 clients",
  baseline: 'the limit of 50 ms',
  goal: { atMost: 1 },
  expected: 0.27,
  async prepare(stage) {
    const url = await stage.database('bench')
    const broker = await stage.broker({ BROKER_STORAGE: 'postgres', DATABASE_URL: url }, { probed: true })
    const database = (await stage.postgres()).pid
    return {
      unit: 'ms',
      ours: async () => {
        await askProbe(broker.child)
        const { seconds } = stage.pace
        const order = { scenario: 'mixed', path: instances, connections: 20, seconds, database } as const
        const { busy } = await load(broker, order)
        return { value: (await askProbe(broker.child)).delayP99Ms, busy }
      },
      baseline: async () => ({ value: 50 })
    }
  }
}

async function sides(stage: Stage): Promise<{ broker: BrokerTarget; bare: LoadTarget }> {
  const url = await stage.database('bench')
  const broker = await stage.broker({ BROKER_STORAGE: 'postgres', DATABASE_URL: url })
  return { broker, bare: await stage.bare({ DATABASE_URL: url }) }
}

export async function getRate(stage: Stage, target: LoadTarget, path: string): Promise<Sample> {
  const { seconds } = stage.pace
  const database = (await stage.postgres()).pid
  return perSecond(await load(target, { scenario: 'get', path, connections: 20, seconds, database }))
}

export async function provisionRate(stage: Stage, target: LoadTarget, path: string): Promise<Sample> {
  const { seconds } = stage.pace
  const database = (await stage.postgres()).pid
  return perSecond(await load(target, { scenario: 'provision', path, connections: 50, seconds, database }))
}

/** An operation that does not end; answers the path of its polls. */
export async function waitingOperation({ url, headers }: BrokerTarget): Promise<string> {
  const path = `${instances}/waiting-${Date.now()}`
  const reply = await fetch(`${url}${path}?accepts_incomplete=true`, {
    method: 'PUT',
    headers: { ...headers, 'content-type': 'application/json' },
    body: provisionBody(ids.waiting)
  })
  const { operation } = (await reply.json()) as { operation?: string }
  if (operation === undefined) throw new Error(`a provision to wait for was answered ${reply.status}`)
  return `${path}/last_operation?operation=${operation}`
}
