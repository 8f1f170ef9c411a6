import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { closeAfterAnswers, closeWith, owe, stateOf } from '../../plugins/client-errors.ts'
import { answerUnknownRoute, sendError, sendRefusal } from '../../plugins/errors.ts'
import { BrokerError, refusals } from '../core/errors.ts'

/** Connections beyond the limit that are taken to be told so; those beyond them are closed without a word. */
const SPARE_CONNECTIONS = 64
const MAX_HEADERS = 100
/** Of several, Node takes the first in silence, and a proxy in front may have taken the last. By length, which few share. */
const SINGLE_HEADERS = new Map(['host', 'authorization', 'content-type'].map((name) => [name.length, name]))

/** How long a request that is still arriving holds up a server that closes. */
const RECEIVE_MS = 2_000

/**
 * What a server of our own refuses before any route: connections beyond the limit (but for the probe of `/healthz`),
 * requests that Node would answer without a body or not at all, and paths that are none of ours. To be called before
 * anything is registered.
 *
 * @returns a function for a server that closes. It closes the connections on which no answer is due, and the others after
 * their answer. Node closes only idle connections that have been used, and no longer looks for slow ones.
 */
export function guardServer(app: FastifyInstance, maxConnections: number): () => void {
  const { server } = app
  const open = new Map<string, Socket>()
  const surplus = new WeakSet<Duplex>()
  server.maxConnections = maxConnections + SPARE_CONNECTIONS
  server.on('connection', (socket: Socket) => {
    const peer = peerOf(socket)
    open.set(peer, socket)
    socket.once('close', () => open.delete(peer))
    if (open.size > maxConnections) surplus.add(socket)
  })
  // With TLS, requests have another socket than the connection that they come on.
  server.on('secureConnection', (socket: Socket) => {
    const peer = peerOf(socket)
    const plain = open.get(peer)
    if (plain === undefined) return
    open.set(peer, socket)
    if (surplus.has(plain)) surplus.add(socket)
  })
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply))
  app.setNotFoundHandler(answerUnknownRoute)
  server.on('connect', refuseTunnel)
  server.on('checkExpectation', refuseExpectation)
  app.addHook('onRequest', (request, reply, done) => {
    owe(request.raw.socket, reply.raw)
    const isSurplus = surplus.has(request.raw.socket) && request.routeOptions.config.osbPriority !== 'probe'
    const refusal = isSurplus ? refusals.unavailable('The broker has too many connections.') : refusalOf(request)
    if (refusal === undefined) {
      done()
      return
    }
    reply.header('connection', 'close')
    sendRefusal(refusal, request, reply)
  })
  return () => {
    for (const socket of open.values()) {
      if (stateOf(socket) === 'unused') socket.destroy()
      else closeAfterAnswers(socket)
    }
    setTimeout(() => {
      for (const socket of open.values()) if (stateOf(socket) !== 'answering') socket.destroy()
    }, RECEIVE_MS).unref()
  }
}

function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
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
function refuseTunnel(_request: IncomingMessage, socket: Duplex): void {
  // The connection is ours alone now; when it is lost, there is nothing left to do.
  socket.on('error', () => socket.destroy())
  socket.resume()
  closeWith(socket, new BrokerError(405, 'This is no proxy: there is no CONNECT.'))
}

/** `Expect` with anything but `100-continue` (RFC 9110, 10.1.1): Node would answer without a body. */
function refuseExpectation(_request: IncomingMessage, response: ServerResponse): void {
  const { status, message } = new BrokerError(417, 'Of Expect, only 100-continue is understood.')
  const body = JSON.stringify({ description: message })
  const type = 'application/json; charset=utf-8'
  response.writeHead(status, { 'content-type': type, 'content-length': body.length, connection: 'close' }).end(body)
}
