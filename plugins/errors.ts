import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { BrokerError, refusals } from '../src/core/errors.ts'
import { Unavailable } from '../src/core/provider.ts'
import { type AllowedMethods, collectAllowedMethods } from './allowed-methods.ts'
import { echoRequestIdentity } from './identity.ts'
import { setSecurityHeaders } from './security-headers.ts'

export interface ErrorsOptions {
  /** Whether the broker answers unknown paths below its prefix. Without a prefix, a host has its own answer. */
  readonly answerUnknownRoutes: boolean
}

/** Shapes every failure as the specification wants it: a JSON object with a description (spec: Service Broker Errors). */
export const errors = fp<ErrorsOptions>(
  async (app, { answerUnknownRoutes }) => {
    app.setErrorHandler<FastifyError>((error, request, reply) => sendError(error, request, reply))
    if (!answerUnknownRoutes) return
    app.setNotFoundHandler(unknownRouteHandler(collectAllowedMethods(app)))
  },
  { name: 'osb-errors', fastify: '5.x' }
)

/** Answers an unknown path with 404, and a known path with another method with 405 and `Allow` (RFC 9110, 15.5.6). */
export function unknownRouteHandler(allowedMethods: AllowedMethods) {
  return (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const { method } = request
    const path = request.url.split('?')[0] ?? ''
    const allowed = allowedMethods(request.url)
    // A route for files answers 404 itself for a file that does not exist.
    if (allowed.length === 0 || allowed.includes(method))
      return sendError(refusals.routeUnknown(method, path), request, reply)
    reply.header('allow', allowed.join(', '))
    return sendError(refusals.methodNotAllowed(method, path), request, reply)
  }
}

/** Answers an error; also for what never reaches a hook, as `frameworkErrors` of a server of our own. */
export function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const refusal = refusalFor(error)
  if (refusal.status >= 500) request.log.error({ err: refusal.details.cause ?? error }, refusal.message)
  return sendRefusal(refusal, request, reply)
}

/** Answers a refusal without logging it. */
export function sendRefusal(refusal: BrokerError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  echoRequestIdentity(request, reply)
  setSecurityHeaders(reply)
  const { retryAfterSeconds } = refusal.details
  if (retryAfterSeconds !== undefined) reply.header('retry-after', String(retryAfterSeconds))
  return reply
    .code(refusal.status)
    .type('application/json; charset=utf-8')
    .serializer((body: unknown) => JSON.stringify(body))
    .send(refusal.toBody())
}

function refusalFor(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error
  if (error instanceof Unavailable) return refusals.unavailable(error.message)
  if (!isFastifyError(error)) return refusals.internal()
  if (error.validation !== undefined) return refusals.malformed(sentence(error.message))
  const { statusCode = 500 } = error
  if (statusCode >= 500) return refusals.internal()
  return new BrokerError(STATUS_OF_CODE[error.code] ?? statusCode, sentence(error.message))
}

/** Where the specification wants another status than Fastify's own (spec: Content Type: 400). */
const STATUS_OF_CODE: Record<string, number> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 400,
  FST_ERR_CTP_EMPTY_TYPE: 400,
  FST_ERR_BAD_URL: 400,
  FST_ERR_MAX_PARAM_LENGTH: 400
}

function isFastifyError(error: unknown): error is FastifyError {
  return error instanceof Error && 'code' in error && ('statusCode' in error || 'validation' in error)
}

function sentence(text: string): string {
  return text.endsWith('.') ? text : `${text}.`
}
