import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import type { OperationStart, Start } from '../../src/core/store.ts'
import { type AuditFilter, AuditReader } from '../../src/stores/postgres/index.ts'
import type { Figure } from '../harness/figure.ts'
import { type FilledState, filledState, wanted } from '../harness/filled-state.ts'
import type { Sample } from '../harness/rounds.ts'
import { type Pace, Stage } from '../harness/stage.ts'
import { median } from '../harness/statistics.ts'

/*
 * How long the queries of the store take with many rows, as a ratio to the time with few. The figures share two databases,
 * which take long to fill.
 */

const FEW = 10_000
/** Calls that one measurement takes the median of; in the short form a third of them. */
const CALLS = 60
/** The store takes an operation for new for 10 s and two looks. */
const SETTLE_MS = 16_000
const LOOK_MS = 2_000

interface Both {
  readonly few: FilledState
  readonly many: FilledState
}

let stage: Stage | undefined
let both: Promise<Both> | undefined
let dumps: Promise<unknown> | undefined

/** Ends what the figures share. */
export async function endGrowth(): Promise<void> {
  await both?.catch(() => undefined)
  await stage?.close()
}

async function share(pace: Pace): Promise<Both> {
  stage = new Stage(pace)
  const few = await filledState(stage, 'growth_few', FEW)
  const many = await filledState(stage, 'growth_many', pace.rows)
  return { few, many }
}

/** Opens a snapshot, as `pg_dump` does, in which a tenth of the operations ends. */
async function dump({ url, rows, store }: FilledState): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  stage?.cleanUp(() => client.end())
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT FROM osb.operations LIMIT 1')
  const writer = new Client({ connectionString: url })
  await writer.connect()
  await writer.query(`INSERT INTO osb.operations (operation_id, kind, platform, instance_id, state, async, internal, attempt,
      deadline, created_at)
    SELECT 'dumped-' || n, 'provision', 'platform-0', 'dumped-' || n, 'in progress', true, false, 0, now() + interval '1 h', now()
    FROM generate_series(1, ${Math.ceil(rows / 10)}) AS n`)
  await writer.query(
    `UPDATE osb.operations SET state = 'succeeded', finished_at = now() WHERE operation_id LIKE 'dumped-%'`
  )
  await writer.end()
  for (let waited = 0; waited < SETTLE_MS; waited += LOOK_MS) {
    await store.abandoned()
    await sleep(LOOK_MS)
  }
}

type Call = (state: FilledState) => Promise<unknown>

interface Query {
  readonly name: string
  readonly title: string
  /** Before each call, and not measured. */
  readonly before?: Call
  readonly call: Call
  /** After each call, and not measured. */
  readonly after?: Call
  readonly calls?: number
  /** While a snapshot is open. */
  readonly dumped?: true
}

function growth(query: Query): Figure {
  const { name, title, dumped } = query
  return {
    name: `growth-${name}`,
    group: 'growth',
    title: `${title}, with many rows`,
    baseline: 'the same with 10,000',
    goal: { atMost: 1.5 },
    expected: 1,
    async prepare({ pace }) {
      both ??= share(pace)
      const { few, many } = await both
      if (dumped) {
        dumps ??= Promise.all([dump(few), dump(many)])
        await dumps
      }
      const calls = query.calls ?? (pace.short ? CALLS / 3 : CALLS)
      const timeOn = (state: FilledState) => () => timed(state, { ...query, calls })
      return { unit: 'ms', ours: timeOn(many), baseline: timeOn(few) }
    }
  }
}

async function timed(state: FilledState, { before, call, after, calls }: Query & { calls: number }): Promise<Sample> {
  const times: number[] = []
  for (let index = 0; index < calls; index += 1) {
    await before?.(state)
    const began = performance.now()
    await call(state)
    times.push(performance.now() - began)
    await after?.(state)
  }
  return { value: median(times) }
}

function create(quota?: Start['quota']): Start {
  const now = new Date()
  const instanceId = `created-${randomUUID()}`
  const operation: OperationStart = {
    operationId: randomUUID(),
    kind: 'provision',
    platform: 'platform-0',
    instanceId,
    async: true,
    internal: false,
    claimed: false,
    maximumMs: 3_600_000
  }
  return {
    operation,
    insertInstance: {
      instanceId,
      platform: 'platform-0',
      provider: 'example',
      serviceId: 'service-1',
      planId: 'plan-0',
      organizationGuid: 'o',
      spaceGuid: 's',
      context: {},
      parameters: {},
      status: 'creating',
      createdAt: now,
      updatedAt: now
    },
    ...(quota === undefined ? {} : { quota })
  }
}

