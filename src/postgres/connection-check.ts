import pg from 'pg'
import { cancelKeyOf, hangUp } from './pg-internals.ts'

/** How long opening the second connection, and each statement on it, may take. */
const LOOK_MS = 2_500
/** A backend that has been idle for so long has answered, and the answer is not on its way any more. */
const IDLE_FOR = '2 seconds'

export interface Look {
  /** The database to look from; default: that of the connection. */
  readonly database?: string | undefined
  /** Returns backends that are given up with the dead one. */
  readonly onDead: () => number[]
}

/**
 * Looks over a second connection whether the server still works on the statement that a client waits for. When the backend has
 * been idle meanwhile, or is gone, the network has lost the answer without a word, as a firewall does that has forgotten a
 * connection: then the backend is ended, with those that `onDead` returns.
 *
 * @returns `dead` only when that is proven
 */
export async function proveDeath(client: pg.Client, { database, onDead }: Look): Promise<'dead' | 'not proven'> {
  const key = cancelKeyOf(client)
  if (key === undefined) return 'not proven'
  const looker = new pg.Client({
    host: client.host,
    port: client.port,
    user: client.user,
    password: client.password,
    database: database ?? client.database,
    ssl: client.ssl,
    application_name: 'osb-look',
    keepAlive: true,
    connectionTimeoutMillis: LOOK_MS,
    query_timeout: LOOK_MS
  })
  looker.on('error', () => undefined)
  try {
    await looker.connect()
    const { rows } = await looker.query<{ working: boolean }>(
      `SELECT state IS NULL OR state NOT LIKE 'idle%' OR state_change > clock_timestamp() - interval '${IDLE_FOR}' AS working
      FROM pg_stat_activity WHERE pid = $1`,
      [key.pid]
    )
    if (rows[0]?.working === true) return 'not proven'
    await looker.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE pid = ANY ($1) AND usename = session_user AND state LIKE 'idle%'`,
      [[key.pid, ...onDead()]]
    )
    return 'dead'
  } catch {
    // The server cannot be asked at the moment: that proves nothing of the connection.
    return 'not proven'
  } finally {
    hangUp(looker)
  }
}
