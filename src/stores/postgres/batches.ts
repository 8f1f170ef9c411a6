import type { Claim, Finish, InstanceRecord, OperationRecord, StartResult } from '../../core/store.ts'
import { copy } from '../copy.ts'
import { Batcher } from './batcher.ts'
import type { StoreContext } from './context.ts'
import { createMany, type EnqueuedCreate } from './create-many.ts'
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
  readonly #context: StoreContext
  readonly #instances: Batcher<string, InstanceRow | undefined>
  readonly #operations: Batcher<string, OperationRow | undefined>
  readonly #creates: Batcher<EnqueuedCreate, StartResult | 'alone'>
  readonly #finishes: Batcher<PlainFinish, true | 'alone'>

  constructor(context: StoreContext) {
    this.#context = context
    const reading = { width: READING, size: SIZE }
    const writing = { width: WRITING, size: SIZE }
    this.#instances = new Batcher({ ...reading, work: (ids) => instancesById(context, ids) })
    this.#operations = new Batcher({ ...reading, work: (ids) => operationsById(context, ids) })
    this.#creates = new Batcher({ ...writing, work: (creates) => createMany(context, creates) })
    this.#finishes = new Batcher({ ...writing, work: (ends) => finishMany(context, ends) })
  }

  async instance(instanceId: string): Promise<InstanceRecord | undefined> {
    const row = await this.#instances.add(instanceId)
    // One that cannot be opened is the trouble of those who ask for it, and two who ask for the same have a copy each.
    return row === undefined ? undefined : instanceFrom(copy(row), this.#context.sealer)
  }

  async operation(operationId: string): Promise<OperationRecord | undefined> {
    const row = await this.#operations.add(operationId)
    return row === undefined ? undefined : operationFrom(copy(row))
  }

  /** How long what waits for its turn has waited, in milliseconds; 0 while nothing does. */
  queueMs(): number {
    const all = [this.#instances, this.#operations, this.#creates, this.#finishes]
    return Math.max(...all.map((batcher) => batcher.queueMs()))
  }

  /** `alone`: nothing was written, and it has to be tried by itself. */
  create(create: EnqueuedCreate): Promise<StartResult | 'alone'> {
    return this.#creates.add(create)
  }

  /** `alone`: as for {@link create}. */
  finish(claim: Claim, finish: Finish): Promise<true | 'alone'> {
    return this.#finishes.add({ claim, finish })
  }
}

function instancesById({ pool, tables }: StoreContext, ids: readonly string[]) {
  const text = `SELECT ${instanceColumnNames} FROM ${tables.instances} WHERE instance_id = ANY ($1)`
  return rowsById(ids, read<InstanceRow>(pool, text, [ids]), (row) => row.instance_id)
}

function operationsById({ pool, tables }: StoreContext, ids: readonly string[]) {
  const text = `SELECT ${operationColumnNames} FROM ${tables.operations} WHERE operation_id = ANY ($1)`
  return rowsById(ids, read<OperationRow>(pool, text, [ids]), (row) => row.operation_id)
}

/** In the order of the ids; undefined where there is no row. */
async function rowsById<Row>(ids: readonly string[], rows: Promise<Row[]>, idOf: (row: Row) => string) {
  const byId = new Map((await rows).map((row) => [idOf(row), row]))
  return ids.map((id) => byId.get(id))
}
