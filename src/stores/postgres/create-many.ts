import type { InstanceRecord, Start, StartResult } from '../../core/store.ts'
import { columnArrays } from './arrays.ts'
import { auditedColumns, auditOf } from './audit.ts'
import type { StoreContext } from './context.ts'
import { instanceColumns, operationColumns } from './rows.ts'
import { inTransaction } from './transactions.ts'
import { isOfOne } from './trouble.ts'

/** A start that makes an instance within its request, and that nothing but the id can stand in the way of. */
export type PlainCreate = Start & { readonly insertInstance: InstanceRecord }

/** Those whose operation is the runner's, or that a quota counts, have to see more than one statement sees. */
export function isPlainCreate(start: Start): start is PlainCreate {
  const { operation, insertInstance, quota } = start
  return insertInstance !== undefined && !operation.async && operation.halts === undefined && quota === undefined
}

/**
 * {@link Store.start} for several at once: one statement, which is one round trip and one commit for all of them. An id that
 * is taken is passed over and `changed`. What one of them trips over fails all: each is to be tried `alone` then.
 */
export async function createMany(
  context: StoreContext,
  starts: readonly PlainCreate[]
): Promise<(StartResult | 'alone')[]> {
  const first = new Map(starts.toReversed().map((start) => [start.insertInstance.instanceId, start]))
  // In one order in every batch, so that no two wait for each other.
  const unique = [...first.values()].sort((a, b) =>
    a.insertInstance.instanceId < b.insertInstance.instanceId ? -1 : 1
  )
  try {
    const made = new Set(await insert(context, unique))
    return starts.map((start) => {
      const { instanceId } = start.insertInstance
      // Of two of one id in a batch the later one finds it taken.
      return first.get(instanceId) === start && made.has(instanceId) ? 'started' : 'changed'
    })
  } catch (error) {
    if (!isOfOne(error)) throw error
    return starts.map(() => 'alone')
  }
}

async function insert(context: StoreContext, starts: readonly PlainCreate[]): Promise<string[]> {
  const { pool, tables, sealer, leaseMs } = context
  const instances = columnArrays(
    await Promise.all(
      starts.map(async ({ insertInstance }) => {
        const { instanceId } = insertInstance
        return { instance_id: instanceId, ...(await instanceColumns(instanceId, insertInstance, sealer)) }
      })
    ),
    2
  )
  const operations = columnArrays(
    starts.map(({ operation }) => operationColumns(operation)),
    2 + instances.values.length
  )
  const rows = await inTransaction(pool, (sql) =>
    sql.query<{ instance_id: string }>(
      `WITH made AS (
      INSERT INTO ${tables.instances} (${instances.names})
      SELECT ${instances.names} FROM unnest(${instances.places}) AS wanted (${instances.names})
      ON CONFLICT (instance_id) DO NOTHING
      RETURNING instance_id, service_id, plan_id
    ), written AS (
      INSERT INTO ${tables.operations} (${operations.names}, lease_until)
      SELECT ${operations.names}, clock_timestamp() + $1::double precision * interval '1 millisecond'
      FROM unnest(${operations.places}) AS wanted (${operations.names}) JOIN made USING (instance_id)
      RETURNING ${auditedColumns}
    ), audited AS (${auditOf(tables, 'written', "'started'", 'made')})
    SELECT instance_id FROM made`,
      [leaseMs, ...instances.values, ...operations.values]
    )
  )
  return rows.map((row) => row.instance_id)
}
