import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { type Node, startReplication } from '../helper/replication.ts'
import { removeServer, STATE_DATABASE, startServer } from './scene.ts'

/** How long the standby has at most to catch up before a failover, and a rebuilt one afterwards. */
const CAUGHT_UP_MS = 60_000

/** The servers of the broker's state and of the tenants' databases: one for both, or a primary and its standby. */
export interface Servers {
  /** In the order of the hosts of `DATABASE_URL`. */
  readonly ports: readonly number[]
  /** Port of the server that takes writes. */
  readonly primaryPort: number
  /** URL of the superuser for a database of the server that takes writes. */
  urlOf(database: string): string
  /** Ends all processes of the server; its supervisor starts it again. */
  end(signal: 'SIGQUIT' | 'SIGINT'): Promise<void>
  /** Kills the primary, promotes the standby after `pauseMs`, and calls `promoted`; then makes a new standby. */
  failOver?(pauseMs: number, promoted: () => void): Promise<void>
  close(options: { keep: boolean }): Promise<void>
}

export async function startSingle(folder: string): Promise<Servers> {
  const postgres = await startServer(folder)
  return {
    ports: [postgres.port],
    primaryPort: postgres.port,
    urlOf: (database) => postgres.urlOf(database),
    end: async (signal) => {
      process.kill(postgres.pid, signal)
    },
    close: ({ keep }) => removeServer(postgres, folder, keep)
  }
}

export async function startReplicated(): Promise<Servers> {
  const replication = await startReplication({ settings: { max_connections: '300' } })
  await replication.primary.sql(`CREATE DATABASE ${STATE_DATABASE} TEMPLATE template0`)
  const ports = [replication.primary.port, replication.standby.port]
  return {
    ports,
    get primaryPort() {
      return replication.primary.port
    },
    urlOf: (database) => replication.primary.urlOf(database),
    end: async (signal) => {
      process.kill(await pidOf(replication.primary), signal)
    },
    failOver: async (pauseMs, promoted) => {
      await caughtUp(replication.primary.urlOf('postgres'))
      await replication.killPrimary()
      await sleep(pauseMs)
      await replication.promote()
      promoted()
      await replication.rebuild()
    },
    close: () => replication.close()
  }
}

/** Waits until the server answers: it may still be coming back from the last fault. */
async function pidOf(server: Node): Promise<number> {
  for (const end = Date.now() + CAUGHT_UP_MS; ; await sleep(200)) {
    try {
      const [row] = await server.sql(`SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int AS pid`)
      return Number(row?.pid)
    } catch (error) {
      if (Date.now() > end) throw error
    }
  }
}

/**
 * Waits until the standby has all that the primary shows. A primary that was just restarted shows commits whose answers
 * still waited for the standby.
 */
async function caughtUp(primaryUrl: string): Promise<void> {
  let shown: string | undefined
  for (const end = Date.now() + CAUGHT_UP_MS; ; await sleep(100)) {
    const row = await lag(primaryUrl, shown).catch(() => undefined)
    if (row?.reached === true) return
    shown ??= row?.lsn
    if (Date.now() > end) throw new Error(`the standby has not caught up within ${CAUGHT_UP_MS} ms`)
  }
}

async function lag(primaryUrl: string, shown: string | undefined) {
  const client = new Client({ connectionString: primaryUrl, connectionTimeoutMillis: 5_000 })
  client.on('error', () => undefined)
  await client.connect()
  try {
    const { rows } = await client.query<{ lsn: string; reached: boolean }>(
      `SELECT pg_current_wal_flush_lsn()::text AS lsn,
        coalesce(bool_or(flush_lsn >= $1::pg_lsn AND sync_state = 'sync'), false) AS reached
      FROM pg_stat_replication`,
      [shown ?? null]
    )
    return rows[0]
  } finally {
    await client.end()
  }
}
