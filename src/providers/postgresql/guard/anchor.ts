import type { QueryResultRow } from 'pg'
import type { BoundedClient } from '../../../postgres/index.ts'
import { connect } from '../connecting.ts'
import type { AdminServer } from '../server.ts'
import type { Query } from '../statement.ts'

const CONNECT_MS = 5_000
/**
 * How long a transaction waits for its locks. The first one keeps its place in the queue, because without the locks there is
 * nothing else to do. Its successor gives up soon, because the guard looks at nothing while it waits.
 */
const FIRST_LOCK_TIMEOUT = '5s'
const NEXT_LOCK_TIMEOUT = '200ms'

/** PostgreSQL reads these catalogs to parse a statement after it has emptied the caches of the session. */
const CATALOGS = [
  'pg_aggregate',
  'pg_am',
  'pg_amop',
  'pg_amproc',
  'pg_attribute',
  'pg_cast',
  'pg_class',
  'pg_collation',
  'pg_index',
  'pg_namespace',
  'pg_opclass',
  'pg_operator',
  'pg_opfamily',
  'pg_proc',
  'pg_type'
]
const LOCK_CATALOGS = CATALOGS.map((name) => `(SELECT 1 FROM ${name} LIMIT 0)`).join(' UNION ALL ')

/** An open transaction that holds the locks. */
interface Held {
  readonly client: BoundedClient
  readonly query: Query
}

/**
 * A transaction that stays open between statements and keeps the locks of the first look. Statements on shared catalogs need
 * entries in the shared lock table, so once a tenant has filled it, or waits for a catalog in a mode that keeps everybody
 * else waiting, a session that does not have these locks already cannot even find out which sessions are tenants'. A
 * transaction that is idle at READ COMMITTED holds no snapshot, so it does not hold up VACUUM.
 *
 * Two connections take turns, because a transaction that ended before its successor has the locks would let a tenant in
 * between: `pg_locks` shows every tenant when that happens.
 */
export class Anchor {
  readonly #server: AdminServer
  /** All that are open. */
  readonly #clients = new Set<BoundedClient>()
  #held: Held | undefined
  /** The connection of the next transaction. */
  #spare: BoundedClient | undefined
  #connecting: Promise<void> | undefined
  #closed = false

  constructor(server: AdminServer) {
    this.#server = server
  }

  /** Runs a statement in the open transaction. A statement that fails leaves the transaction and its locks as they were. */
  readonly query: Query = async <Row extends QueryResultRow>(sql: string, values?: readonly unknown[]) => {
    const { client, query } = await this.#begun()
    try {
      await query('SAVEPOINT statement')
      const rows = await query<Row>(sql, values)
      await query('RELEASE SAVEPOINT statement')
      return rows
    } catch (error) {
      // If the transaction cannot be saved, such as on a lost connection, the next statement begins on a new one.
      await query('ROLLBACK TO SAVEPOINT statement').catch(() => this.#drop(client))
      throw error
    }
  }

  /**
   * Begins another transaction, and ends the old one once the new one has all locks. Otherwise the old one stays.
   * @returns whether there is a new one
   */
  async renew(): Promise<boolean> {
    const [old, spare] = [this.#held, this.#spare]
    if (old === undefined) return false
    if (spare === undefined) {
      this.#connectSpare()
      return false
    }
    this.#spare = undefined
    try {
      this.#held = await this.#begin(spare, NEXT_LOCK_TIMEOUT)
    } catch {
      return false
    }
    await this.#retire(old)
    return true
  }

  /** Ends the transaction, so that sessions that wait for one of its locks get it. The next statement begins another one. */
  async giveWay(): Promise<void> {
    const old = this.#held
    this.#held = undefined
    if (old !== undefined) await this.#retire(old)
  }

  /** Ends a statement that runs. Later ones are rejected. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#clients].map((client) => this.#drop(client)))
    await this.#connecting
  }

  async #begun(): Promise<Held> {
    if (this.#closed) throw new Error('The guard has stopped.')
    if (this.#held !== undefined) return this.#held
    const client = this.#spare ?? (await this.#connected())
    this.#spare = undefined
    const held = await this.#begin(client, FIRST_LOCK_TIMEOUT)
    this.#held = held
    return held
  }

  /** A connection on which that fails becomes the spare one again. */
  async #begin(client: BoundedClient, lockTimeout: string): Promise<Held> {
    // Not through the `Statements` of the server: the metrics of operations would drown in a look each second.
    const query: Query = async <Row extends QueryResultRow>(sql: string, values?: readonly unknown[]) => {
      const running = values === undefined ? client.query<Row>(sql) : client.query<Row>(sql, [...values])
      return (await running).rows
    }
    try {
      await query('BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY')
      const [settings] = await query<{ timeout: string }>(
        `SELECT current_setting('lock_timeout') AS timeout, set_config('lock_timeout', '${lockTimeout}', true)`
      )
      // What caches of roles and databases are filled from: planning locks the catalogs and all of their indexes.
      await query('SELECT FROM pg_roles, pg_auth_members, pg_database LIMIT 0')
      await query(LOCK_CATALOGS)
      // A round may take longer than the timeout of other side connections. Only PostgreSQL 17 and later have the second.
      await query(
        `SELECT set_config(name, CASE name WHEN 'lock_timeout' THEN $1 WHEN 'transaction_timeout' THEN '0' ELSE '60s' END, true)
         FROM pg_settings WHERE name IN ('lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')`,
        [settings?.timeout ?? '0']
      )
      return { client, query }
    } catch (error) {
      await this.#retire({ client, query }, 'ROLLBACK')
      throw error
    }
  }

  /** Ends a transaction, and keeps its connection for a later one. */
  async #retire({ client, query }: Held, how: 'COMMIT' | 'ROLLBACK' = 'COMMIT'): Promise<void> {
    try {
      await query(how)
      if (this.#clients.has(client)) this.#spare = client
    } catch {
      await this.#drop(client)
    }
  }

  /** Beside the rounds of the guard, because a login may hang while a tenant attacks. */
  #connectSpare(): void {
    this.#connecting ??= this.#connected()
      .then(
        (client) => {
          if (this.#clients.has(client)) this.#spare = client
        },
        // The next renewal tries again.
        () => undefined
      )
      .finally(() => {
        this.#connecting = undefined
      })
  }

  async #connected(): Promise<BoundedClient> {
    const client = await connect(AbortSignal.timeout(CONNECT_MS), this.#server.sideSettings())
    if (this.#closed) {
      await client.end()
      throw new Error('The guard has stopped.')
    }
    // An idle connection does not keep the process alive.
    client.unref()
    this.#clients.add(client)
    client.once('end', () => this.#forget(client))
    return client
  }

  #forget(client: BoundedClient): void {
    this.#clients.delete(client)
    if (this.#held?.client === client) this.#held = undefined
    if (this.#spare === client) this.#spare = undefined
  }

  async #drop(client: BoundedClient): Promise<void> {
    this.#forget(client)
    await client.end().catch(() => undefined)
  }
}
