import type { Claim, Finish, InstanceRecord, OperationRecord, StartResult } from '../../core/store.ts'
import { Batcher } from './batcher.ts'
import type { StoreContext } from './context.ts'
import { createMany, type PlainCreate } from './create-many.ts'
import { finishMany, type PlainFinish } from './finish-many.ts'
import {
  type InstanceRow,
  instanceColumnNames,
  instanceFrom,
  type OperationRow,
  operationColumnNames,
  operationFrom
} from './rows.ts'
import { read } from './transactions.ts'

/** So that the server works on one batch while the next is put together; more would be smaller. */
const READING = 2
/** What comes during one commit shares the next. */
const WRITING = 1
/** So that no batch comes near the time that a statement may take. */
const SIZE = 100

/** What requests ask of the store most, each together with the others that ask for it at the same time. */
export class Batches {
  readonly #instances: Batcher<string, InstanceRecord | undefined>
  readonly #operations: Batcher<string, OperationRecord | undefined>
  readonly #creates: Batcher<PlainCreate, StartResult | 'alone'>
  readonly #finishes: Batcher<PlainFinish, boolean | 'alone'>

  constructor(context: StoreContext) {
    const reading = { width: READING, size: SIZE }
    const writing = { width: WRITING, size: SIZE }
    this.#instances = new Batcher({ ...reading, work: (ids) => instancesById(context, ids) })
    this.#operations = new Batcher({ ...reading, work: (ids) => operationsById(context, ids) })
    this.#creates = new Batcher({ ...writing, work: (starts) => createMany(context, starts) })
    this.#finishes = new Batcher({ ...writing, work: (ends) => finishMany(context, ends) })
  }

  instance(instanceId: string): Promise<InstanceRecord | undefined> {
    return this.#instances.add(instanceId)
  }

  operation(operationId: string): Promise<OperationRecord | undefined> {
    return this.#operations.add(operationId)
  }

  /** How long what waits for its turn has waited, in milliseconds; 0 while nothing does. */
  queueMs(): number {
    const all = [this.#instances, this.#operations, this.#creates, this.#finishes]
    return Math.max(...all.map((batcher) => batcher.queueMs()))
  }

  /** `alone`: nothing was written, and it has to be tried by itself. */
  create(start: PlainCreate): Promise<StartResult | 'alone'> {
    return this.#creates.add(start)
  }

  /** `alone`: as for {@link create}. */
  finish(claim: Claim, finish: Finish): Promise<boolean | 'alone'> {
    return this.#finishes.add({ claim, finish })
  }
}

async function instancesById({ pool, tables, sealer }: StoreContext, ids: readonly string[]) {
  const rows = await read<InstanceRow>(
    pool,
    `SELECT ${instanceColumnNames} FROM ${tables.instances} WHERE instance_id = ANY ($1)`,
    [ids]
  )
  const byId = new Map(rows.map((row) => [row.instance_id, row]))
  return Promise.all(ids.map((id) => present(byId.get(id), (row) => instanceFrom(row, sealer))))
}

async function operationsById({ pool, tables }: StoreContext, ids: readonly string[]) {
  const rows = await read<OperationRow>(
    pool,
    `SELECT ${operationColumnNames} FROM ${tables.operations} WHERE operation_id = ANY ($1)`,
    [ids]
  )
  const byId = new Map(rows.map((row) => [row.operation_id, row]))
  return ids.map((id) => present(byId.get(id), operationFrom))
}

function present<Row, Record>(row: Row | undefined, from: (row: Row) => Record): Record | undefined {
  return row === undefined ? undefined : from(row)
}
