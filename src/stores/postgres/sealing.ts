import type { KeyObject } from 'node:crypto'
import { CompactEncrypt, compactDecrypt, decodeProtectedHeader, errors } from 'jose'
import type { JsonObject } from '../../../schemas/common.ts'
import type { EncryptionKey } from './encryption-keys.ts'

/** What a sealed text belongs to: one column of one row. */
export interface Purpose {
  readonly column: 'instance.state' | 'binding.state' | 'binding.reply' | 'binding.undelivered'
  readonly instanceId: string
  readonly bindingId?: string
}

/** A sealed text cannot be opened: its key is gone, it was changed, or it was moved here from another row. */
export class SealBroken extends Error {
  override readonly name = 'SealBroken'
}

/**
 * Encrypts what the database must not be able to read: compact JWE (RFC 7516), `dir` with A256GCM. The protected header
 * says which row and column the text belongs to, and is authenticated with it: moved elsewhere it does not open.
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

  /** Of its keys; the first writes. */
  get kids(): readonly string[] {
    return [...this.#keys.keys()]
  }

  seal(value: JsonObject, purpose: Purpose): Promise<string> {
    const { kid, key } = this.#current
    return new CompactEncrypt(new TextEncoder().encode(JSON.stringify(value)))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid, sub: subjectOf(purpose) })
      .encrypt(key)
  }

  /** @throws {SealBroken} */
  async open(text: string, purpose: Purpose): Promise<JsonObject> {
    const { kid, sub } = headerOf(text, purpose)
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
    if (sub !== subjectOf(purpose)) throw new SealBroken(`${describe(purpose)} holds what belongs to another row.`)
    return JSON.parse(new TextDecoder().decode(plaintext))
  }
}

function headerOf(text: string, purpose: Purpose): { kid: string; sub: unknown } {
  try {
    const { kid, sub } = decodeProtectedHeader(text)
    if (typeof kid === 'string') return { kid, sub }
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
