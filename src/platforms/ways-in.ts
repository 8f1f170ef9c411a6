import { readFileSync } from 'node:fs'
import { createLocalJWKSet, type JSONWebKeySet } from 'jose'
import { type Finding, isJsonObject, type Place } from '../core/catalog/faults.ts'
import { parseAlternativeName, parseSubject } from './certificate-names.ts'
import { Mistake } from './mistake.ts'
import type { Platform } from './schema.ts'
import { parseScryptHash, type ScryptHash } from './scrypt.ts'

/** A name, what proves it, and whose it is. */
export type BasicCredentials = { readonly platform: string; readonly username: string } & (
  | { readonly password: string }
  | { readonly hash: ScryptHash }
)

/** Tokens that let a platform in. */
export interface TrustedTokens {
  readonly platform: string
  readonly issuer: string
  readonly audience: string
  readonly claims: Readonly<Record<string, string | number | boolean>>
  readonly keys: { readonly uri: URL } | { readonly set: JSONWebKeySet }
}

/** Client certificates that let a platform in: by their subject, or by one of their alternative names. */
export type TrustedCertificate = { readonly platform: string } & (
  | { readonly subject: string }
  | { readonly alternativeName: string }
)

/** Everything that lets a platform in. */
export interface WaysIn {
  readonly basic: readonly BasicCredentials[]
  readonly bearer: readonly TrustedTokens[]
  readonly certificate: readonly TrustedCertificate[]
}

/** A platform as it was written, and where. */
export interface WrittenPlatform {
  readonly at: Place
  readonly name: string
  readonly platform: Platform
}

/** Reads the ways in of platforms whose shape was checked; what is wrong with a value goes to the findings. */
export function readWaysIn(written: readonly WrittenPlatform[], findings: Finding[]): WaysIn {
  const read = { basic: new Known<BasicCredentials>(), bearer: new Known<TrustedTokens>() }
  const certificate = new Known<TrustedCertificate>()
  const attempt = (at: Place, action: () => void) => {
    try {
      action()
    } catch (error) {
      if (!(error instanceof Mistake)) throw error
      findings.push({ at, message: error.message })
    }
  }
  for (const { at, name, platform } of written) {
    for (const [index, { username, password_hash }] of (platform.basic ?? []).entries()) {
      const here = [...at, 'basic', index]
      attempt([...here, 'password_hash'], () => {
        const hash = parseScryptHash(password_hash)
        attempt([...here, 'username'], () => read.basic.add(username, { platform: name, username, hash }))
      })
    }
    for (const [index, { issuer, audience, claims, ...keys }] of (platform.bearer ?? []).entries()) {
      attempt([...at, 'bearer', index], () => {
        const key = JSON.stringify([issuer, audience, Object.entries(claims).sort()])
        read.bearer.add(key, { platform: name, issuer, audience, claims, keys: readKeys(keys) })
      })
    }
    for (const [index, entry] of (platform.certificate ?? []).entries()) {
      attempt([...at, 'certificate', index], () => {
        const names = readCertificate(entry)
        certificate.add(JSON.stringify(names), { platform: name, ...names })
      })
    }
  }
  return { basic: read.basic.all, bearer: read.bearer.all, certificate: certificate.all }
}

/** What is the same of two platforms would let either in as the other. */
class Known<Entry extends { readonly platform: string }> {
  readonly all: Entry[] = []
  readonly #owners = new Map<string, string>()

  add(key: string, entry: Entry): void {
    const owner = this.#owners.get(key) ?? entry.platform
    if (owner !== entry.platform) throw new Mistake(`is that of the platform ${owner} already; each needs its own`)
    this.#owners.set(key, owner)
    this.all.push(entry)
  }
}

function readCertificate({ subject, san }: { subject?: string; san?: string }) {
  if (subject !== undefined && san === undefined) return { subject: parseSubject(subject) }
  if (san !== undefined && subject === undefined) return { alternativeName: parseAlternativeName(san) }
  throw new Mistake('must have subject or san, and not both')
}

function readKeys({ jwks_uri, jwks_file }: { jwks_uri?: string; jwks_file?: string }): TrustedTokens['keys'] {
  if (jwks_uri !== undefined && jwks_file === undefined) return { uri: readUri(jwks_uri) }
  if (jwks_file !== undefined && jwks_uri === undefined) return { set: readKeyFile(jwks_file) }
  throw new Mistake('must have jwks_uri or jwks_file, and not both')
}

/** Keys that somebody on the way could replace would let anybody in. */
function readUri(text: string): URL {
  const uri = URL.canParse(text) ? new URL(text) : undefined
  const isLoopback = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(uri?.hostname ?? '')
  const isSafe = uri?.protocol === 'https:' || (uri?.protocol === 'http:' && isLoopback)
  // Not repeated: it may hold a password
  if (uri === undefined || !isSafe || uri.username !== '' || uri.password !== '') {
    throw new Mistake('has a jwks_uri that must be an https URL (http on a loopback address) without credentials')
  }
  return uri
}

function readKeyFile(file: string): JSONWebKeySet {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (!isKeySet(value)) throw new Error('it is no JSON Web Key Set')
    createLocalJWKSet(value)
    return value
  } catch (error) {
    throw new Mistake(`has a jwks_file, ${file}, that cannot be used: ${reasonOf(error)}`)
  }
}

function isKeySet(value: unknown): value is JSONWebKeySet {
  return isJsonObject(value) && Array.isArray(value.keys) && value.keys.length > 0 && value.keys.every(isJsonObject)
}

/** What a parser says may repeat what it read: a file named by mistake may hold secrets. */
function reasonOf(error: unknown): string {
  if (error instanceof SyntaxError) return 'it is no JSON'
  return error instanceof Error ? error.message : String(error)
}
