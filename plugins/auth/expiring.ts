/** Bounds the memory. Beyond it the oldest is forgotten. */
const MAX_KEPT = 10_000

/** Values that are forgotten after their time, and the oldest when there are too many. */
export class Expiring<Value> {
  readonly #now: () => number
  readonly #kept = new Map<string, { value: Value; end: number }>()

  /** @param now a clock in milliseconds that never goes back */
  constructor(now: () => number) {
    this.#now = now
  }

  get(key: string): { readonly value: Value; readonly end: number } | undefined {
    const kept = this.#kept.get(key)
    if (kept === undefined || kept.end > this.#now()) return kept
    this.#kept.delete(key)
    return undefined
  }

  set(key: string, value: Value, lifeMs: number): Value {
    // The order of a Map is that of insertion: its first key is the oldest.
    this.#kept.delete(key)
    const [oldest] = this.#kept.keys()
    if (oldest !== undefined && this.#kept.size >= MAX_KEPT) this.#kept.delete(oldest)
    this.#kept.set(key, { value, end: this.#now() + lifeMs })
    return value
  }
}
