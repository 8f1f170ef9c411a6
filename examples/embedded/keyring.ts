import { createHash } from 'node:crypto'

/** Whose a key is. */
export interface KeyOwner {
  readonly space: string
  readonly keyId: string
}

interface Space {
  limit: number
  /** Digests of the keys, by key id. */
  readonly keys: Map<string, string>
}

/** What this application offers: spaces, and keys that open them. It knows nothing of brokers; a real one has a database. */
export class Keyring {
  readonly #spaces = new Map<string, Space>()
  readonly #owners = new Map<string, KeyOwner>()

  /** Makes the space, or changes the limit of the one there is. */
  putSpace(name: string, limit: number): void {
    const space = this.#spaces.get(name)
    if (space === undefined) this.#spaces.set(name, { limit, keys: new Map() })
    else space.limit = limit
  }

  removeSpace(name: string): void {
    for (const keyId of this.#spaces.get(name)?.keys.keys() ?? []) this.removeKey({ space: name, keyId })
    this.#spaces.delete(name)
  }

  /** Whether the key is there already, or one more may be. */
  hasRoom({ space, keyId }: KeyOwner): boolean {
    const { limit, keys } = this.#spaceOf(space)
    return keys.has(keyId) || keys.size < limit
  }

  putKey(owner: KeyOwner, key: string): void {
    this.removeKey(owner)
    this.#spaceOf(owner.space).keys.set(owner.keyId, digest(key))
    this.#owners.set(digest(key), owner)
  }

  removeKey({ space, keyId }: KeyOwner): void {
    const keys = this.#spaces.get(space)?.keys
    this.#owners.delete(keys?.get(keyId) ?? '')
    keys?.delete(keyId)
  }

  ownerOf(key: string): KeyOwner | undefined {
    return this.#owners.get(digest(key))
  }

  #spaceOf(name: string): Space {
    const space = this.#spaces.get(name)
    if (space === undefined) throw new Error(`There is no space ${name}.`)
    return space
  }
}

/** Looking up a digest says nothing about how much of a guessed key was right. */
function digest(key: string): string {
  return createHash('sha256').update(key).digest('base64url')
}
