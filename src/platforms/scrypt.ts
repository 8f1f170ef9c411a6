import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { Mistake } from './mistake.ts'

/** A password as it is kept: what scrypt makes of it, and with what. */
export interface ScryptHash extends ScryptCost {
  readonly salt: Buffer
  readonly hash: Buffer
}

/** What a run costs: `128 · 8 · 2^ln` bytes, and that `p` times over in time. */
export interface ScryptCost {
  readonly ln: number
  readonly p: number
}

/** What scrypt makes of a password with the salt and cost of a hash. */
export type Derive = (password: string, hash: ScryptHash) => Promise<Buffer>

const MIN_LN = 15
/** 128 MiB a run: a file must not be able to exhaust memory. */
const MAX_LN = 17
const MAX_P = 4
/** The block size that scrypt's author recommends and everybody uses. */
const R = 8
const MAX_BYTES = 64
const MIN_SALT_BYTES = 8
const MIN_HASH_BYTES = 16

const PHC = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/

/**
 * Reads a hash in the PHC format. Nothing of it is repeated in a message: it may be a password in the wrong place.
 * @throws {Mistake} saying what is allowed
 */
export function parseScryptHash(text: string): ScryptHash {
  const [, ln, r, p, salt = '', hash = ''] = PHC.exec(text) ?? []
  if (ln === undefined) {
    throw new Mistake('must be $scrypt$ln=…,r=…,p=…$salt$hash; make one with: osb hash-password')
  }
  const parsed = { ln: Number(ln), p: Number(p), salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') }
  if (!isWithin(parsed.ln, MIN_LN, MAX_LN)) throw new Mistake(`must have ln from ${MIN_LN} to ${MAX_LN}, has ${ln}`)
  if (Number(r) !== R) throw new Mistake(`must have r=${R}, has ${r}`)
  if (!isWithin(parsed.p, 1, MAX_P)) throw new Mistake(`must have p from 1 to ${MAX_P}, has ${p}`)
  requireBytes('salt', parsed.salt, MIN_SALT_BYTES)
  requireBytes('hash', parsed.hash, MIN_HASH_BYTES)
  return parsed
}

/** The hash of a new password, in the PHC format. */
export async function hashPassword(password: string): Promise<string> {
  const made = unknownHash({ ln: MIN_LN, p: 1 })
  const hash = await derive(password, made)
  return `$scrypt$ln=${made.ln},r=${R},p=${made.p}$${base64(made.salt)}$${base64(hash)}`
}

/** A hash of no password: for a name that nobody has, so that it costs what the others do. */
export function unknownHash({ ln, p }: ScryptCost): ScryptHash {
  return { ln, p, salt: randomBytes(16), hash: randomBytes(32) }
}

export const derive: Derive = (password, { ln, p, salt, hash }) => {
  const N = 2 ** ln
  // Node's own bound is 32 MiB, less than the least that is allowed here. This is what OpenSSL asks for.
  const options: ScryptOptions = { N, r: R, p, maxmem: 128 * R * (N + p + 2) }
  return new Promise((resolve, reject) => {
    scrypt(password, salt, hash.length, options, (error, derived) => (error ? reject(error) : resolve(derived)))
  })
}

/** Compares in constant time. */
export function isOf({ hash }: ScryptHash, derived: Buffer): boolean {
  return timingSafeEqual(hash, derived)
}

function isWithin(value: number, least: number, most: number): boolean {
  return value >= least && value <= most
}

function requireBytes(what: string, { length }: Buffer, least: number): void {
  if (isWithin(length, least, MAX_BYTES)) return
  throw new Mistake(`must have a ${what} of ${least} to ${MAX_BYTES} bytes, has ${length}`)
}

function base64(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '')
}
