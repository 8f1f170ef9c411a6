import { createSecretKey, type KeyObject } from 'node:crypto'

/** A key of `BROKER_ENCRYPTION_KEYS`. */
export interface EncryptionKey {
  readonly kid: string
  readonly key: KeyObject
}

/** `BROKER_ENCRYPTION_KEYS` is not usable; the message says what to do, and never a key. */
export class EncryptionKeysError extends Error {
  override readonly name = 'EncryptionKeysError'
}

const KEY_BYTES = 32
const HOW_TO_MAKE_ONE = 'Make a key with: openssl rand -base64 32'
const KID = /^[A-Za-z0-9._-]{1,64}$/
const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/

/**
 * Reads `kid:base64,kid2:base64`. The first key writes, all of them read: to rotate, put a new one in front.
 * @throws {EncryptionKeysError} naming the variable and the entry, never the key
 */
export function parseEncryptionKeys(text: string): EncryptionKey[] {
  const entries = text.split(',').map((entry) => entry.trim())
  const keys = entries.map((entry, index) => parseEntry(entry, `entry ${index + 1} of ${entries.length}`))
  for (const [index, { kid }] of keys.entries()) {
    if (keys.findIndex((other) => other.kid === kid) !== index) throw invalid(`the kid "${kid}" is there twice.`)
  }
  return keys
}

function parseEntry(entry: string, where: string): EncryptionKey {
  const colon = entry.indexOf(':')
  if (entry === '') throw invalid(`${where} is empty.`)
  if (colon < 0) throw invalid(`${where} has no colon between its kid and its key.`)
  const kid = entry.slice(0, colon)
  const encoded = entry.slice(colon + 1)
  if (!KID.test(kid)) throw invalid(`the kid of ${where} must be 1 to 64 of A-Z a-z 0-9 . _ -`)
  if (!BASE64.test(encoded)) throw invalid(`the key of ${where} ("${kid}") is not base64.`)
  const bytes = Buffer.from(encoded, 'base64')
  if (bytes.length !== KEY_BYTES) {
    throw invalid(`the key of ${where} ("${kid}") has ${bytes.length} bytes; it must have ${KEY_BYTES}.`)
  }
  return { kid, key: createSecretKey(bytes) }
}

function invalid(what: string): EncryptionKeysError {
  return new EncryptionKeysError(
    `BROKER_ENCRYPTION_KEYS must be kid:base64[,kid:base64…], but ${what} ${HOW_TO_MAKE_ONE}`
  )
}
