import fp from 'fastify-plugin'
import { refusals } from '../src/core/errors.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Minor of the platform's `2.x`; set before any handler runs. */
    osbMinor: number
  }
}

export interface ApiVersionOptions {
  /** Answer to a missing header: the specification allows 400, the public checkers want 412. Default 412. */
  readonly missingStatus?: 400 | 412
}

/** Rejects a missing or unsupported `X-Broker-API-Version` (spec: API Version Header). */
export const apiVersion = fp<ApiVersionOptions>(
  async (app, { missingStatus = 412 }) => {
    app.decorateRequest('osbMinor', 0)
    app.addHook('onRequest', (request, _reply, done) => {
      const header = request.headers['x-broker-api-version']
      request.osbMinor = parseMinor(typeof header === 'string' ? header : '', missingStatus)
      done()
    })
  },
  { name: 'osb-api-version', fastify: '5.x', dependencies: ['osb-auth'] }
)

function parseMinor(header: string, missingStatus: 400 | 412): number {
  const text = header.trim()
  if (text === '') {
    throw refusals.versionUnsupported('The header X-Broker-API-Version is required, for example 2.17.', missingStatus)
  }
  const minor = /^2\.(\d{1,4})$/.exec(text)?.[1]
  if (minor === undefined) {
    throw refusals.versionUnsupported('X-Broker-API-Version must be 2.x; this broker implements 2.17.')
  }
  return Number(minor)
}
