import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import basicAuth from '@fastify/basic-auth'
import fp from 'fastify-plugin'
import { refusals } from '../src/core/errors.ts'

/** One way in: basic credentials, and the platform whose they are. */
export interface BasicCredentials {
  readonly platform: string
  readonly username: string
  readonly password: string
}

export interface AuthOptions {
  /** Everybody who may come in; `false` where the host has authenticated already. */
  readonly credentials: readonly BasicCredentials[] | false
}

/** Name of the platform where there is one alone, or the host authenticates. */
export const DEFAULT_PLATFORM = 'default'

/** Basic authentication on every route (spec: Platform to Service Broker Authentication; RFC 7617). */
export const auth = fp<AuthOptions>(
  async (app, { credentials }) => {
    if (credentials === false) {
      app.addHook('onRequest', async (request) => {
        request.osbPlatform = DEFAULT_PLATFORM
      })
      return
    }
    const find = credentialFinder(credentials)
    await app.register(basicAuth, {
      authenticate: { realm: 'Open Service Broker' },
      // With a callback: an async validate that throws something other than an Error ends the process.
      // biome-ignore lint/complexity/useMaxParams: the signature is @fastify/basic-auth's
      validate: (username, password, request, _reply, done) => {
        const platform = find(username, password)
        if (platform === undefined) return done(refusals.unauthorized())
        request.osbPlatform = platform
        done()
      }
    })
    app.addHook('onRequest', app.basicAuth)
  },
  { name: 'osb-auth', fastify: '5.x', dependencies: ['osb-identity'] }
)

/** Compares all credentials, each in constant time, so that the time tells nothing about names or passwords. */
function credentialFinder(credentials: readonly BasicCredentials[]) {
  const key = randomBytes(32)
  const digest = (text: string) => createHmac('sha256', key).update(text).digest()
  const known = credentials.map(({ platform, username, password }) => ({
    platform,
    username: digest(username),
    password: digest(password)
  }))
  return (username: string, password: string): string | undefined => {
    const given = { username: digest(username), password: digest(password) }
    let found: string | undefined
    for (const entry of known) {
      const sameName = timingSafeEqual(entry.username, given.username)
      const samePassword = timingSafeEqual(entry.password, given.password)
      if (sameName && samePassword) found = entry.platform
    }
    return found
  }
}
