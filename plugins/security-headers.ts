import type { FastifyReply } from 'fastify'
import fp from 'fastify-plugin'

/** No client guesses a content type, and no link leads elsewhere with an id of an instance in `Referer`. */
export const SECURITY_HEADERS = { 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' } as const

/** Puts {@link SECURITY_HEADERS} on the answers of all routes. Errors that skip every hook get them from `sendRefusal`. */
export const securityHeaders = fp(
  async (app) => {
    app.addHook('onRequest', (_request, reply, done) => {
      setSecurityHeaders(reply)
      done()
    })
  },
  { name: 'osb-security-headers', fastify: '5.x' }
)

export function setSecurityHeaders(reply: FastifyReply): void {
  reply.header('x-content-type-options', SECURITY_HEADERS['x-content-type-options'])
  reply.header('referrer-policy', SECURITY_HEADERS['referrer-policy'])
}
