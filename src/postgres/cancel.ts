import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type pg from 'pg'
import { cancelKeyOf } from './pg-internals.ts'

/** How long a cancel request may take. It needs no login, so that a server without a free connection takes it too. */
const CANCEL_MS = 1_000

/**
 * Asks the server to cancel the statement that a connection waits for, over a connection of its own: a server does not notice
 * that its client has given up. Says nothing of whether it worked; the caller drops the connection in any case.
 */
export async function cancelStatement(client: pg.Client): Promise<void> {
  const key = cancelKeyOf(client)
  if (key === undefined) return
  const { host, port } = client
  const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect({ host, port })
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, CANCEL_MS)
  const request = message(CANCEL_CODE, key.pid, key.secret)
  // The server closes the connection after it has passed the request on; so does a network that lets none through.
  const send = (channel: Socket) =>
    channel
      .on('error', () => resolve())
      .on('close', () => resolve())
      .end(request)
  socket.on('error', () => resolve())
  const tls: unknown = Reflect.get(client, 'ssl')
  if (!tls) send(socket)
  else {
    socket.write(message(TLS_CODE))
    socket.once('data', (answer) => {
      if (answer.toString() !== 'S') return resolve()
      send(connectTls({ host, socket, ...(typeof tls === 'object' ? tls : {}) }))
    })
  }
  await promise
  clearTimeout(timer)
  socket.destroy()
}

const CANCEL_CODE = 80_877_102
const TLS_CODE = 80_877_103

/** A message of the protocol that comes before a login: its length, then numbers. */
function message(...numbers: number[]): Buffer {
  const buffer = Buffer.alloc(4 * (numbers.length + 1))
  for (const [index, number] of [buffer.length, ...numbers].entries()) buffer.writeInt32BE(number, index * 4)
  return buffer
}
