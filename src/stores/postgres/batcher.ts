import { AsyncLocalStorage } from 'node:async_hooks'
import { isTraced } from '../../telemetry/index.ts'
import { unreachable } from './trouble.ts'

/**
 * How long an item may wait for its turn, in milliseconds. The call that it becomes part of has its own time, and the request
 * behind it is to be answered within 8 s.
 */
const QUEUE_MS = 2_000

/** What waits for its turn. */
interface Waiting<Item, Result> {
  readonly item: Item
  readonly since: number
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
  /** Runs what it is given in the trace of who asked; where nobody traces there is none. */
  readonly inItsTrace: (<R>(work: () => R) => R) | undefined
}

export interface BatcherOptions<Item, Result> {
  /** Does it for all of them, and answers in their order. What it throws is thrown to each of them. */
  readonly work: (items: readonly Item[]) => Promise<readonly Result[]>
  /** How many batches may be under way. */
  readonly width: number
  /** How many items one batch takes. */
  readonly size: number
  /** How long an item may wait for its turn, in milliseconds; default 2,000. */
  readonly queueMs?: number
}

/**
 * Does together what is asked for at the same time: while as many batches as may be are under way, what comes waits and
 * makes the next one. So one request alone waits for nobody, and many share a round trip and a commit.
 *
 * Whoever has waited too long for its turn is told `Unavailable`, and nothing is done for it.
 */
export class Batcher<Item, Result> {
  readonly #work: BatcherOptions<Item, Result>['work']
  readonly #width: number
  readonly #size: number
  readonly #queueMs: number
  /** Oldest first. */
  readonly #waiting: Waiting<Item, Result>[] = []
  #underWay = 0
  #scheduled = false
  #timer: NodeJS.Timeout | undefined

  constructor({ work, width, size, queueMs = QUEUE_MS }: BatcherOptions<Item, Result>) {
    this.#work = work
    this.#width = width
    this.#size = size
    this.#queueMs = queueMs
  }

  /** @throws {Unavailable} when its turn does not come in time; and what the work throws */
  add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      const inItsTrace = isTraced() ? AsyncLocalStorage.snapshot() : undefined
      this.#waiting.push({ item, since: performance.now(), resolve, reject, inItsTrace })
      this.#watch()
      this.#schedule()
    })
  }

  /** How long the first in the queue has waited for its turn, in milliseconds; 0 while nobody waits. */
  queueMs(): number {
    const [first] = this.#waiting
    return first === undefined ? 0 : performance.now() - first.since
  }

  /** After what is ready in this turn of the event loop has been added, too. */
  #schedule(): void {
    if (this.#scheduled || this.#underWay >= this.#width) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      while (this.#waiting.length > 0 && this.#underWay < this.#width) void this.#run()
    })
  }

  async #run(): Promise<void> {
    const batch = this.#waiting.splice(0, this.#size)
    this.#underWay += 1
    try {
      const work = () => this.#work(batch.map(({ item }) => item))
      // A call for several can have but one parent: the first of them.
      const results = await (batch[0]?.inItsTrace?.(work) ?? work())
      if (results.length !== batch.length) throw new Error('a batch has not as many results as items')
      for (const [index, { resolve }] of batch.entries()) resolve(results[index] as Result)
    } catch (error) {
      for (const { reject } of batch) reject(error)
    } finally {
      this.#underWay -= 1
      if (this.#waiting.length > 0) this.#schedule()
    }
  }

  /** One timer for all: the first that came is the first whose time is up. */
  #watch(): void {
    const [oldest] = this.#waiting
    if (this.#timer !== undefined || oldest === undefined) return
    const left = oldest.since + this.#queueMs - performance.now()
    this.#timer = setTimeout(() => this.#giveUp(), Math.max(1, left)).unref()
  }

  #giveUp(): void {
    this.#timer = undefined
    const now = performance.now()
    const young = this.#waiting.findIndex(({ since }) => since + this.#queueMs > now)
    const late = this.#waiting.splice(0, young < 0 ? this.#waiting.length : young)
    for (const { reject } of late) {
      reject(unreachable(new Error(`timeout expired: its turn did not come within ${this.#queueMs} ms`)))
    }
    this.#watch()
  }
}
