import { Digests } from './digests.ts'
import { Expiring } from './expiring.ts'
import type { Attempt } from './failed-logins.ts'

/** A login that was right. */
export interface Proof {
  readonly platform: string
  readonly attempt: Attempt
}

/** Afterwards it is looked at again, so that whoever counts logins hears of it. */
export const PROVEN_MS = 60_000

/**
 * Remembers logins that were right, by a digest of the `Authorization` header and the address that it came from: a
 * platform sends the same one with every request. Those that were wrong are looked at each time.
 */
export class ProvenLogins {
  readonly #digests = new Digests()
  readonly #proofs: Expiring<Proof>

  /** @param now a clock in milliseconds that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.#proofs = new Expiring(now)
  }

  add(header: string | undefined, proof: Proof): void {
    if (header !== undefined) this.#proofs.set(this.#digests.of(header, proof.attempt.address), proof, PROVEN_MS)
  }

  find(header: string | undefined, address: string): Proof | undefined {
    return header === undefined ? undefined : this.#proofs.get(this.#digests.of(header, address))?.value
  }
}
