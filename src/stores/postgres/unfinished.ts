import type { OperationKind } from '../../core/store.ts'
import type { StoreContext } from './context.ts'
import { read } from './transactions.ts'

/** What a look tells of an unfinished operation, by the clock of the database. */
export interface Unfinished {
  readonly operationId: string
  readonly kind: OperationKind
  /** No worker holds a lease on it. */
  readonly waiting: boolean
  /** Its lease has ended, or it waits and its deadline has passed. */
  readonly abandoned: boolean
  readonly ageMs: number
}

interface LookRow {
  /** {@link Mark.last} */
  readonly last: string
  readonly xmin: string
  readonly xmax: string
  /** Null when there is no unfinished operation. */
  readonly operation_id: string | null
  readonly seq: string
  readonly kind: OperationKind
  readonly waiting: boolean
  readonly abandoned: boolean
  readonly age_ms: string
}

/** How far the order of operations had come at a look. */
interface Mark {
  /** `seq` of the newest operation that anybody had begun to write. */
  readonly last: bigint
  /** Monotonic clock of the process, in milliseconds. */
  readonly at: number
  /** The transactions that wrote the operations up to `last` have ids below this. */
  below?: bigint
}

/**
 * How long a transaction may take from the `seq` of its operation to an id of its own. In between are microseconds,
 * unless its process is stopped.
 */
const LATE_MS = 10_000
/** How many operations may begin until an earlier one is committed, at the first look, which knows of no time before it. */
const LATE = 20_000n
/** Operations that a statement of the first look reads, at first. */
const RANGE = 50_000n
/** How long such a statement should take at most; it is given up after 4 s. */
const RANGE_MS = 800
/** Transactions of others must not hold the marks up for ever. Those of the store end within seconds. */
const HELD_UP_MS = 300_000

/**
 * The condition that an operation is unfinished, for statements that know its id. It keeps the planner from the index of
 * unfinished operations, which looks short to it, and has an entry for each operation that has ended since the last VACUUM.
 */
export const IS_UNFINISHED = "coalesce(state, '') = 'in progress'"

/** Unfinished operations by their ids, as a condition of SQL. */
export const unfinishedById = (place: string) => `operation_id = ANY (${place}) AND ${IS_UNFINISHED}`

/**
 * Finds the unfinished operations, in a time that depends on how many there are and not on how many have ended.
 *
 * The index of unfinished operations keeps an entry for each that has ended until VACUUM removes it, which an old
 * snapshot (a `pg_dump` that runs for hours) prevents. So a look reads that index only for operations that are new, and
 * the ones that it knows by their ids. The first look, and the one after an error, reads all of it.
 */
export class UnfinishedOperations {
  readonly #context: StoreContext
  /** `seq` by id of the operations that were unfinished at the last look. */
  #known = new Map<string, bigint>()
  /** All unfinished operations up to this `seq` are known; undefined before the first look. */
  #complete: bigint | undefined
  #marks: Mark[] = []
  #looking: Promise<Unfinished[]> = Promise.resolve([])

  constructor(context: StoreContext) {
    this.#context = context
  }

  /** Looks again. Looks do not overlap. */
  look(): Promise<Unfinished[]> {
    const look = () => this.#look()
    this.#looking = this.#looking.then(look, look)
    return this.#looking
  }

