import basicAuth from '@fastify/basic-auth'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { BrokerError, refusals } from '../src/core/errors.ts'
import { DEFAULT_PLATFORM, type Derive, type Platforms, type PlatformsSource } from '../src/platforms/index.ts'
import { boundedScrypt } from './auth/bounded-scrypt.ts'
import { platformsOfCertificate } from './auth/certificates.ts'
import { type Attempt, FailedLogins } from './auth/failed-logins.ts'
import { Passwords } from './auth/passwords.ts'
import { ProvenLogins } from './auth/proven-logins.ts'
import { Tokens } from './auth/tokens.ts'

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
}

/** A login before anything of it is looked at. */
interface Login extends Attempt {
  check(): Promise<string | undefined>
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
    const basicCredentials = await basicParser(app)
    const current = checksOf(platforms)
    const failures = new FailedLogins()

    const loginOf = async (request: FastifyRequest, reply: FastifyReply): Promise<Login | undefined> => {
      const { passwords, tokens } = current()
      const address = addressOf(request)
      const basic = await basicCredentials(request, reply)
      if (basic !== undefined) {
        return { address, username: basic.username, check: () => passwords.platformOf(basic.username, basic.password) }
      }
      const token = BEARER.exec(request.headers.authorization ?? '')?.[1]
      return token === undefined ? undefined : { address, check: () => tokens.platformOf(token, request.log) }
    }
    /** The platform of a login that was right a short while ago: nearly every request of a platform is one. */
    const byProof = (request: FastifyRequest): string | undefined => {
      const proof = current().proven.find(request.headers.authorization, addressOf(request))
      if (proof !== undefined) requireFewFailures(failures, proof.attempt)
      return proof?.platform
    }
    const byHeader = async (request: FastifyRequest, reply: FastifyReply): Promise<string> => {
      const { proven } = current()
      const login = await loginOf(request, reply)
      if (login === undefined) throw refusals.unauthorized()
      requireFewFailures(failures, login)
      const platform = await login.check()
      // Again: attempts side by side must not find out more than as many one by one.
      requireFewFailures(failures, login)
      if (platform === undefined) {
        if (failures.failed(login)) warnOfFailures(request)
        throw refusals.unauthorized()
      }
      failures.succeeded(login)
      // A token has an end of its own.
      const { address, username } = login
      if (username !== undefined)
        proven.add(request.headers.authorization, { platform, attempt: { address, username } })
      return platform
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
      const platform = byProof(request)
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

/** The checks of the platforms as they are now: after a reload all is made anew, and what was remembered is gone. */
function checksOf(source: PlatformsSource): () => Checks {
  const derive = boundedScrypt()
  let checks = makeChecks(source.current, derive)
  return () => {
    if (checks.platforms !== source.current) checks = makeChecks(source.current, derive)
    return checks
  }
}

function makeChecks(platforms: Platforms, derive: Derive): Checks {
  return {
    platforms,
    passwords: new Passwords(platforms.basic, derive),
    tokens: new Tokens(platforms.bearer),
    proven: new ProvenLogins()
  }
}

/**
 * Reads name and password (RFC 7617) with `@fastify/basic-auth`, whose `validate` only keeps them: an asynchronous one
 * that throws something other than an Error ends the process, and a 503 or 429 of it would become a challenge.
 */
async function basicParser(app: FastifyInstance) {
  const read = new WeakMap<FastifyRequest, { username: string; password: string }>()
  await app.register(basicAuth, {
    // biome-ignore lint/complexity/useMaxParams: the signature is @fastify/basic-auth's
    validate: (username, password, request, _reply, done) => {
      read.set(request, { username, password })
      done()
    }
  })
  const { basicAuth: parse } = app
  return (request: FastifyRequest, reply: FastifyReply) =>
    new Promise<{ username: string; password: string } | undefined>((resolve) => {
      // Its error says which part is malformed, which is nobody's business.
      parse.call(app, request, reply, () => resolve(read.get(request)))
    })
}

function requireFewFailures(failures: FailedLogins, attempt: Attempt): void {
  const seconds = failures.retryAfterSeconds(attempt)
  if (seconds !== undefined) throw refusals.tooManyFailures(seconds)
}

/** Whatever its type says, Node knows no address any more once the client has hung up. */
function addressOf({ ip }: FastifyRequest): string {
  return ip ?? ''
}

/** Without a name: a password may have been typed in its place. */
function warnOfFailures(request: FastifyRequest): void {
  const isForwarded = request.headers['x-forwarded-for'] !== undefined && request.ips === undefined
  const hint = isForwarded ? '; is that the address of a proxy? See BROKER_TRUST_PROXY' : ''
  request.log.warn({ address: request.ip }, `too many failed logins; more are refused for a while${hint}`)
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
