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
  #client: BoundedClient | undefined
  #query: Query | undefined

  constructor(server: AdminServer) {
    this.#server = server
  }

  /** Runs a statement in the open transaction. A statement that fails leaves the transaction and its locks as they were. */
  readonly query: Query = async <Row extends QueryResultRow>(sql: string, values?: readonly unknown[]) => {
    const query = await this.#opened()
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
   * Replaces the transaction by a new one on another connection. The old one ends after the new one has its locks, because a
   * tenant that filled the lock table in between would lock the guard out.
   * @param takeLocks runs the statements whose locks the new transaction has to keep. If it fails, the old one stays
   */
  async renew(takeLocks: (query: Query) => Promise<unknown>): Promise<void> {
    const client = await this.#connected()
    try {
      const query = await begin(client)
      await takeLocks(query)
      const old = this.#client
      this.#use(client, query)
      await old?.end()
    } catch (error) {
      if (this.#client !== client) await client.end().catch(() => undefined)
      throw error
    }
  }

  /** Ends the transaction, so that sessions that wait for one of its locks get it, and begins another after them. */
  async makeWay(takeLocks: (query: Query) => Promise<unknown>): Promise<void> {
    await this.#query?.('COMMIT')
    this.#query = undefined
    await takeLocks(this.query)
  }

  async close(): Promise<void> {
    const client = this.#client
    this.#client = undefined
    this.#query = undefined
    await client?.end()
  }

  async #opened(): Promise<Query> {
    if (this.#query !== undefined) return this.#query
    const client = this.#client ?? (await this.#connected())
    this.#client = client
    try {
      const query = await begin(client)
      this.#use(client, query)
      return query
    } catch (error) {
      // A transaction that has failed to begin would reject every further statement. The connection is worth keeping,
      // because a server with a full lock table accepts no other.
      await client.query('ROLLBACK').catch(() => this.close().catch(() => undefined))
      throw error
    }
  }

  #use(client: BoundedClient, query: Query): void {
    this.#client = client
    this.#query = query
  }

  async #connected(): Promise<BoundedClient> {
    const client = await connect(AbortSignal.timeout(CONNECT_MS), this.#server.sideSettings())
    // An idle connection does not keep the process alive.
    client.unref()
    client.once('end', () => {
      if (this.#client !== client) return
      this.#client = undefined
      this.#query = undefined
    })
    return client
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

async function begin(client: BoundedClient): Promise<Query> {
  // Not through the `Statements` of the server: the metrics of operations would drown in a look each second.
  const query: Query = async <Row extends QueryResultRow>(sql: string, values?: readonly unknown[]) => {
    const running = values === undefined ? client.query<Row>(sql) : client.query<Row>(sql, [...values])
    return (await running).rows
  }
  await query('BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY')
  // What caches of roles and databases are filled from: planning locks the catalogs and all of their indexes.
  await query('SELECT FROM pg_roles, pg_auth_members, pg_database LIMIT 0')
  // A round may take longer than the timeout of other side connections. Only PostgreSQL 17 and later have the second.
  await query(
    `SELECT set_config(name, CASE name WHEN 'transaction_timeout' THEN '0' ELSE '60s' END, true) FROM pg_settings
     WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')`
  )
  return query
}
