import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type Call, userOf } from '../src/core/call.ts'
import { BrokerError } from '../src/core/errors.ts'
import type { OriginatingIdentity } from '../src/core/provider.ts'
import { requireStorable } from '../src/core/storable.ts'
import { labelActiveSpan, traceContext, traceIdOf } from '../src/telemetry/index.ts'
import { LazyLog } from './lazy-log.ts'
import { describeRequest } from './request-log.ts'
import { headerOf, isObject, REQUEST_IDENTITY, subjectOf } from './subject.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks, and what of the request every verb has to know; made before a handler runs. */
    osbCall: Call
    /** Name of the platform that authenticated; set by the authentication. */
    osbPlatform: string
  }
}

const ORIGINATING_IDENTITY = 'x-broker-api-originating-identity'
const MAX_HEADER_LENGTH = 16_384

/**
 * Request identity (echoed on every answer, refusals included) and originating identity (parsed, kept for the audit).
 * spec: Request Identity, Originating Identity.
 */
export const identity = fp(
  async (app) => {
    app.setChildLoggerFactory((log, bindings, options) => new LazyLog(log, bindings, options))
    app.decorateRequest('osbPlatform', '')
    app.decorateRequest('osbCall')
    app.addHook('onRequest', (request, reply, done) => {
      echoRequestIdentity(request, reply)
      done()
    })
    app.addHook('preHandler', (request, reply, done) => {
      const requestIdentity = headerOf(request, REQUEST_IDENTITY)
      const originatingIdentity = parseOriginatingIdentity(headerOf(request, ORIGINATING_IDENTITY))
      const platform = request.osbPlatform
      const user = userOf(originatingIdentity)
      describeRequest(request, reply, {
        ...subjectOf(request),
        platform,
        user,
        trace_id: traceIdOf(traceContext())
      })
      request.osbCall = {
        platform,
        acceptsIncomplete: acceptsIncomplete(request.query),
        receivedAt: performance.now() - reply.elapsedTime,
        log: request.log,
        follow: (operation) => {
          describeRequest(request, reply, { operation })
          labelActiveSpan({ 'osb.operation.id': operation })
        },
        ...(requestIdentity === undefined ? {} : { requestIdentity }),
        ...(originatingIdentity === undefined ? {} : { originatingIdentity })
      }
      done()
    })
  },
  { name: 'osb-identity', fastify: '5.x' }
)

/** Puts the request identity on the answer; also for what never reaches a hook. */
export function echoRequestIdentity(request: FastifyRequest, reply: FastifyReply): void {
  const requestIdentity = headerOf(request, REQUEST_IDENTITY)
  if (requestIdentity !== undefined) reply.header(REQUEST_IDENTITY, requestIdentity)
}

/** `Platform value`, the value being the base64 of a JSON object. */
export function parseOriginatingIdentity(header: string | undefined): OriginatingIdentity | undefined {
  if (header === undefined) return undefined
  const [, platform, encoded] = /^(\S+) +(\S+)$/.exec(header) ?? []
  if (platform === undefined || encoded === undefined || header.length > MAX_HEADER_LENGTH) throw badIdentity()
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(encoded, 'base64').toString('utf8'))
    requireStorable(value, 'originating identity')
  } catch (error) {
    throw badIdentity(error)
  }
  if (!isObject(value)) throw badIdentity()
  return { platform, value }
}

function badIdentity(cause?: unknown) {
  const text = 'X-Broker-API-Originating-Identity must be a platform, a space, and the base64 of a JSON object.'
  return new BrokerError(400, text, { cause })
}

function acceptsIncomplete(query: unknown): boolean {
  return isObject(query) && query.accepts_incomplete === true
}
