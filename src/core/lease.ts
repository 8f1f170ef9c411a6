import { LEASE_MS } from './store.ts'

/**
 * How long a worker may believe in its claim. Counted on the monotonic clock from the sending of the last renewal that the
 * store confirmed: the store counts from its arrival, so that the worker stops before another one can start.
 */
export class Lease {
  #endsAt: number

  /** @param sentAt `performance.now()` before the claim was sent */
  constructor(sentAt: number) {
    this.#endsAt = sentAt + LEASE_MS
  }

  /** `performance.now()` when the lease ends. */
  get endsAt(): number {
    return this.#endsAt
  }

  /** The store has confirmed a renewal that was sent at this time. */
  renewed(sentAt: number): void {
    this.#endsAt = Math.max(this.#endsAt, sentAt + LEASE_MS)
  }
}

/** When an operation must have ended, on the monotonic clock. A request that continues in the background gets a later one. */
export class Deadline {
  #at: number
  readonly #listeners = new Set<() => void>()

  /** @param at in terms of `performance.now()` */
  constructor(at: number) {
    this.#at = at
  }

  get at(): number {
    return this.#at
  }

  get leftMs(): number {
    return this.#at - performance.now()
  }

  extend(at: number): void {
    this.#at = at
    for (const listener of this.#listeners) listener()
  }

  /** Returns the way to stop listening. */
  onExtend(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}
