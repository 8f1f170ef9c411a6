import { ids, provisionBody } from '../harness/catalog.ts'
import type { Figure } from '../harness/figure.ts'
import { load } from '../harness/load.ts'
import { type BrokerTarget, query, type Stage } from '../harness/stage.ts'

const instances = '/v2/service_instances'

export const pollFigure: Figure = {
  name: 'poll',
  title: 'poll `last_operation` on PostgreSQL',
  baseline: 'a bare route with one primary-key SELECT through `pg`',
  goal: { atLeast: 0.7 },
  async prepare(stage) {
    const url = await stage.database('bench')
    const broker = await stage.broker({ BROKER_STORAGE: 'postgres', DATABASE_URL: url })
    const bare = await stage.bare({ DATABASE_URL: url })
    const path = await waitingOperation(broker)
    return {
      unit: 'requests/s',
      ours: () => rateOf(stage, broker, path),
      baseline: () => rateOf(stage, { url: bare.url, headers: {} }, '/select/row-500')
    }
  }
}

export const provisionFigure: Figure = {
  name: 'provision',
  title: 'synchronous provision on PostgreSQL, provider `example`, 50 clients',
  baseline: 'a bare route with one plain INSERT',
  goal: { atLeast: 1 },
  async prepare(stage) {
    const url = await stage.database('bench')
    const broker = await stage.broker({ BROKER_STORAGE: 'postgres', DATABASE_URL: url })
    const bare = await stage.bare({ DATABASE_URL: url })
    return {
      unit: 'requests/s',
      ours: () => provisionRate(stage, broker, instances),
      baseline: () => provisionRate(stage, { url: bare.url, headers: {} }, '/insert')
    }
  }
}

/** How much slower it is with many rows: the figure is the time of a request. */
function withManyRows(
  name: string,
  title: string,
  time: (stage: Stage, broker: BrokerTarget) => Promise<number>
): Figure {
  return {
    name,
    title: `${title} with 1,000,000 instances and operations stored`,
    baseline: 'the same with 1,000',
    goal: { atMost: 1.1 },
    async prepare(stage) {
      const many = await filledBroker(stage, { name: 'many', rows: stage.pace.short ? 100_000 : 1_000_000 })
      const few = await filledBroker(stage, { name: 'few', rows: 1_000 })
      return { unit: 'ms', ours: () => time(stage, many), baseline: () => time(stage, few) }
    }
  }
}

export const manyRowsFigures: readonly Figure[] = [
  withManyRows('poll-many', 'poll', async (stage, broker) => {
    const path = await waitingOperation(broker)
    return 1_000 / (await rateOf(stage, broker, path))
  }),
  withManyRows(
    'provision-many',
    'provision',
    async (stage, broker) => 1_000 / (await provisionRate(stage, broker, instances))
  )
]

interface Side {
  readonly url: string
  readonly headers: Record<string, string>
}

async function rateOf({ pace }: Stage, { url, headers }: Side, path: string): Promise<number> {
  const order = { scenario: 'get', url, path, headers, connections: 20, seconds: pace.seconds } as const
  return (await load(order)).requestsPerSecond
}

async function provisionRate({ pace }: Stage, { url, headers }: Side, path: string): Promise<number> {
  const order = { scenario: 'provision', url, path, headers, connections: 50, seconds: pace.seconds } as const
  return (await load(order)).requestsPerSecond
}

/** An operation that does not end; answers the path of its polls. */
async function waitingOperation({ url, headers }: BrokerTarget): Promise<string> {
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

/** A broker with so many instances, each with a finished provision. */
async function filledBroker(stage: Stage, { name, rows }: { name: string; rows: number }): Promise<BrokerTarget> {
  const url = await stage.database(`bench_${name}`)
  const broker = await stage.broker({ BROKER_STORAGE: 'postgres', DATABASE_URL: url })
  await query(
    url,
    `INSERT INTO osb.service_instances (instance_id, platform, provider, service_id, plan_id, organization_guid,
      space_guid, context, parameters, status, created_at, updated_at)
    SELECT gen_random_uuid()::text, 'default', 'example', $2, $3, 'org', 'space', '{}', '{}', 'ready', now(), now()
    FROM generate_series(1, $1::int)`,
    [rows, ids.service, ids.sync]
  )
  await query(
    url,
    `INSERT INTO osb.operations (operation_id, kind, platform, instance_id, state, async, internal, attempt, deadline,
      created_at, started_at, finished_at)
    SELECT gen_random_uuid()::text, 'provision', 'default', instance_id, 'succeeded', false, false, 1, now(), now(),
      now(), now()
    FROM osb.service_instances`
  )
  await query(url, 'VACUUM ANALYZE osb.service_instances')
  await query(url, 'VACUUM ANALYZE osb.operations')
  await query(url, 'CHECKPOINT')
  return broker
}
