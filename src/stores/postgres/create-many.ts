import type { Enqueue, InstanceRecord, Start, StartResult } from '../../core/store.ts'
import { columnArrays } from './arrays.ts'
import { auditedColumns, auditOf } from './audit.ts'
import type { StoreContext } from './context.ts'
import { instanceColumns, operationColumns } from './rows.ts'
import { inTransaction, type SqlTransaction } from './transactions.ts'
import { isOfOne } from './trouble.ts'

/** Whoever has to wait longer for somebody's lock is to wait alone, and has the time for it. */
const LOCK_MS = 1_000

/** A start that makes an instance, and that nothing but the id can stand in the way of. */
export type PlainCreate = Start & { readonly insertInstance: InstanceRecord }

/** One of those that go together, and what hands its operation over. */
export interface EnqueuedCreate {
  readonly start: PlainCreate
  readonly enqueue: Enqueue
}

/** Those that a quota counts have to see more than one statement sees. */
export function isPlainCreate(start: Start): start is PlainCreate {
  const { operation, insertInstance, quota } = start
  return insertInstance !== undefined && operation.halts === undefined && quota === undefined
}

/**
 * {@link Store.start} for several at once: one statement, which is one round trip and one commit for all of them. An id that
 * is taken is passed over and `changed`. What one of them trips over fails all: each is to be tried `alone` then.
 */
export async function createMany(
  context: StoreContext,
  creates: readonly EnqueuedCreate[]
): Promise<(StartResult | 'alone')[]> {
  const first = new Map(creates.toReversed().map((create) => [idOf(create), create]))
  // In one order in every batch, so that no two wait for each other.
  const unique = [...first.values()].sort((a, b) => (idOf(a) < idOf(b) ? -1 : 1))
  try {
    const made = await insert(context, unique)
    // Of two of one id in a batch the later one finds it taken.
    return creates.map((create) =>
      first.get(idOf(create)) === create && made.has(idOf(create)) ? 'started' : 'changed'
    )
  } catch (error) {
    if (!(error instanceof NotHandedOver) && !isOfOne(error)) throw error
    return creates.map(() => 'alone')
  }
}

/** The operation of one could not be handed over; nothing was written of any. */
class NotHandedOver extends Error {}

async function handOver({ start, enqueue }: EnqueuedCreate, sql: SqlTransaction): Promise<void> {
  try {
    await enqueue(start.operation, sql)
  } catch (cause) {
    throw new NotHandedOver('an operation could not be handed over', { cause })
  }
}

function idOf({ start }: EnqueuedCreate): string {
  return start.insertInstance.instanceId
}

/** Answers the ids of those that were made. */
async function insert(context: StoreContext, creates: readonly EnqueuedCreate[]): Promise<ReadonlySet<string>> {
  const { pool, tables, sealer, leaseMs } = context
  const starts = creates.map(({ start }) => start)
  const instances = columnArrays(
    await Promise.all(
      starts.map(async ({ insertInstance }) => {
        const { instanceId } = insertInstance
        return { instance_id: instanceId, ...(await instanceColumns(instanceId, insertInstance, sealer)) }
      })
    ),
    3
  )
  const operations = columnArrays(
    starts.map(({ operation }) => operationColumns(operation)),
    3 + instances.values.length
  )
  const leased = starts.flatMap(({ operation }) => (operation.leaseUntil === undefined ? [] : [operation.operationId]))
  return inTransaction(
    pool,
    async (sql) => {
      const rows = await sql.query<{ instance_id: string }>(
        `WITH made AS (
      INSERT INTO ${tables.instances} (${instances.names})
      SELECT ${instances.names} FROM unnest(${instances.places}) AS wanted (${instances.names})
      ON CONFLICT (instance_id) DO NOTHING
      RETURNING instance_id, service_id, plan_id
    ), written AS (
      INSERT INTO ${tables.operations} (${operations.names}, lease_until)
      SELECT ${operations.names},
        CASE WHEN operation_id = ANY ($2::text[]) THEN clock_timestamp() + $1::double precision * interval '1 millisecond' END
      FROM unnest(${operations.places}) AS wanted (${operations.names}) JOIN made USING (instance_id)
      RETURNING ${auditedColumns}
    ), audited AS (${auditOf(tables, 'written', "'started'", 'made')})
    SELECT instance_id FROM made`,
        [leaseMs, leased, ...instances.values, ...operations.values]
      )
      const made = new Set(rows.map((row) => row.instance_id))
      for (const create of creates) if (made.has(idOf(create))) await handOver(create, sql)
      return made
    },
    { lockMs: LOCK_MS }
  )
}
