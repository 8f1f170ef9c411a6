import { Client, Pool, type PoolClient } from 'pg'
import { AdminUrl } from './admin-url.ts'
import { bootstrap, type ServerFacts } from './bootstrap.ts'
import type { PostgresqlProviderOptions } from './options.ts'
import { Session, unlessAborted, type Work } from './session.ts'

/**
 * Startup options beat ALTER DATABASE and ALTER ROLE SET, so nothing a tenant can reach changes what our statements
 * mean: were `public` in the path, a tenant's own `lower(name)` would run as the admin.
 */
const ADMIN_SETTINGS = [
  'search_path=pg_catalog,pg_temp',
  'role=none',
  'default_transaction_read_only=off',
  'lock_timeout=5s',
  'statement_timeout=60s',
  'idle_in_transaction_session_timeout=60s'
]
  .map((setting) => `-c ${setting}`)
  .join(' ')

/** Of connections that no task holds. */
const IDLE_NAME = 'osb'
const CONNECT_TIMEOUT_MS = 5000
/** Enough for the tasks of one process; the rest of the server's slots are the tenants'. */
const MAX_MAINTENANCE_CONNECTIONS = 8

/** The server that tenants' databases are made on: the admin's connections, opened when they are needed. */
export class AdminServer {
  readonly #options: PostgresqlProviderOptions
  #pool: Pool | undefined
  #facts: Promise<ServerFacts> | undefined

  constructor(options: PostgresqlProviderOptions) {
    this.#options = options
  }

  /** @throws when the URL is not known yet, or is none */
  get url(): AdminUrl {
    const { adminUrl, caFile } = this.#options
    return new AdminUrl(typeof adminUrl === 'string' ? adminUrl : adminUrl(), caFile)
  }

  /**
   * Prepares the server once; after a failure the next call tries again.
   * @throws {ServerUnfit} when it is too old or the admin's rights do not suffice
   */
  async ready(): Promise<ServerFacts> {
    this.#facts ??= bootstrap(this.#openPool(), this.#options.stateDatabase)
    const facts = this.#facts
    try {
      return await facts
    } catch (error) {
      if (this.#facts === facts) this.#facts = undefined
      throw error
    }
  }

  /** @throws when the server does not answer */
  async ping(): Promise<void> {
    await this.#openPool().query('SELECT 1')
  }

  /** Names of the databases and roles that instances and bindings have on the server. */
  async listNames(): Promise<string[]> {
    const { rows } = await this.#openPool().query<{ name: string }>(
      `SELECT 'database ' || datname AS name FROM pg_catalog.pg_database WHERE datname ~ '^osb_d_[a-z2-7]{20}$'
      UNION ALL
      SELECT 'role ' || rolname FROM pg_catalog.pg_roles
      WHERE rolname ~ '^osb_([or]_[a-z2-7]{20}|b_[a-z2-7]{20}_[a-z2-7]{10})$'`
    )
    return rows.map(({ name }) => name)
  }

  /** A session in the maintenance database. */
  async openMaintenance(work: Work): Promise<Session> {
    work.signal.throwIfAborted()
    const client = await checkOut(this.#openPool(), work.signal)
    return new Session(work, client, async (broken, pid) => {
      if (!broken && (await renamed(client))) return client.release()
      client.release(true)
      if (work.signal.aborted) await this.#terminate(work, pid)
    }).open()
  }

  /** A session in another database, on a connection of its own. */
  async openDatabase(work: Work, database: string): Promise<Session> {
    const client = await connect(work.signal, {
      connectionString: this.url.toDatabase(database),
      options: ADMIN_SETTINGS,
      application_name: work.applicationName
    })
    return new Session(work, client, async (_broken, pid) => {
      await client.end()
      if (work.signal.aborted) await this.#terminate(work, pid)
    }).open()
  }

  /** Who one is with these credentials; proves that they work. */
  async logIn(signal: AbortSignal, login: { database: string; username: string; password: string }): Promise<string> {
    const client = await connect(signal, { connectionString: this.url.toLogin(login), application_name: IDLE_NAME })
    try {
      const { rows } = await unlessAborted(client.query<{ name: string }>('SELECT current_user AS name'), signal)
      return rows[0]?.name ?? ''
    } finally {
      await client.end()
    }
  }

  /** Closes every connection. */
  async close(): Promise<void> {
    const pool = this.#pool
    this.#pool = undefined
    this.#facts = undefined
    await pool?.end()
  }

  #openPool(): Pool {
    if (this.#pool !== undefined) return this.#pool
    const pool = new Pool({
      connectionString: this.url.toString(),
      options: ADMIN_SETTINGS,
      application_name: IDLE_NAME,
      max: MAX_MAINTENANCE_CONNECTIONS,
      // One stays open, so that tenants who fill the server do not shut the broker out
      min: 1,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      allowExitOnIdle: true
    })
    // The pool has already dropped the connection; without a listener its loss would end the process
    pool.on('error', () => undefined)
    pool.on('connect', (client) => client.on('error', () => undefined))
    this.#pool = pool
    return pool
  }

  /** Ends a statement that goes on after its task has hung up: the server notices that only when it answers. */
  async #terminate(work: Work, pid: number | undefined): Promise<void> {
    if (pid === undefined) return
    try {
      await this.#openPool().query(
        `SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
         WHERE pid = $1 AND application_name = $2 AND usename = current_user`,
        [pid, work.applicationName]
      )
    } catch (cause) {
      work.log.warn({ reason: String(cause) }, 'A halted session was left to the next attempt to end.')
    }
  }
}

async function checkOut(pool: Pool, signal: AbortSignal): Promise<PoolClient> {
  const connecting = pool.connect()
  try {
    return await unlessAborted(connecting, signal)
  } catch (error) {
    // Nobody waits any more for what the pool may still hand out
    connecting.then((client) => client.release(true)).catch(() => undefined)
    throw error
  }
}

async function connect(signal: AbortSignal, config: ConstructorParameters<typeof Client>[0] & object): Promise<Client> {
  signal.throwIfAborted()
  const client = new Client({ ...config, connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  // A loss between two statements shows in the next one; unheard it would end the process
  client.on('error', () => undefined)
  const connecting = client.connect()
  try {
    await unlessAborted(connecting, signal)
    return client
  } catch (error) {
    connecting.then(() => client.end()).catch(() => undefined)
    throw error
  }
}

/** Takes the task's name off a connection, so that nobody ends it for that task later. */
async function renamed(client: PoolClient): Promise<boolean> {
  try {
    await client.query(`SELECT set_config('application_name', $1, false)`, [IDLE_NAME])
    return true
  } catch {
    return false
  }
}
