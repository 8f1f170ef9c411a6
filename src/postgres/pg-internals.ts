import pg from 'pg'
import type { Host } from './connection-target.ts'

/*
 * A client of node-postgres connects once, to one host. To try several hosts, a client has to begin anew, which only its
 * private fields allow. All use of them is in this file, and `test/postgres/bounded-client.test.ts` fails when they change.
 */

/** Settings of a connection that node-postgres keeps with the client. */
export interface Attempt {
  readonly host: Required<Host>
  /** Undefined: as the client was made. */
  readonly ssl: pg.ClientConfig['ssl'] | undefined
  readonly options: string | undefined
  /** Makes the socket, where a host application brings its own. */
  readonly stream: pg.ClientConfig['stream'] | undefined
}

/** Prepares a client for a first or a further attempt to connect, and discards what the attempt before has left. */
export function beginAnew(client: pg.Client, { host, ssl, options, stream }: Attempt): void {
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

/** After this silence the kernel asks ten times, once a second, whether the other side is there. */
const KEEP_ALIVE_DELAY_MS = 10_000

/** Closes the connection of a client at once; nothing of it reaches the client any more. */
function discard({ connection }: pg.Client): void {
  connection.removeAllListeners()
  connection.on('error', () => undefined)
  connection.stream.destroy()
}

/** How long the server has to close a connection that the client has said goodbye on. */
const GOODBYE_MS = 1_000

/** Says goodbye to the server. A connection that is lost would never learn that it is closed, so it has a second for it. */
export function hangUp({ connection }: pg.Client): void {
  const timer = setTimeout(() => connection.stream.destroy(), GOODBYE_MS)
  connection.once('end', () => clearTimeout(timer))
  connection.end()
}

/** Whether the client waits for an answer of the server. */
export function isWaiting(client: pg.Client): boolean {
  return Reflect.get(client, 'readyForQuery') !== true
}

/** Waits until the client has its answer, at most for so long; tells whether it has. */
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

/** What the server knows a session by, to cancel its statement; undefined before the login. */
export function cancelKeyOf(client: pg.Client): { readonly pid: number; readonly secret: number } | undefined {
  const pid: unknown = Reflect.get(client, 'processID')
  const secret: unknown = Reflect.get(client, 'secretKey')
  return typeof pid === 'number' && typeof secret === 'number' ? { pid, secret } : undefined
}
