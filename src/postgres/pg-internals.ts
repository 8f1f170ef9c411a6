import pg from 'pg'
import type { Host } from './connection-target.ts'

/*
 * A client of node-postgres connects once, to one host. To try several hosts, its private fields have to be reset. This file
 * contains all use of them, and `test/postgres/bounded-client.test.ts` fails when they change.
 */

/** Settings of one attempt to connect. */
export interface Attempt {
  readonly host: Required<Host>
  /** Default: as in the configuration of the client. */
  readonly ssl: pg.ClientConfig['ssl'] | undefined
  readonly options: string | undefined
  /** Creates the socket, if the host application provides its own. */
  readonly stream: pg.ClientConfig['stream'] | undefined
}

/** Resets a client for another attempt to connect, and discards the connection of the previous attempt. */
export function prepareAttempt(client: pg.Client, { host, ssl, options, stream }: Attempt): void {
  const parameters: { sslnegotiation?: 'postgres' | 'direct' } = Reflect.get(client, 'connectionParameters')
  const used = ssl ?? client.ssl
  discard(client)
  Object.assign(parameters, { options, ssl: used })
  Object.assign(client, {
    host: host.host,
    port: host.port,
    ssl: used,
    connection: new pg.Connection({
      ...(used === undefined ? {} : { ssl: used }),
      ...(parameters.sslnegotiation === 'direct' ? { sslNegotiation: 'direct' } : {}),
      ...(stream === undefined ? { keepAlive: true, keepAliveInitialDelayMillis: KEEP_ALIVE_DELAY_MS } : { stream })
    }),
    processID: null,
    secretKey: null,
    readyForQuery: false,
    _activeQuery: null,
    _queryQueue: [],
    _sentQueryQueue: [],
    _connecting: false,
    _connected: false,
    _connectionError: false,
    _queryable: true,
    _ended: false
  })
}

/** The kernel sends keep-alive probes after this silence: ten, one each second. */
const KEEP_ALIVE_DELAY_MS = 10_000

/** Closes the connection of a client at once, without an event on the client. */
function discard({ connection }: pg.Client): void {
  connection.removeAllListeners()
  connection.on('error', () => undefined)
  connection.stream.destroy()
}

/** How long the server may take to confirm that a connection is closed. */
const CLOSE_MS = 1_000

/** Ends a session. The server never confirms the end of a lost connection, so the socket is destroyed after a second. */
export function closeConnection({ connection }: pg.Client): void {
  const timer = setTimeout(() => connection.stream.destroy(), CLOSE_MS)
  connection.once('end', () => clearTimeout(timer))
  connection.end()
}

/** Whether the client waits for an answer of the server. */
export function isWaiting(client: pg.Client): boolean {
  return Reflect.get(client, 'readyForQuery') !== true
}

/** Waits for the answer that the client waits for. Returns whether it arrived in time. */
export async function answered(client: pg.Client, withinMs: number): Promise<boolean> {
  if (!isWaiting(client)) return true
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, withinMs)
  const settle = () => resolve()
  client.connection.once('readyForQuery', settle).once('end', settle)
  await promise
  clearTimeout(timer)
  client.connection.off('readyForQuery', settle).off('end', settle)
  return !isWaiting(client)
}

/** Identifies a session in a cancel request; undefined before the login. */
export function cancelKeyOf(client: pg.Client): { readonly pid: number; readonly secret: number } | undefined {
  const pid: unknown = Reflect.get(client, 'processID')
  const secret: unknown = Reflect.get(client, 'secretKey')
  return typeof pid === 'number' && typeof secret === 'number' ? { pid, secret } : undefined
}
