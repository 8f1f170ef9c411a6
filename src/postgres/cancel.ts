import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type pg from 'pg'
import { answered, cancelKeyOf } from './pg-internals.ts'

/** How long the server may take to cancel a statement and to report it. */
const CANCEL_MS = 2_000
/** How long the connection of a cancel request may stay open. PgBouncer 1.18 crashes when a client closes it early. */
const OPEN_MS = 10_000

/**
 * Cancels the running statement of a client on the server, because the server does not notice that a client has given up. The
 * request uses a connection of its own without a login, so that it works on a server that has no free connection.
 *
 * @returns Whether the server answered the canceled statement.
 */
export async function cancelStatement(client: pg.Client): Promise<'answered' | 'silent'> {
  const key = cancelKeyOf(client)
  if (key === undefined) return 'silent'
  sendRequest(client, message(CANCEL_CODE, key.pid, key.secret))
  return (await answered(client, CANCEL_MS)) ? 'answered' : 'silent'
}

const CANCEL_CODE = 80_877_102
const TLS_CODE = 80_877_103

/** The server closes the connection after it has processed the request. */
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

/** A message of the protocol before a login: its length in bytes, then the numbers. */
function message(...numbers: number[]): Buffer {
  const buffer = Buffer.alloc(4 * (numbers.length + 1))
  for (const [index, number] of [buffer.length, ...numbers].entries()) buffer.writeInt32BE(number, index * 4)
  return buffer
}
