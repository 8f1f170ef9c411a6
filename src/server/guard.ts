import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { collectAllowedMethods } from '../../plugins/allowed-methods.ts'
import { closeAfterAnswers, closeWith, owe, owedOn, stateOf } from '../../plugins/client-errors.ts'
import { sendError, sendRefusal, unknownRouteHandler } from '../../plugins/errors.ts'
import { SECURITY_HEADERS } from '../../plugins/security-headers.ts'
import { BrokerError, refusals } from '../core/errors.ts'
import { type ConnectionBounds, Connections } from './connections.ts'

const MAX_HEADERS = 100
/** Unanswered requests on one connection. Platforms send the next request after the answer; only a flood sends many at once. */
const MAX_UNANSWERED = 16
/** Of several, Node takes the first in silence, and a proxy in front may have taken the last. By length, which few share. */
const SINGLE_HEADERS = new Map(['host', 'authorization', 'content-type'].map((name) => [name.length, name]))

/** How long a request that is still arriving holds up a server that closes. */
const RECEIVE_MS = 2_000

/**
 * Lets the broker's own server refuse what no route handles: connections beyond the bounds (except for health checks),
 * requests that Node would answer without a body or not at all, and unknown paths. To be called before anything is
 * registered.
 *
 * @returns a function for a server that closes. It closes the connections on which no answer is due, and the others after
 * their answer. Node closes only idle connections that have been used, and no longer looks for slow ones.
 */
export function guardServer(app: FastifyInstance, bounds: ConnectionBounds): () => void {
  const { server } = app
  const connections = new Connections(server, bounds)
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply))
  app.setNotFoundHandler(unknownRouteHandler(collectAllowedMethods(app)))
  server.on('connect', refuseTunnel)
  server.on('checkExpectation', refuseExpectation)
  app.addHook('onRequest', (request, reply, done) => {
    const { socket } = request.raw
    const earlier = owedOn(socket)
    if (earlier.length > MAX_UNANSWERED) {
      // The refusal of the request before this one closes the connection.
      reply.hijack()
      return
    }
    owe(socket, reply.raw)
    const refusal = pipeliningRefusal(earlier) ?? surplusRefusal(connections, request) ?? refusalOf(request)
    if (refusal === undefined) {
      afterAnswers(socket, earlier, done)
      return
    }
    reply.header('connection', 'close')
    sendRefusal(refusal, request, reply)
  })
  const markAuthenticated = ({ osbPlatform, raw }: FastifyRequest) => {
    // Undefined on routes that are not the broker's, and empty without credentials.
    if (osbPlatform) connections.authenticated(raw.socket)
  }
  // Before the answer, because a synchronous operation may take longer than a stalled connection is kept open.
  app.addHook('preParsing', (request, _reply, _payload, done) => {
    markAuthenticated(request)
    done()
  })
  // Requests that are refused after their authentication do not reach the other hook.
  app.addHook('onResponse', (request, _reply, done) => {
    markAuthenticated(request)
    done()
  })
  return () => {
    for (const socket of connections.sockets) {
      if (stateOf(socket) === 'unused') socket.destroy()
      else closeAfterAnswers(socket)
    }
    setTimeout(() => {
      for (const socket of connections.sockets) if (stateOf(socket) !== 'answering') socket.destroy()
    }, RECEIVE_MS).unref()
  }
}

export function pipeliningRefusal(earlier: readonly ServerResponse[]): BrokerError | undefined {
  if (earlier.length < MAX_UNANSWERED) return undefined
  return new BrokerError(429, `There are more than ${MAX_UNANSWERED} unanswered requests on this connection.`)
}

/**
 * Handles pipelined requests one after the other. Node holds the answers to all of them in memory until the client reads, so
 * that one packet of requests could otherwise fill it. A request on a connection that has been closed is not handled.
 */
function afterAnswers(socket: Duplex, earlier: readonly ServerResponse[], handle: () => void): void {
  const last = earlier.at(-1)
  if (last === undefined) handle()
  else last.once('close', () => socket.destroyed || handle())
}

function surplusRefusal(connections: Connections, { raw, routeOptions }: FastifyRequest): BrokerError | undefined {
  const surplus = connections.surplusOf(raw.socket)
  if (surplus === undefined || routeOptions.config.osbPriority === 'probe') return undefined
  const from = surplus === 'address' ? ' from this address' : ''
  return refusals.unavailable(`The broker has too many connections${from}.`)
}

/** What makes a request mean one thing to us and another to a proxy in front (RFC 9112, 3.2), and too many headers. */
function refusalOf({ raw, headers }: FastifyRequest): BrokerError | undefined {
  if (raw.rawHeaders.length / 2 > MAX_HEADERS)
    return new BrokerError(431, `There are more than ${MAX_HEADERS} headers.`)
  const repeated = repeatedHeader(raw.rawHeaders)
  if (repeated !== undefined) return refusals.malformed(`There is more than one ${repeated} header.`)
  if (raw.httpVersion === '1.1' && headers.host === undefined) {
    return refusals.malformed('The header Host is required.')
  }
  return undefined
}

/** @param raw names and values in turn, as they came */
function repeatedHeader(raw: readonly string[]): string | undefined {
  const seen = new Set<string>()
  for (let index = 0; index < raw.length; index += 2) {
    const name = SINGLE_HEADERS.get(raw[index]?.length ?? 0)
    if (name === undefined || raw[index]?.toLowerCase() !== name) continue
    if (seen.has(name)) return name
    seen.add(name)
  }
  return undefined
}

/** CONNECT: Node would close the connection without an answer. */
export function refuseTunnel(_request: IncomingMessage, socket: Duplex): void {
  // The connection is ours alone now; when it is lost, there is nothing left to do.
  socket.on('error', () => socket.destroy())
  socket.resume()
  closeWith(socket, new BrokerError(405, 'This is no proxy: there is no CONNECT.'))
}

/** `Expect` with anything but `100-continue` (RFC 9110, 10.1.1): Node would answer without a body. */
export function refuseExpectation(_request: IncomingMessage, response: ServerResponse): void {
  const { status, message } = new BrokerError(417, 'Of Expect, only 100-continue is understood.')
  const body = JSON.stringify({ description: message })
  const type = 'application/json; charset=utf-8'
  const headers = { 'content-type': type, 'content-length': body.length, connection: 'close' }
  response.writeHead(status, { ...SECURITY_HEADERS, ...headers }).end(body)
}
