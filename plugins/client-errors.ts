import type { ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import fp from 'fastify-plugin'
import { BrokerError } from '../src/core/errors.ts'
import { SECURITY_HEADERS } from './security-headers.ts'

/** Not imported: an import reads every export of this module, and one of them loads the client of WebSockets and `fetch`. */
const { STATUS_CODES } = process.getBuiltinModule('node:http')
/** How long a connection that was refused is still read from: what arrives unread would reset it before the answer is read. */
const LINGER_MS = 1_000

/** Answers that a connection has not got yet; those that have been sent stay until the next request on it. */
const owed = new WeakMap<Duplex, Set<ServerResponse>>()
const closing = new WeakSet<Duplex>()

/** Knows which answers are under way, so that a refusal of what follows on their connection does not take their place. */
export const clientErrors = fp(
  async (app) => {
    app.addHook('onRequest', (request, reply, done) => {
      owe(request.raw.socket, reply.raw)
      done()
    })
  },
  { name: 'osb-client-errors', fastify: '5.x' }
)

/** Remembers an answer until it has been sent. */
export function owe(socket: Duplex, response: ServerResponse): void {
  const answers = owed.get(socket)
  if (answers === undefined) {
    owed.set(socket, new Set([response]))
    return
  }
  for (const answer of answers) if (answer.closed) answers.delete(answer)
  answers.add(response)
}

/** The answers that a connection has not got yet, oldest first. */
export function owedOn(socket: Duplex): ServerResponse[] {
  return [...(owed.get(socket) ?? [])].filter(({ closed }) => !closed)
}

/**
 * Answers what is no HTTP request, or not a whole one in time, and so never reaches a route: as `clientErrorHandler` of
 * a server. The connection is closed, since nobody knows where on it the next request would begin (RFC 9112, 9.6).
 */
export function answerClientError(error: Error & { code?: string }, socket: Duplex & { bytesRead?: number }): void {
  if (closing.has(socket)) return
  closing.add(socket)
  const refusal = refusalFor(error)
  // A connection that was opened and never used is no request that failed: its 408 would be taken for the next one's.
  if (refusal === undefined || socket.bytesRead === 0) {
    socket.destroy()
    return
  }
  const answers = owedOn(socket)
  const whole = answers.filter(({ req }) => req.complete)
  const broken = answers.find(({ req }) => !req.complete)
  const close = () => closeWith(socket, broken?.headersSent === true ? undefined : refusal)
  let left = whole.length
  if (left === 0) close()
  for (const answer of whole) {
    answer.once('close', () => {
      left -= 1
      if (left === 0) close()
    })
  }
}

/** Makes the answers that are under way the last ones on their connection, so that the client sends its next request elsewhere. */
export function closeAfterAnswers(socket: Duplex): void {
  for (const answer of owedOn(socket)) if (!answer.headersSent) answer.setHeader('connection', 'close')
}

/** What of a connection is under way: an answer, the rest of a request, or nothing that anybody could wait for. */
export function stateOf(socket: Duplex): 'answering' | 'receiving' | 'unused' {
  const answers = owedOn(socket)
  if (answers.some(({ req }) => req.complete)) return 'answering'
  return answers.length > 0 ? 'receiving' : 'unused'
}

/** Ends a connection, with an answer where one is due, and lets the client read it. */
export function closeWith(socket: Duplex, refusal?: BrokerError): void {
  if (refusal === undefined) socket.end()
  else socket.end(message(refusal))
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
}

function message(refusal: BrokerError): string {
  const body = JSON.stringify(refusal.toBody())
  return [
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `Date: ${new Date().toUTCString()}`,
    ...Object.entries(SECURITY_HEADERS).map(([name, value]) => `${name}: ${value}`),
    'Connection: close',
    '',
    body
  ].join('\r\n')
}

/** Nothing for a connection that was lost, or that speaks no HTTP under its TLS. */
function refusalFor({ code = '', message }: Error & { code?: string }): BrokerError | undefined {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new BrokerError(408, 'The request did not arrive in time.')
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new BrokerError(431, 'The request line and the headers are larger than 16 KiB.')
  }
  if (code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') return new BrokerError(413, 'The chunk extensions are too large.')
  if (code.startsWith('HPE_')) return new BrokerError(400, `This is not a valid HTTP request: ${message}.`)
  return undefined
}
