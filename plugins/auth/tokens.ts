import { createLocalJWKSet, createRemoteJWKSet, customFetch, decodeJwt, errors, type JWTPayload, jwtVerify } from 'jose'
import { refusals } from '../../src/core/errors.ts'
import type { TrustedTokens } from '../../src/platforms/index.ts'

/** Signed with a private key. Never `none`, and no HS*: a public key must not do as a secret. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']
const CLOCK_TOLERANCE_SECONDS = 10
const FETCH_TIMEOUT_MS = 3_000
/** How long a failed fetch is not tried again; what is known stays in use meanwhile. */
const RETRY_SECONDS = 5
/** Faults of jose that are about the keys and not about the token. */
const KEY_FAULTS: readonly string[] = [errors.JOSEError.code, errors.JWKSInvalid.code, errors.JWKSTimeout.code]

type Keys = ReturnType<typeof createLocalJWKSet> | ReturnType<typeof createRemoteJWKSet>
type Trusted = TrustedTokens & { readonly find: Keys }

/** Where the reason of a refusal goes, which the answer does not have. */
export interface TokenLog {
  debug(details: object, message: string): void
  warn(details: object, message: string): void
}

/** Tells whose a token is (RFC 6750, RFC 7519). */
export class Tokens {
  readonly #trusted: readonly Trusted[]

  /** @param now a clock in milliseconds that never goes back */
  constructor(trusted: readonly TrustedTokens[], now: () => number = () => performance.now()) {
    const remote = new Map<string, Keys>()
    this.#trusted = trusted.map((entry) => {
      if ('set' in entry.keys) return { ...entry, find: createLocalJWKSet(entry.keys.set) }
      const { uri } = entry.keys
      const find = remote.get(uri.href) ?? remoteKeys(uri, now)
      remote.set(uri.href, find)
      return { ...entry, find }
    })
  }

  /**
   * The platform of a token, or undefined; the reason goes to the log at debug, without the token.
   * @throws {BrokerError} 503 when the keys cannot be had
   */
  async platformOf(token: string, log: TokenLog): Promise<string | undefined> {
    const platforms = new Set<string>()
    const reasons: string[] = []
    let unavailable: unknown
    // Keys of an issuer are fetched only for what claims to be its token.
    const issuer = issuerOf(token)
    for (const trusted of this.#trusted.filter((entry) => entry.issuer === issuer)) {
      try {
        const reason = await this.#refusalOf(token, trusted)
        if (reason === undefined) platforms.add(trusted.platform)
        else reasons.push(`${trusted.platform}: ${reason}`)
      } catch (error) {
        unavailable = error
      }
    }
    const [platform, ...others] = platforms
    if (others.length > 0) log.warn({ platforms: [...platforms] }, 'a token fits several platforms and was refused')
    if (platform !== undefined) return others.length === 0 ? platform : undefined
    if (unavailable !== undefined) throw unavailable
    log.debug({ reasons: reasons.length === 0 ? ['its issuer is not trusted'] : reasons }, 'a token was refused')
    return undefined
  }

  /** Why a token is not that of a platform; undefined when it is. */
  async #refusalOf(token: string, trusted: Trusted): Promise<string | undefined> {
    const { platform, issuer, audience, claims, find } = trusted
    try {
      const { payload } = await jwtVerify(token, find, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        requiredClaims: ['exp'],
        clockTolerance: CLOCK_TOLERANCE_SECONDS
      })
      const other = Object.entries(claims).find(([name, wanted]) => !hasClaim(payload, name, wanted))
      return other === undefined ? undefined : `the claim ${other[0]} is not as the platform's`
    } catch (error) {
      if (error instanceof errors.JOSEError && !KEY_FAULTS.includes(error.code)) return error.message
      const cause = new Error(`the keys of ${issuer}, for the platform ${platform}, cannot be had`, { cause: error })
      throw refusals.unavailable('The keys that tokens are checked with cannot be had.', RETRY_SECONDS, cause)
    }
  }
}

/** Keys that are fetched when they are needed, and kept. */
function remoteKeys(uri: URL, now: () => number): Keys {
  let failure: { error: unknown; until: number } | undefined
  return createRemoteJWKSet(uri, {
    timeoutDuration: FETCH_TIMEOUT_MS,
    // Otherwise each request with a token would make one more, for as long as it fails.
    [customFetch]: async (url, options) => {
      if (failure !== undefined && failure.until > now()) throw failure.error
      try {
        const response = await fetch(url, options)
        if (response.status !== 200) throw new Error(`${url} answers ${response.status}`)
        const text = await response.text()
        createLocalJWKSet(JSON.parse(text))
        failure = undefined
        return new Response(text)
      } catch (error) {
        failure = { error, until: now() + RETRY_SECONDS * 1_000 }
        throw error
      }
    }
  })
}

/** Not to be believed before the signature is checked: it only says whose keys to check with. */
function issuerOf(token: string): string | undefined {
  try {
    return decodeJwt(token).iss
  } catch (error) {
    if (error instanceof errors.JOSEError) return undefined
    throw error
  }
}

function hasClaim(payload: JWTPayload, name: string, wanted: string | number | boolean): boolean {
  const value = Object.hasOwn(payload, name) ? payload[name] : undefined
  return Array.isArray(value) ? value.includes(wanted) : value === wanted
}
