import { escapeIdentifier } from 'pg'
import { ids, provisionBody } from '../harness/catalog.ts'
import type { Figure } from '../harness/figure.ts'
import type { Sample } from '../harness/rounds.ts'
import { type BrokerTarget, query, type Stage } from '../harness/stage.ts'
import { getRate, provisionRate, waitingOperation } from './postgres-store.ts'

const instances = '/v2/service_instances'
/** What a provision writes to. */
const tables = ['osb.service_instances', 'osb.operations', 'osb.audit_events']

interface Side {
  readonly url: string
  readonly broker: BrokerTarget
}

/** How much slower it is with many rows: the figure is the time of a request. */
function withManyRows(figure: Pick<Figure, 'name' | 'title' | 'expected'>, prepareSide: PrepareSide): Figure {
  return {
    ...figure,
    title: `${figure.title} with 1,000,000 instances and operations stored`,
    baseline: 'the same with 1,000',
    goal: { atMost: 1.1 },
    slow: true,
    async prepare(stage) {
      const many = await prepareSide(stage, await filledSide(stage, 'many', 1_000_000))
      const few = await prepareSide(stage, await filledSide(stage, 'few', 1_000))
      return { unit: 'ms', ours: async () => timeOf(await many()), baseline: async () => timeOf(await few()) }
    }
  }
}

type PrepareSide = (stage: Stage, side: Side) => Promise<() => Promise<Sample>>

export const manyRowsFigures: readonly Figure[] = [
  withManyRows({ name: 'poll-many', title: 'poll', expected: 0.95 }, async (stage, { broker }) => {
    const path = await waitingOperation(broker)
    return () => getRate(stage, broker, path)
  }),
  withManyRows(
    { name: 'provision-many', title: 'provision', expected: 1.03 },
    async (stage, { broker, url }) =>
      async () => {
        const rate = await provisionRate(stage, broker, instances)
        await forgetProvisions(url)
        return rate
      }
  )
]

/** Milliseconds of a request, when so many were answered in a second. */
function timeOf({ value, ...rest }: Sample): Sample {
  return { value: 1_000 / value, ...rest }
}

/**
 * A broker with so many instances, each a copy of one that was really provisioned, with its operation and audit events. Nothing
 * but {@link forgetProvisions} cleans up: autovacuum would come to one of the sides, in some of the rounds.
 */
async function filledSide(stage: Stage, name: string, rows: number): Promise<Side> {
  const url = await stage.database(`bench_${name}`)
  const broker = await stage.broker({ BROKER_STORAGE: 'postgres', DATABASE_URL: url })
  await provisionModel(broker)
  for (const table of tables) {
    for (const { leaf } of await query(url, 'SELECT relid::text AS leaf FROM pg_partition_tree($1) WHERE isleaf', [
      table
    ])) {
      await query(url, `ALTER TABLE ${leaf} SET (autovacuum_enabled = false)`)
    }
    const columns = await query(
      url,
      `SELECT attname AS name FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
        AND attidentity = '' AND attname <> 'event_id'`,
      [table]
    )
    const names = columns.map(({ name }) => escapeIdentifier(String(name)))
    const values = names.map((name) =>
      name === '"instance_id"' || name === '"operation_id"' ? `'copy-' || md5(n::text)` : name
    )
    await query(
      url,
      `INSERT INTO ${table} (${names.join(', ')}) SELECT ${values.join(', ')}
      FROM ${table}, generate_series(1, $1::int) AS n WHERE instance_id = 'model'`,
      [rows]
    )
  }
  await forgetProvisions(url)
  return { url, broker }
}

async function provisionModel({ url, headers }: BrokerTarget): Promise<void> {
  const reply = await fetch(`${url}${instances}/model`, {
    method: 'PUT',
    headers: { ...headers, 'content-type': 'application/json' },
    body: provisionBody(ids.sync)
  })
  if (reply.status !== 201) throw new Error(`the model was answered ${reply.status}: ${await reply.text()}`)
  await reply.arrayBuffer()
}

/** Leaves the copies alone, so that every round meets the same rows, and the same disk. */
async function forgetProvisions(url: string): Promise<void> {
  for (const table of tables) {
    // As a replica applies it: the trigger of the audit would refuse it
    await query(url, `SET session_replication_role = replica; DELETE FROM ${table} WHERE instance_id NOT LIKE 'copy-%'`)
    await query(url, `VACUUM (ANALYZE) ${table}`)
  }
  await query(url, 'CHECKPOINT')
}