  async #look(): Promise<Unfinished[]> {
    try {
      if (this.#complete === undefined) await this.#lookAtAll()
      const complete = this.#complete ?? 0n
      const older = [...this.#known].filter(([, seq]) => seq <= complete).map(([operationId]) => operationId)
      const rows = await this.#read(complete, older)
      const [first] = rows
      if (first === undefined) throw new Error('The unfinished operations could not be read.')
      if (BigInt(first.last) < (this.#marks.at(-1)?.last ?? complete)) this.#reset()
      else this.#advance(first)
      const found = rows.flatMap((row) => (row.operation_id === null ? [] : { ...row, operation_id: row.operation_id }))
      this.#known = new Map(found.map((row) => [row.operation_id, BigInt(row.seq)]))
      return found.map((row) => ({
        operationId: row.operation_id,
        kind: row.kind,
        waiting: row.waiting,
        abandoned: row.abandoned,
        ageMs: Number(row.age_ms)
      }))
    } catch (error) {
      // Another server may answer next time, which can be behind in the order of operations.
      this.#reset()
      throw error
    }
  }

  /**
   * Reads the whole index, in ranges from its end, where the entries are that VACUUM could not remove. All of it at once
   * could take longer than a statement may.
   */
  async #lookAtAll(): Promise<void> {
    const { pool, tables } = this.#context
    const [end] = await read<{ last: string }>(
      pool,
      `SELECT last_value::text AS last FROM ${tables.operationsSequence}`
    )
    if (end === undefined) throw new Error('The order of the operations could not be read.')
    const last = BigInt(end.last)
    let size = RANGE
    for (let to = last; to > 0n; ) {
      const from = to > size ? to - size : 0n
      const began = performance.now()
      try {
        await this.#readRange(from, to)
      } catch (error) {
        if (size <= RANGE) throw error
        size = RANGE
        continue
      }
      to = from
      const took = performance.now() - began
      if (took < RANGE_MS / 4) size *= 2n
      if (took > RANGE_MS && size > RANGE / 16n) size /= 2n
    }
    this.#complete = last > LATE ? last - LATE : 0n
  }

  async #readRange(from: bigint, to: bigint): Promise<void> {
    const { pool, tables } = this.#context
    const rows = await read<{ operation_id: string; seq: string }>(
      pool,
      `SELECT operation_id, seq::text FROM ${tables.operations} WHERE finished_at IS NULL AND seq > $1 AND seq <= $2`,
      [from.toString(), to.toString()]
    )
    for (const { operation_id: operationId, seq } of rows) this.#known.set(operationId, BigInt(seq))
  }

  #read(complete: bigint, older: readonly string[]): Promise<LookRow[]> {
    const { pool, tables } = this.#context
    const unfinished = (condition: string) => `SELECT operation_id, seq::text, kind,
        lease_until IS NULL OR lease_until <= clock_timestamp() AS waiting,
        coalesce(lease_until, deadline) <= clock_timestamp() AS abandoned,
        greatest(0, extract(epoch FROM clock_timestamp() - created_at) * 1000)::float8 AS age_ms
      FROM ${tables.operations} WHERE ${condition}`
    return read<LookRow>(
      pool,
      `SELECT at.last_value::text AS last, pg_snapshot_xmin(pg_current_snapshot())::text AS xmin,
        pg_snapshot_xmax(pg_current_snapshot())::text AS xmax, operation.*
      FROM ${tables.operationsSequence} AS at LEFT JOIN (
        ${unfinished('finished_at IS NULL AND seq > $1')} UNION ALL ${unfinished(unfinishedById('$2'))}
      ) AS operation ON true`,
      // No id is empty. Of no ids at all the planner would take any index.
      [complete.toString(), ['', ...older]]
    )
  }

  /**
   * An operation gets its `seq` before its transaction commits, so it can appear after one with a higher `seq`. All up to
   * a mark have appeared when the transactions that wrote them have ended.
   */
  #advance({ last, xmin, xmax }: Pick<LookRow, 'last' | 'xmin' | 'xmax'>): void {
    const now = performance.now()
    for (const mark of this.#marks) if (now - mark.at >= LATE_MS) mark.below ??= BigInt(xmax)
    const passed = ({ below, at }: Mark) => below !== undefined && (BigInt(xmin) >= below || now - at >= HELD_UP_MS)
    for (let [mark] = this.#marks; mark !== undefined && passed(mark); [mark] = this.#marks) {
      this.#complete = mark.last
      this.#marks.shift()
    }
    this.#marks.push({ last: BigInt(last), at: now })
  }

  #reset(): void {
    this.#known.clear()
    this.#complete = undefined
    this.#marks = []
  }
}
