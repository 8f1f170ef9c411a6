import { CompactEncrypt, compactDecrypt } from 'jose'
import type { JsonObject } from '../../../schemas/common.ts'
import { parseEncryptionKeys, Sealer } from '../../../src/stores/postgres/index.ts'

type Purpose = Parameters<Sealer['seal']>[1]

/** Encrypts and decrypts as the versions did that bound texts to their row and column alone. */
export class EarlierSealer extends Sealer {
  readonly #keys: ReturnType<typeof parseEncryptionKeys>

  constructor(keys: string) {
    super(parseEncryptionKeys(keys))
    this.#keys = parseEncryptionKeys(keys)
  }

  override async seal(value: JsonObject, purpose: Purpose): Promise<string> {
    const [first] = this.#keys
    if (first === undefined) throw new Error('there is no key')
    return new CompactEncrypt(new TextEncoder().encode(JSON.stringify(value)))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid: first.kid, sub: subjectOf(purpose) })
      .encrypt(first.key)
  }

  override async open(text: string, purpose: Purpose): Promise<JsonObject> {
    const { plaintext, protectedHeader } = await compactDecrypt(text, ({ kid }) => {
      const key = this.#keys.find((one) => one.kid === kid)
      if (key === undefined) throw new Error(`there is no key "${kid}"`)
      return key.key
    })
    if (protectedHeader.sub !== subjectOf(purpose)) throw new Error('it belongs to another row')
    return JSON.parse(new TextDecoder().decode(plaintext))
  }
}

function subjectOf({ column, instanceId, bindingId }: Purpose): string {
  return JSON.stringify(bindingId === undefined ? [column, instanceId] : [column, instanceId, bindingId])
}
