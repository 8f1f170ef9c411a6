import { Expiring } from './expiring.ts'

/** Failed logins from one network within the window before its logins are slowed down. The conformance kit makes 21. */
export const MAX_FAILURES = 100
const WINDOW_MS = 5 * 60_000

/**
 * Counts failed logins by network. Networks do not affect each other, and neither do usernames: otherwise a stranger could
 * lock a platform out by guessing under its name.
 */
export class FailedLogins {
  readonly #now: () => number
  readonly #failures: Expiring<{ count: number }>

  /** @param now a clock in milliseconds that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
    this.#failures = new Expiring(now)
  }

  /** Failures within the current window. */
  countOf(network: string): number {
    return this.#failures.get(network)?.value.count ?? 0
  }

  /** Counts a failure and returns the new count. */
  add(network: string): number {
    const failures = this.#failures.get(network)?.value ?? this.#failures.set(network, { count: 0 }, WINDOW_MS)
    failures.count += 1
    return failures.count
  }

  /** Whole seconds until the window ends, at least 1. */
  retryAfterSeconds(network: string): number {
    const end = this.#failures.get(network)?.end ?? this.#now()
    return Math.max(1, Math.ceil((end - this.#now()) / 1_000))
  }
}
