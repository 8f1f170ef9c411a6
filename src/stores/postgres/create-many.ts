import type { Enqueue, InstanceRecord, Start, StartResult } from '../../core/store.ts'
import { columnArrays } from './arrays.ts'
import { auditOf } from './audit.ts'
import type { StoreContext } from './context.ts'
import { idLockPrefix } from './id-locks.ts'
import { insertOperations } from './insert-operations.ts'
import { instanceColumns } from './rows.ts'
import { inTransaction, type SqlTransaction } from './transactions.ts'
import { isOfOne } from './trouble.ts'

/** Lock timeout of a batch. On timeout each create is retried alone, with the full timeout. */
const LOCK_MS = 1_000

/** A start that makes an instance, and that nothing but the id can stand in the way of. */
export type PlainCreate = Start & { readonly insertInstance: InstanceRecord }

/** One of those that go together, and what hands its operation over. */
export interface EnqueuedCreate {
  readonly start: PlainCreate
  readonly enqueue: Enqueue
}

/** Creates with a quota are not batched, because their admission reads more than one statement can. */
export function isPlainCreate(start: Start): start is PlainCreate {
  const { operation, insertInstance, quota } = start
  return insertInstance !== undefined && operation.halts === undefined && quota === undefined
}

/**
 * {@link Store.start} for several creates: one statement, with one round trip and one commit for all of them. An id that is
 * taken is skipped and `changed`. An id that another transaction is inserting right now is `alone`, so that the batch does not
 * wait for it. An error that only one of them may have caused makes all of them `alone`: nothing was written, retry each.
 */
export async function createMany(
  context: StoreContext,
  creates: readonly EnqueuedCreate[]
): Promise<(StartResult | 'alone')[]> {
  const first = new Map(creates.toReversed().map((create) => [idOf(create), create]))
  // Sorted, so that concurrent batches lock ids in the same order and cannot deadlock.
  const unique = [...first.values()].sort((a, b) => (idOf(a) < idOf(b) ? -1 : 1))
  try {
    const made = await insert(context, unique)
    return creates.map((create) => {
      const inserted = made.get(idOf(create))
      if (inserted === undefined) return 'alone'
      // Of two creates of one id in a batch the second finds it taken.
      return inserted && first.get(idOf(create)) === create ? 'started' : 'changed'
    })
  } catch (error) {
    if (!(error instanceof NotHandedOver) && !isOfOne(error)) throw error
    return creates.map(() => 'alone')
  }
}

/** The job of one operation could not be sent; nothing was written for any of them. */
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

/** Whether each id was inserted; ids whose lock another transaction holds are missing. */
async function insert(
  context: StoreContext,
  creates: readonly EnqueuedCreate[]
): Promise<ReadonlyMap<string, boolean>> {
  const { pool, tables, sealer, leaseMs } = context
  const starts = creates.map(({ start }) => start)
  const instances = columnArrays(
    await Promise.all(
      starts.map(async ({ insertInstance }) => {
        const { instanceId } = insertInstance
        return { instance_id: instanceId, ...(await instanceColumns(insertInstance, insertInstance, sealer)) }
      })
    ),
    3
  )
  const operations = insertOperations(
    tables,
    starts.map(({ operation }) => operation),
    { from: 3 + instances.values.length, leaseMs, join: 'JOIN made USING (instance_id)' }
  )
  return inTransaction(
    pool,
    async (sql) => {
      const rows = await sql.query<{ instance_id: string; made: boolean }>(
        `WITH free AS MATERIALIZED (
          SELECT id FROM unnest($1::text[]) AS ids (id) WHERE pg_try_advisory_xact_lock(hashtextextended($2 || id, 0))
        ), made AS (
          INSERT INTO ${tables.instances} (${instances.names})
          SELECT ${instances.names} FROM unnest(${instances.places}) AS wanted (${instances.names})
          WHERE instance_id IN (SELECT id FROM free)
          ON CONFLICT (instance_id) DO NOTHING
          RETURNING instance_id, service_id, plan_id
        ), written AS (${operations.text}), audited AS (${auditOf(tables, 'written', "'started'", 'made')})
        SELECT id AS instance_id, id IN (SELECT instance_id FROM made) AS made FROM free`,
        [creates.map(idOf), idLockPrefix(tables), ...instances.values, ...operations.values]
      )
      const made = new Map(rows.map((row) => [row.instance_id, row.made]))
      for (const create of creates) if (made.get(idOf(create)) === true) await handOver(create, sql)
      return made
    },
    { lockMs: LOCK_MS }
  )
}
