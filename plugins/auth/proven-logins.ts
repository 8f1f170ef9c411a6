import { Digests } from './digests.ts'
import { Expiring } from './expiring.ts'

/** How long an address keeps a login that it does not use. */
export const PROVEN_MS = 24 * 60 * 60_000

/**
 * Remembers correct logins, by a keyed digest of the `Authorization` header and the address: a platform sends the same one
 * with every request. A remembered login costs no check, and no failures of others slow it down.
 */
export class ProvenLogins {
  readonly #now: () => number
  readonly #digests = new Digests()
  readonly #platforms: Expiring<string>

  /** @param now a clock in milliseconds that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
    this.#platforms = new Expiring(now)
  }

  add(header: string, address: string, platform: string): void {
    this.#platforms.set(this.#digests.of(header, address), platform, PROVEN_MS)
  }

  /** The platform of a remembered login. */
  find(header: string | undefined, address: string): string | undefined {
    if (header === undefined) return undefined
    const key = this.#digests.of(header, address)
    const known = this.#platforms.get(key)
    // Renewed at most once in half its life, because renewing costs more than reading.
    if (known !== undefined && known.end - this.#now() < PROVEN_MS / 2) {
      this.#platforms.set(key, known.value, PROVEN_MS)
    }
    return known?.value
  }
}
