import type { QueryResultRow } from 'pg'
import type { BoundedClient } from '../../../postgres/index.ts'
import { connect } from '../connecting.ts'
import type { AdminServer } from '../server.ts'
import type { Query } from '../statement.ts'

const CONNECT_MS = 5_000

/**
 * A connection whose transaction stays open between statements and keeps the locks of the first look. Statements on
 * shared catalogs need entries in the shared lock table, so once a tenant has filled it, a session that does not have
 * these entries already cannot even find out which sessions are tenants'. A transaction that is idle at READ COMMITTED
 * holds no snapshot, so it does not hold up VACUUM.
 */
export class Anchor {
  readonly #server: AdminServer
  #held: Held | undefined

  constructor(server: AdminServer) {
    this.#server = server
  }

  /** Runs a statement in the open transaction. A statement that fails leaves the transaction and its locks as they were. */
  readonly query: Query = async <Row extends QueryResultRow>(sql: string, values?: readonly unknown[]) => {
    const query = await this.#begun()
    try {
      await query('SAVEPOINT statement')
      const rows = await query<Row>(sql, values)
      await query('RELEASE SAVEPOINT statement')
      return rows
    } catch (error) {
      await this.#rollBack(query)
      throw error
    }
  }

  /**
   * Begins another transaction, on another connection, and then ends the old one. A tenant can see in `pg_locks` when the locks
   * are gone, and would fill the lock table in that moment. The old transaction stays if the new one fails.
   */
  async renew(): Promise<void> {
    const next = await this.#open()
    const old = this.#held
    this.#held = next
    await old?.client.end()
  }

  /** Ends the transaction for sessions that wait for a lock of it, and at once begins another one behind them. */
  async makeWay(): Promise<void> {
    if (this.#held === undefined) return
    const { client, query } = this.#held
    await query('COMMIT')
    try {
      await begin(query)
    } catch (error) {
      this.#held = undefined
      await client.end()
      throw error
    }
  }

  async close(): Promise<void> {
    const held = this.#held
    this.#held = undefined
    await held?.client.end()
  }

  async #begun(): Promise<Query> {
    this.#held ??= await this.#open()
    return this.#held.query
  }

  async #open(): Promise<Held> {
    const client = await connect(AbortSignal.timeout(CONNECT_MS), this.#server.sideSettings())
    // An idle connection does not keep the process alive.
    client.unref()
    client.once('end', () => {
      if (this.#held?.client === client) this.#held = undefined
    })
    // Not through the `Statements` of the server: the metrics of operations would drown in a look each second.
    const query: Query = async <Row extends QueryResultRow>(sql: string, values?: readonly unknown[]) => {
      const running = values === undefined ? client.query<Row>(sql) : client.query<Row>(sql, [...values])
      return (await running).rows
    }
    try {
      await begin(query)
    } catch (error) {
      await client.end()
      throw error
    }
    return { client, query }
  }

  /** If the transaction cannot be saved, such as on a lost connection, the next statement begins on a new one. */
  async #rollBack(query: Query): Promise<void> {
    try {
      await query('ROLLBACK TO SAVEPOINT statement')
    } catch {
      await this.close().catch(() => undefined)
    }
  }
}

/** A connection with an open transaction. */
interface Held {
  readonly client: BoundedClient
  readonly query: Query
}

async function begin(query: Query): Promise<void> {
  await query('BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY')
  // What caches of roles and databases are filled from: planning locks the catalogs and all of their indexes.
  await query('SELECT FROM pg_roles, pg_auth_members, pg_database LIMIT 0')
  // A round may take longer than the timeout of other side connections. Only PostgreSQL 17 and later have the second.
  await query(
    `SELECT set_config(name, CASE name WHEN 'transaction_timeout' THEN '0' ELSE '60s' END, true) FROM pg_settings
     WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')`
  )
}
