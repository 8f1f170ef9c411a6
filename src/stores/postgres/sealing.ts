import type { KeyObject } from 'node:crypto'
import { CompactEncrypt, compactDecrypt, decodeProtectedHeader, errors } from 'jose'
import type { JsonObject } from '../../../schemas/common.ts'
import type { EncryptionKey } from './encryption-keys.ts'

/** What a sealed text belongs to: one column of one row of one platform. */
export interface Purpose {
  readonly column: 'instance.state' | 'binding.state' | 'binding.reply' | 'binding.undelivered'
  readonly platform: string
  readonly instanceId: string
  readonly bindingId?: string
}

/**
 * A sealed text cannot be opened: its key is gone, it was changed, it was moved here from another row, or its row was moved to
 * another platform.
 */
export class SealBroken extends Error {
  override readonly name = 'SealBroken'
}

/**
 * Encrypts what the database must not be able to read: compact JWE (RFC 7516), `dir` with A256GCM. The protected header is
 * authenticated with the text. It names the row and the column in `sub` and the platform in `aud`, so that a text does not
 * open in another row or for another platform.
 *
 * Earlier versions wrote no `aud`, and ignore it when they read. So replicas of both versions can read all texts during an
 * upgrade. A text without `aud` opens for any platform until `osb rekey` has sealed it again.
 */
export class Sealer {
  readonly #current: EncryptionKey
  readonly #keys: ReadonlyMap<string, KeyObject>

  constructor(keys: readonly EncryptionKey[]) {
    const [current] = keys
    if (current === undefined) throw new Error('The store needs at least one encryption key.')
    this.#current = current
    this.#keys = new Map(keys.map(({ kid, key }) => [kid, key]))
  }

  /** The first key seals. */
  get kids(): readonly string[] {
    return [...this.#keys.keys()]
  }

  async seal(value: JsonObject, purpose: Purpose): Promise<string> {
    const { kid, key } = this.#current
    const { platform } = purpose
    // JSON leaves out a header that is undefined, and the text would open for any platform.
    if (typeof platform !== 'string') throw new TypeError(`${describe(purpose)} is to be encrypted for no platform.`)
    return new CompactEncrypt(new TextEncoder().encode(JSON.stringify(value)))
      .setProtectedHeader(headerFor(kid, platform, subjectOf(purpose)))
      .encrypt(key)
  }

  /** @throws {SealBroken} */
  async open(text: string, purpose: Purpose): Promise<JsonObject> {
    const { plaintext, sub, aud } = await this.#decrypt(text, purpose)
    if (sub !== subjectOf(purpose)) throw new SealBroken(`${describe(purpose)} holds what belongs to another row.`)
    if (aud !== undefined && aud !== purpose.platform) {
      throw new SealBroken(
        `${describe(purpose)} belongs to the platform "${aud}", but was to be opened for "${purpose.platform}": ` +
          'the platform of its row was changed in the database.'
      )
    }
    return JSON.parse(new TextDecoder().decode(plaintext))
  }

  /** Whether the text is encrypted with the key of its kid, even if it was moved. */
  async decrypts(text: string, purpose: Purpose): Promise<boolean> {
    try {
      await this.#decrypt(text, purpose)
      return true
    } catch (error) {
      if (error instanceof SealBroken) return false
      throw error
    }
  }

  async #decrypt(text: string, purpose: Purpose): Promise<Decrypted> {
    const { kid, sub, aud } = headerOf(text, purpose)
    const key = this.#keys.get(kid)
    if (key === undefined) {
      throw new SealBroken(
        `${describe(purpose)} is encrypted with the key "${kid}", which BROKER_ENCRYPTION_KEYS does not have.`
      )
    }
    const options = { keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'] }
    const { plaintext } = await compactDecrypt(text, key, options).catch((cause: unknown) => {
      throw new SealBroken(`${describe(purpose)} was changed, or the key "${kid}" is another one than before.`, {
        cause
      })
    })
    return { plaintext, sub, aud }
  }
}

/** {@link startOfBound} relies on the order: `aud` follows `kid`, where earlier versions have `sub`. */
function headerFor(kid: string, platform: string, subject: string) {
  return { alg: 'dir', enc: 'A256GCM', kid, aud: platform, sub: subject }
}

/** How every text starts that is encrypted with this key and bound to a platform, and no other text, for statements of SQL. */
export function startOfBound(kid: string): string {
  const header = JSON.stringify(headerFor(kid, '', ''))
  const start = header.slice(0, header.indexOf('"aud"') + '"aud"'.length)
  // Base64 encodes three bytes at a time. Without the last one or two, the start still has the `a` of `aud`.
  return Buffer.from(start.slice(0, start.length - (start.length % 3))).toString('base64url')
}

interface Decrypted {
  readonly plaintext: Uint8Array
  readonly sub: unknown
  /** The platform; absent in texts of earlier versions. */
  readonly aud: unknown
}

function headerOf(text: string, purpose: Purpose): Omit<Decrypted, 'plaintext'> & { kid: string } {
  try {
    const { kid, sub, aud } = decodeProtectedHeader(text)
    if (typeof kid === 'string') return { kid, sub, aud }
    throw new errors.JWEInvalid('no kid')
  } catch (cause) {
    throw new SealBroken(`${describe(purpose)} is not an encrypted text.`, { cause })
  }
}

/** As JSON, so that no two rows have the same whatever their ids are. */
function subjectOf({ column, instanceId, bindingId }: Purpose): string {
  return JSON.stringify(bindingId === undefined ? [column, instanceId] : [column, instanceId, bindingId])
}

function describe({ column, instanceId, bindingId }: Purpose): string {
  return `The ${column} of ${bindingId === undefined ? '' : `binding "${bindingId}" of `}instance "${instanceId}"`
}