/** The start of a create, and what ends it. */
function creating(more?: Start['quota']): Required<Pick<Query, 'before' | 'call' | 'after'>> {
  let start = create(more)
  return {
    before: async () => {
      start = create(more)
    },
    call: async ({ store }) => {
      const result = await store.start(start, async () => {})
      if (result !== 'started') throw new Error(`a create was ${result}`)
    },
    after: async ({ store }) => {
      const result = await store.claim(start.operation.operationId)
      if (result.kind !== 'claimed') throw new Error(`a create was ${result.kind}`)
      const { operationId, attempt, platform } = result.operation
      await store.keepAlive({ operationId, attempt, platform })
      await store.finish({ operationId, attempt, platform }, { state: 'succeeded', instance: { status: 'ready' } })
    }
  }
}

/** The same, but what is measured is the worker's part. */
function working(): Required<Pick<Query, 'before' | 'call'>> {
  const { before, call, after } = creating()
  return {
    before: async (state) => {
      await before(state)
      await call(state)
    },
    call: after
  }
}

const quota = { planId: 'plan-0', instances: 1_000_000_000 }

function audited(filter: AuditFilter): Call {
  return async ({ pool }) => {
    let events = 0
    for await (const page of new AuditReader(pool, filter).pages(100)) events += page.length
    if (events !== wanted.events) throw new Error(`${events} events were read, not ${wanted.events}`)
  }
}

const forgetting: Pick<Query, 'before' | 'call'> = {
  // As long as others, so that they come one after the other and not into what room older ones have left.
  before: ({ pool }) =>
    pool.query(`INSERT INTO osb.operations (operation_id, kind, platform, instance_id, state, async, internal, attempt, deadline,
        description, created_at, finished_at)
      SELECT 'old-' || gen_random_uuid(), 'bind', 'platform-0', 'old', 'succeeded', true, false, 1, now(), repeat('x', 300), now(),
        now() - interval '8 days' FROM generate_series(1, 1000)`),
  call: async ({ store }) => {
    const forgotten = await store.forgetOperations(7.5 * 24 * 3_600_000)
    if (forgotten !== 1_000) throw new Error(`${forgotten} operations were forgotten, not 1000`)
  }
}

/** Of one of the newest operations, as platforms ask for them; older ones would have to come from the disk. */
const poll: Call = async ({ store, rows }) => {
  const operation = await store.getOperation(`operation-${rows - Math.floor(Math.random() * FEW)}`)
  if (operation === undefined) throw new Error('an operation is not there')
  await store.latestOperation(operation)
}

const watch: Call = async ({ store }) => {
  let seen = 0
  for await (const { state } of store.listResources('example', { plans: [wanted.plan], bindings: false })) {
    if (state !== undefined) seen += 1
  }
  if (seen !== wanted.watched) throw new Error(`${seen} instances were listed, not ${wanted.watched}`)
}

const queries: readonly Query[] = [
  { name: 'poll', title: 'poll', call: poll },
  { name: 'create', title: 'create', ...creating() },
  { name: 'create-quota', title: 'create with a quota', ...creating(quota) },
  { name: 'work', title: 'claim, heartbeat and end of an operation', ...working() },
  { name: 'census', title: 'metrics', call: ({ store }) => store.census() },
  { name: 'plans', title: 'plans in use', call: ({ store }) => store.plansInUse() },
  { name: 'abandoned', title: 'look for abandoned operations', call: ({ store }) => store.abandoned() },
  { name: 'forget', title: 'forget 1,000 operations', ...forgetting, calls: 5 },
  { name: 'expired', title: 'look for expired bindings', call: ({ store }) => store.expiredBindings() },
  { name: 'watch', title: `list ${wanted.watched} instances of a plan`, call: watch, calls: 5 },
  { name: 'audit-platform', title: 'audit of a platform', call: audited({ platform: wanted.platform }), calls: 10 },
  { name: 'audit-user', title: 'audit of a user', call: audited({ user: 'ZOE@' }), calls: 10 },
  { name: 'audit-request', title: 'audit of a request', call: audited({ request: wanted.request }), calls: 10 },
  {
    name: 'abandoned-dump',
    title: 'look for abandoned operations while a snapshot is open, in which a tenth of the operations has ended',
    call: ({ store }) => store.abandoned(),
    dumped: true
  },
  {
    name: 'census-dump',
    title: 'metrics while that snapshot is open',
    call: ({ store }) => store.census(),
    dumped: true
  },
  {
    name: 'create-quota-dump',
    title: 'create with a quota while that snapshot is open',
    ...creating(quota),
    dumped: true
  },
  {
    name: 'work-dump',
    title: 'claim, heartbeat and end of an operation while that snapshot is open',
    ...working(),
    dumped: true
  }
]

export const growthFigures: readonly Figure[] = queries.map(growth)
