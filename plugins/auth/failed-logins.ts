import { isIPv6 } from 'node:net'
import { Digests } from './digests.ts'
import { Expiring } from './expiring.ts'

/** From where somebody tries to come in, and under which name where there is one. */
export interface Attempt {
  readonly address: string
  readonly username?: string
}

/** So many failures within the window, by address and by name. A run of the conformance kit makes 21. */
export const MAX_FAILURES = 100
const WINDOW_MS = 5 * 60_000
/** How long an address counts as that of a platform after its last login. */
const FAMILIAR_MS = 24 * 60 * 60_000

/**
 * Counts failed logins, and says when no more are looked at. By name only attempts from addresses count that the name
 * has not come in from lately: otherwise a stranger could lock a platform out.
 */
export class FailedLogins {
  readonly #now: () => number
  /** Names may be long, and passwords typed in the wrong place. */
  readonly #digests = new Digests()
  readonly #failures: Expiring<{ count: number }>
  readonly #familiar: Expiring<true>

  /** @param now a clock in milliseconds that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
    this.#failures = new Expiring(now)
    this.#familiar = new Expiring(now)
  }

  /** Seconds until another attempt is looked at; undefined when one is looked at now. */
  retryAfterSeconds(attempt: Attempt): number | undefined {
    if (this.#failures.isEmpty) return undefined
    const ends = this.#counted(attempt).flatMap((key) => {
      const failures = this.#failures.get(key)
      return failures === undefined || failures.value.count < MAX_FAILURES ? [] : [failures.end]
    })
    return ends.length === 0 ? undefined : Math.max(1, Math.ceil((Math.max(...ends) - this.#now()) / 1_000))
  }

  /** Counts a failure; answers whether it was the last that is let through. */
  failed(attempt: Attempt): boolean {
    const counts = this.#counted(attempt).map((key) => {
      const failures = this.#failures.get(key)?.value ?? this.#failures.set(key, { count: 0 }, WINDOW_MS)
      failures.count += 1
      return failures.count
    })
    return counts.includes(MAX_FAILURES)
  }

  /** Remembers where a name comes in from. What the address has failed with stays counted. */
  succeeded({ address, username }: Attempt): void {
    if (username !== undefined) this.#familiar.set(this.#digest('familiar', address, username), true, FAMILIAR_MS)
  }

  #counted({ address, username }: Attempt): string[] {
    const byAddress = this.#digest('address', address)
    if (username === undefined) return [byAddress]
    const isFamiliar = this.#familiar.get(this.#digest('familiar', address, username)) !== undefined
    return isFamiliar ? [byAddress] : [byAddress, this.#digest('name', '', username)]
  }

  #digest(kind: string, address: string, username = ''): string {
    return this.#digests.of(kind, networkOf(address), username)
  }
}

/** Whoever has one address of IPv6 has 2^64 of them. */
function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+(?:\.\d+){3})$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  if (!isIPv6(address)) return address
  const [head = '', tail] = (address.split('%')[0] ?? '').toLowerCase().split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length
  const groups = [...before, ...Array<string>(Math.max(0, zeros)).fill('0'), ...after]
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')
}
