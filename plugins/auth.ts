import basicAuth from '@fastify/basic-auth'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { BrokerError, refusals } from '../src/core/errors.ts'
import { DEFAULT_PLATFORM, type Platforms, type PlatformsSource } from '../src/platforms/index.ts'
import { boundedScrypt, type DeriveFor } from './auth/bounded-scrypt.ts'
import { platformsOfCertificate } from './auth/certificates.ts'
import { Digests } from './auth/digests.ts'
import { FailedLogins, MAX_FAILURES } from './auth/failed-logins.ts'
import { LoginThrottle } from './auth/login-throttle.ts'
import { Passwords } from './auth/passwords.ts'
import { ProvenLogins } from './auth/proven-logins.ts'
import { Tokens } from './auth/tokens.ts'
import { networkOf } from './network-of.ts'

/** The host's own authentication: the name of the platform that a request comes from, or nothing when it is nobody's. */
export type HostAuthentication = (request: FastifyRequest) => string | undefined | Promise<string | undefined>

export interface AuthOptions {
  /** Everybody who may come in; `false` where the host has authenticated already, or whom it asks. */
  readonly platforms: PlatformsSource | HostAuthentication | false
}

/** What checks credentials, made of the platforms as they are. */
interface Checks {
  readonly platforms: Platforms
  readonly passwords: Passwords
  readonly tokens: Tokens
  readonly proven: ProvenLogins
  /** Keyed anew with each reload, so that no login shares a check that began before it. */
  readonly digests: Digests
}

interface BasicLogin {
  readonly username: string
  readonly password: string
}

const REALM = 'realm="Open Service Broker"'
/** RFC 6750, section 2.1 */
const BEARER = /^Bearer +([\w.~+/-]+=*)$/i

/**
 * Authentication on every route (spec: Platform to Service Broker Authentication): an `Authorization` header decides
 * alone; without one it is the client's certificate. Whatever is wrong, the answer is the same.
 */
export const auth = fp<AuthOptions>(
  async (app, { platforms }) => {
    if (platforms === false) {
      app.addHook('onRequest', async (request) => {
        request.osbPlatform = DEFAULT_PLATFORM
      })
      return
    }
    if (typeof platforms === 'function') {
      app.addHook('onRequest', async (request) => {
        const platform = await platforms(request)
        if (platform === undefined || platform === '') throw refusals.unauthorized()
        request.osbPlatform = platform
      })
      return
    }
    const basicLogin = await basicParser(app)
    const failures = new FailedLogins()
    const throttle = new LoginThrottle(failures)
    const current = checksOf(
      platforms,
      boundedScrypt((network) => failures.countOf(network))
    )

    const byPassword = async (request: FastifyRequest, { username, password }: BasicLogin): Promise<string> => {
      const { passwords, proven, digests } = current()
      const address = addressOf(request)
      const network = networkOf(address)
      const checked = await throttle.check({
        network,
        key: digests.of(network, username, password),
        check: () => passwords.platformOf(username, password, network)
      })
      if (checked.platform !== undefined) {
        proven.add(request.headers.authorization ?? '', address, checked.platform)
        return checked.platform
      }
      if (checked.failures === MAX_FAILURES) warnOfFailures(request)
      if (checked.failures > MAX_FAILURES) throw refusals.tooManyFailures(failures.retryAfterSeconds(network))
      throw refusals.unauthorized()
    }
    /** Tokens are not throttled, because a signature cannot be guessed. */
    const byToken = async (request: FastifyRequest): Promise<string> => {
      const token = BEARER.exec(request.headers.authorization ?? '')?.[1]
      const platform = token === undefined ? undefined : await current().tokens.platformOf(token, request.log)
      if (platform === undefined) throw refusals.unauthorized()
      return platform
    }
    const byHeader = async (request: FastifyRequest, reply: FastifyReply): Promise<string> => {
      const login = await basicLogin(request, reply)
      return login === undefined ? byToken(request) : byPassword(request, login)
    }
    const byCertificate = (request: FastifyRequest): string => {
      const [platform, ...others] = platformsOfCertificate(request.raw.socket, current().platforms.certificate)
      if (others.length > 0) {
        request.log.warn({ platforms: [platform, ...others] }, 'a certificate fits several platforms and was refused')
      }
      if (platform === undefined || others.length > 0) throw refusals.unauthorized()
      return platform
    }

    const authenticate = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      try {
        const hasHeader = request.headers.authorization !== undefined
        request.osbPlatform = hasHeader ? await byHeader(request, reply) : byCertificate(request)
      } catch (error) {
        if (error instanceof BrokerError && error.status === 401) challenge(request, reply, current().platforms)
        throw error
      }
    }
    app.addHook('onRequest', (request, reply, done) => {
      // Nearly every request of a platform has a login that is remembered.
      const platform = current().proven.find(request.headers.authorization, addressOf(request))
      if (platform === undefined) {
        authenticate(request, reply).then(() => done(), done)
        return
      }
      request.osbPlatform = platform
      done()
    })
  },
  { name: 'osb-auth', fastify: '5.x', dependencies: ['osb-identity'] }
)

