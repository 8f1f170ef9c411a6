import { type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import { writes } from './lazy-log.ts'
import { subjectOf } from './subject.ts'

/** Puts fields on every further line about a request. */
export function describeRequest(request: FastifyRequest, reply: FastifyReply, fields: Record<string, unknown>): void {
  request.log = request.log.child(fields)
  reply.log = request.log
}

/**
 * The lines of Fastify itself about the broker's requests: one for each that changes something at `info`; reads, which are
 * mostly polls, at `debug`. Neither headers nor bodies are logged. What other routes log stays as it was.
 */
export class RequestLog extends LogController {
  override incomingRequest(request: FastifyRequest, reply: FastifyReply): void {
    if (!isOurs(request)) super.incomingRequest(request, reply)
    else if (writes(request.log, 'debug'))
      request.log.debug({ method: request.method, path: pathOf(request) }, 'incoming request')
  }

  override requestCompleted(error: Error | null | undefined, request: FastifyRequest, reply: FastifyReply): void {
    if (!isOurs(request)) {
      super.requestCompleted(error, request, reply)
      return
    }
    const { method } = request
    const level = error ? 'error' : method === 'GET' || method === 'HEAD' ? 'debug' : 'info'
    if (!writes(reply.log, level)) return
    const ms = Math.round(reply.elapsedTime * 10) / 10
    // One that was refused early has a log that does not say yet what it is about.
    const subject = request.osbCall === undefined ? { ...subjectOf(request), ...platformOf(request) } : {}
    const line = { method, path: pathOf(request), status: reply.statusCode, ms, ...subject }
    if (error) reply.log.error({ ...line, err: error }, 'request errored')
    else reply.log[level](line, 'request completed')
  }
}

/** Routes of the broker have its decorators; a host's have not. */
function isOurs(request: FastifyRequest): boolean {
  return typeof request.osbPlatform === 'string'
}

function platformOf({ osbPlatform: platform }: FastifyRequest) {
  return platform === '' ? {} : { platform }
}

/** Without the query. */
function pathOf({ url }: FastifyRequest): string {
  return url.split('?', 1)[0] ?? ''
}
