import pg from 'pg'
import { cancelKeyOf, closeConnection } from './pg-internals.ts'

/** Timeout of the second connection, and of each statement on it. */
const CHECK_MS = 2_500
/** An answer takes no longer than this from the server to the client. */
const IDLE_FOR = '2 seconds'

export interface ConnectionCheck {
  /** The database to connect to; default: that of the connection. */
  readonly database?: string | undefined
  /** Called when the connection is lost. Returns the backends of further connections that are given up with it. */
  readonly onLost: () => number[]
}

/**
 * Checks over a second connection whether the server still works on the statement that a client waits for. If its backend has
 * been idle for a while, or is gone, then the network has lost the answer, for example because a firewall dropped the connection
 * without telling either side. The function then terminates the backend, and those that `onLost` returns.
 *
 * @returns `lost` only when that is certain
 */
export async function checkConnection(
  client: pg.Client,
  { database, onLost }: ConnectionCheck
): Promise<'lost' | 'unknown'> {
  const key = cancelKeyOf(client)
  if (key === undefined) return 'unknown'
  const second = new pg.Client({
    host: client.host,
    port: client.port,
    user: client.user,
    password: client.password,
    database: database ?? client.database,
    ssl: client.ssl,
    application_name: 'osb-check',
    keepAlive: true,
    connectionTimeoutMillis: CHECK_MS,
    query_timeout: CHECK_MS
  })
  second.on('error', () => undefined)
  try {
    await second.connect()
    const { rows } = await second.query<{ working: boolean }>(
      `SELECT state IS NULL OR state NOT LIKE 'idle%' OR state_change > clock_timestamp() - interval '${IDLE_FOR}' AS working
      FROM pg_stat_activity WHERE pid = $1`,
      [key.pid]
    )
    if (rows[0]?.working === true) return 'unknown'
    await second.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE pid = ANY ($1) AND usename = session_user AND state LIKE 'idle%'`,
      [[key.pid, ...onLost()]]
    )
    return 'lost'
  } catch {
    // The server cannot be asked at the moment, which says nothing about the first connection.
    return 'unknown'
  } finally {
    closeConnection(second)
  }
}