/** The checks of the current platforms. A reload makes new ones, which remember no login. */
function checksOf(source: PlatformsSource, derive: DeriveFor): () => Checks {
  let checks = makeChecks(source.current, derive)
  return () => {
    if (checks.platforms !== source.current) checks = makeChecks(source.current, derive)
    return checks
  }
}

function makeChecks(platforms: Platforms, derive: DeriveFor): Checks {
  return {
    platforms,
    passwords: new Passwords(platforms.basic, derive),
    tokens: new Tokens(platforms.bearer),
    proven: new ProvenLogins(),
    digests: new Digests()
  }
}

/**
 * Reads name and password (RFC 7617) with `@fastify/basic-auth`, whose `validate` only keeps them: an asynchronous one
 * that throws something other than an Error ends the process, and a 503 or 429 of it would become a challenge.
 */
async function basicParser(app: FastifyInstance) {
  const read = new WeakMap<FastifyRequest, BasicLogin>()
  await app.register(basicAuth, {
    // biome-ignore lint/complexity/useMaxParams: the signature is @fastify/basic-auth's
    validate: (username, password, request, _reply, done) => {
      read.set(request, { username, password })
      done()
    }
  })
  const { basicAuth: parse } = app
  return (request: FastifyRequest, reply: FastifyReply) =>
    new Promise<BasicLogin | undefined>((resolve) => {
      // Ignore the parse error: do not tell the client which part was malformed.
      parse.call(app, request, reply, () => resolve(read.get(request)))
    })
}

/** Unlike its type says, the address is undefined once the client has hung up. */
function addressOf({ ip }: FastifyRequest): string {
  return ip ?? ''
}

/** Without a name: a password may have been typed in its place. */
function warnOfFailures(request: FastifyRequest): void {
  const isForwarded = request.headers['x-forwarded-for'] !== undefined && request.ips === undefined
  const hint = isForwarded ? '; is that the address of a proxy? See BROKER_TRUST_PROXY' : ''
  request.log.warn({ address: request.ip }, `too many failed logins; further ones are slowed down${hint}`)
}

/** Names the schemes that can succeed (RFC 9110, section 11.6.1); for certificates HTTP has none. */
function challenge(request: FastifyRequest, reply: FastifyReply, { basic, bearer, certificate }: Platforms): void {
  const isBearer = /^Bearer /i.test(request.headers.authorization ?? '')
  const schemes = [
    ...(basic.length > 0 || bearer.length + certificate.length === 0 ? [`Basic ${REALM}, charset="UTF-8"`] : []),
    // RFC 6750, section 3.1: whoever has shown a token learns that it is no good, and no more.
    ...(bearer.length > 0 ? [`Bearer ${REALM}${isBearer ? ', error="invalid_token"' : ''}`] : [])
  ]
  const [first, ...others] = schemes
  if (first !== undefined) reply.header('www-authenticate', others.length === 0 ? first : schemes)
}
