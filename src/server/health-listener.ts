import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { answerClientError, owe, owedOn } from '../../plugins/client-errors.ts'
import { SECURITY_HEADERS } from '../../plugins/security-headers.ts'
import { type BrokerError, refusals } from '../core/errors.ts'
import { Connections } from './connections.ts'
import { pipeliningRefusal, refuseExpectation, refuseTunnel } from './guard.ts'
import { connectionLimits, REQUEST_TIMEOUT_MS } from './limits.ts'

export interface HealthListenerOptions {
  readonly host: string
  readonly port: number
  /** Answers `/metrics`, if metrics are served. */
  readonly metrics: RequestListener | undefined
}

/** An orchestrator, a scraper or two, and a person: far below the connections of the platforms' listener. */
const BOUNDS = { max: 64, maxPerAddress: 32 }
const HEALTH_PATHS = ['/healthz', '/readyz']

/**
 * Listens for health checks and metrics on a port of its own, so that a flood of the platforms' port does not reach them.
 * It speaks plain HTTP and never serves the API.
 * @returns a function that closes it
 */
export async function listenForHealth(
  app: FastifyInstance,
  { host, port, metrics }: HealthListenerOptions
): Promise<() => Promise<void>> {
  const server = createServer({ ...connectionLimits, requestTimeout: REQUEST_TIMEOUT_MS, requireHostHeader: false })
  const connections = new Connections(server, BOUNDS)
  server.on('clientError', answerClientError)
  server.on('connect', refuseTunnel)
  server.on('checkExpectation', refuseExpectation)
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const path = request.url?.split('?', 1)[0] ?? ''
    if (HEALTH_PATHS.includes(path)) {
      app.routing(request, response)
      return
    }
    const earlier = owedOn(request.socket)
    owe(request.socket, response)
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value)
    const refusal = pipeliningRefusal(earlier) ?? surplusRefusal(connections, request)
    if (refusal !== undefined) {
      response.setHeader('connection', 'close')
      refuse(response, refusal)
    } else if (path !== '/metrics' || metrics === undefined) {
      refuse(response, refusals.routeUnknown(request.method ?? '', path))
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD')
      refuse(response, refusals.methodNotAllowed(request.method ?? '', path))
    } else {
      metrics(request, response)
    }
  })
  server.listen({ host, port })
  await once(server, 'listening')
  return async () => {
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
}

function surplusRefusal(connections: Connections, { socket }: IncomingMessage): BrokerError | undefined {
  if (connections.surplusOf(socket) === undefined) return undefined
  return refusals.unavailable('The broker has too many connections.')
}

function refuse(response: ServerResponse, refusal: BrokerError): void {
  const body = JSON.stringify(refusal.toBody())
  const { retryAfterSeconds } = refusal.details
  if (retryAfterSeconds !== undefined) response.setHeader('retry-after', String(retryAfterSeconds))
  response.setHeader('content-type', 'application/json; charset=utf-8')
  response.setHeader('content-length', Buffer.byteLength(body))
  response.writeHead(refusal.status).end(body)
}
