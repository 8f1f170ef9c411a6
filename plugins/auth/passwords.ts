import { timingSafeEqual } from 'node:crypto'
import {
  type BasicCredentials,
  isOf,
  type ScryptCost,
  type ScryptHash,
  unknownHash
} from '../../src/platforms/index.ts'
import type { DeriveFor } from './bounded-scrypt.ts'
import { Digests } from './digests.ts'

interface PlainEntry {
  readonly platform: string
  readonly username: Buffer
  readonly password: Buffer
}

interface HashedEntry {
  readonly platform: string
  readonly hash: ScryptHash
}

/**
 * Tells whose a name and a password are. A name that nobody has takes the same work as one that is known, so that the
 * time tells nothing about either. scrypt is slow on purpose, so a login that was right is remembered: as a keyed digest,
 * one at most for each hash that is configured. One that was wrong is not.
 */
export class Passwords {
  readonly #digests = new Digests()
  readonly #derive: DeriveFor
  readonly #plain: readonly PlainEntry[]
  /** By the digest of the name. */
  readonly #hashed: ReadonlyMap<string, readonly HashedEntry[]>
  /** One for each run that any name may take. */
  readonly #costs: readonly ScryptCost[]
  readonly #verified = new Map<string, string>()
  /** The same login twice at once, as of a platform that has just started, is one run. */
  readonly #underWay = new Map<string, Promise<string | undefined>>()

  constructor(credentials: readonly BasicCredentials[], derive: DeriveFor) {
    this.#derive = derive
    this.#plain = credentials.flatMap((entry) => ('password' in entry ? [this.#plainEntry(entry)] : []))
    const hashed = credentials.flatMap((entry) => ('hash' in entry ? [entry] : []))
    this.#hashed = Map.groupBy(hashed, ({ username }) => this.#digests.of(username))
    this.#costs = mostOf([...this.#hashed.values()])
  }

  /**
   * The platform of a login, or undefined.
   * @param network where the login comes from, see `networkOf`
   */
  async platformOf(username: string, password: string, network = ''): Promise<string | undefined> {
    const plain = this.#plainPlatform(username, password)
    if (this.#costs.length === 0) return plain
    const login = this.#digests.of(username, password)
    const verified = this.#verified.get(login)
    if (verified !== undefined) return verified
    // By network, because networks wait for scrypt in different places of the line.
    const run = this.#digests.of(network, username, password)
    const underWay = this.#underWay.get(run) ?? this.#hashedPlatform(username, password, network)
    this.#underWay.set(run, underWay)
    try {
      const platform = await underWay
      if (platform !== undefined) this.#verified.set(login, platform)
      return platform ?? plain
    } finally {
      this.#underWay.delete(run)
    }
  }

  /** Compares all, each in constant time. */
  #plainPlatform(username: string, password: string): string | undefined {
    const given = { username: this.#digest(username), password: this.#digest(password) }
    let found: string | undefined
    for (const entry of this.#plain) {
      const sameName = timingSafeEqual(entry.username, given.username)
      const samePassword = timingSafeEqual(entry.password, given.password)
      if (sameName && samePassword) found = entry.platform
    }
    return found
  }

  async #hashedPlatform(username: string, password: string, network: string): Promise<string | undefined> {
    const own = [...(this.#hashed.get(this.#digests.of(username)) ?? [])]
    let found: string | undefined
    for (const cost of this.#costs) {
      const index = own.findIndex(({ hash }) => isSame(hash, cost))
      const [entry] = index < 0 ? [] : own.splice(index, 1)
      const hash = entry?.hash ?? unknownHash(cost)
      const matches = isOf(hash, await this.#derive(password, hash, network))
      if (matches) found = entry?.platform
    }
    return found
  }

  #plainEntry({ platform, username, password }: BasicCredentials & { password: string }): PlainEntry {
    return { platform, username: this.#digest(username), password: this.#digest(password) }
  }

  #digest(text: string): Buffer {
    return Buffer.from(this.#digests.of(text))
  }
}

/** Of each cost as many runs as the name takes that has most hashes of it. */
function mostOf(names: readonly (readonly HashedEntry[])[]): ScryptCost[] {
  const most: ScryptCost[] = []
  for (const entries of names) {
    const left = [...most]
    for (const { hash } of entries) {
      const index = left.findIndex((cost) => isSame(cost, hash))
      if (index < 0) most.push({ ln: hash.ln, p: hash.p })
      else left.splice(index, 1)
    }
  }
  return most
}

function isSame(one: ScryptCost, other: ScryptCost): boolean {
  return one.ln === other.ln && one.p === other.p
}
