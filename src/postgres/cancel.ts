import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type pg from 'pg'
import { answered, cancelKeyOf } from './pg-internals.ts'

/** How long the server may take to cancel a statement and to say so. */
const CANCEL_MS = 2_000
/** How long the connection of a cancel request may stay open. PgBouncer 1.18 ends itself when it is closed too early. */
const OPEN_MS = 10_000

/**
 * Asks the server to cancel the statement that a connection waits for, and waits a moment for the answer: a server does not
 * notice that its client has given up, and goes on. The request needs a connection of its own but no login, so that a server
 * without a free connection takes it too.
 */
export async function cancelStatement(client: pg.Client): Promise<'answered' | 'silent'> {
  const key = cancelKeyOf(client)
  if (key === undefined) return 'silent'
  sendRequest(client, message(CANCEL_CODE, key.pid, key.secret))
  return (await answered(client, CANCEL_MS)) ? 'answered' : 'silent'
}

const CANCEL_CODE = 80_877_102
const TLS_CODE = 80_877_103

/** The server closes the connection when it has passed the request on. */
function sendRequest({ host, port, ssl }: pg.Client, request: Buffer): void {
  const tls: unknown = ssl
  const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect({ host, port })
  const ignore = () => undefined
  const timer = setTimeout(() => socket.destroy(), OPEN_MS).unref()
  socket.on('error', ignore).on('close', () => clearTimeout(timer))
  socket.unref()
  if (!tls) {
    socket.write(request)
    return
  }
  socket.write(message(TLS_CODE))
  socket.once('data', (answer) => {
    if (answer.toString() !== 'S') return socket.destroy()
    const channel: Socket = connectTls({ host, socket, ...(typeof tls === 'object' ? tls : {}) })
    channel.on('error', ignore).write(request)
    return undefined
  })
}

/** A message of the protocol that comes before a login: its length, then numbers. */
function message(...numbers: number[]): Buffer {
  const buffer = Buffer.alloc(4 * (numbers.length + 1))
  for (const [index, number] of [buffer.length, ...numbers].entries()) buffer.writeInt32BE(number, index * 4)
  return buffer
}
