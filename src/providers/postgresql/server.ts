import { Client, Pool, type PoolClient, type QueryResultRow } from 'pg'
import { observePool } from '../../telemetry/index.ts'
import { AdminUrl } from './admin-url.ts'
import { bootstrap, type ServerFacts } from './bootstrap.ts'
import { codeOf } from './faults.ts'
import { NAME_PATTERNS } from './names.ts'
import { DEFAULT_SERVER, type PostgresqlServer } from './options.ts'
import { Session, unlessAborted, type Work } from './session.ts'
import { type Query, Statements } from './statement.ts'

/**
 * Startup options beat ALTER DATABASE and ALTER ROLE SET, so nothing a tenant can reach changes what our statements
 * mean: were `public` in the path, a tenant's own `lower(name)` would run as the admin.
 */
const MEANING = ['search_path=pg_catalog,pg_temp', 'default_transaction_read_only=off']
const LIMITS = ['lock_timeout=5s', 'statement_timeout=60s', 'idle_in_transaction_session_timeout=60s']

/** A row of pg_stat_activity is a session of the admin, or of another login that acts as the same group. */
export const OF_ADMIN = `pg_has_role(usesysid, current_user, 'MEMBER')`

/** Of connections that no task holds. */
const IDLE_NAME = 'osb'
const CONNECT_TIMEOUT_MS = 5000
/** Enough for the tasks of one process; the rest of the server's slots are the tenants'. */
const MAX_MAINTENANCE_CONNECTIONS = 8

/** A server that tenants' databases are made on: the admin's connections, opened when they are needed. */
export class AdminServer {
  readonly name: string
  readonly options: PostgresqlServer
  readonly #statements: Statements
  #pool: Pool | undefined
  #stopObserving: (() => void) | undefined
  #facts: Promise<ServerFacts> | undefined

  constructor(options: PostgresqlServer, name = DEFAULT_SERVER) {
    this.name = name
    this.options = options
    this.#statements = new Statements(name)
  }

  /** Startup options that make a session the admin's, as libpq takes them (`PGOPTIONS`). */
  get startupOptions(): string {
    return asOptions([...MEANING, `role=${this.options.adminRole ?? 'none'}`])
  }

  /** @throws when the URL is not known yet, or is none */
  get url(): AdminUrl {
    const { adminUrl, caFile } = this.options
    return new AdminUrl(typeof adminUrl === 'string' ? adminUrl : adminUrl(), caFile)
  }

  /**
   * Prepares the server once; after a failure the next call tries again.
   * @throws {ServerUnfit} when it is too old or the admin's rights do not suffice
   */
  async ready(): Promise<ServerFacts> {
    this.#facts ??= bootstrap(this.#query, this.options.stateDatabase)
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
    await this.#query('SELECT 1')
  }

  /** Rows of a query that belongs to no task. */
  async read<Row extends QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<Row[]> {
    return this.#query<Row>(sql, values)
  }

  /** How many databases of instances there are. */
  async countDatabases(): Promise<number> {
    const [row] = await this.read<{ count: number }>(
      'SELECT count(*)::int AS count FROM pg_database WHERE datname ~ $1',
      [NAME_PATTERNS.database]
    )
    return row?.count ?? 0
  }

  /** A session in the maintenance database. */
  async openMaintenance(work: Work): Promise<Session> {
    work.signal.throwIfAborted()
    const client = await checkOut(this.#openPool(), work.signal)
    const query = this.#statements.on(client)
    return new Session(work, query, async (broken, pid) => {
      if (!broken && (await renamed(query))) return client.release()
      client.release(true)
      if (work.signal.aborted) await this.#terminate(work, pid)
    }).open()
  }

  /** A session in another database, on a connection of its own. */
  async openDatabase(work: Work, database: string): Promise<Session> {
    const client = await connect(work.signal, {
      connectionString: this.url.toDatabase(database),
      options: `${this.startupOptions} ${asOptions(LIMITS)}`,
      application_name: work.applicationName
    })
    return new Session(work, this.#statements.on(client), async (_broken, pid) => {
      await client.end()
      if (work.signal.aborted) await this.#terminate(work, pid)
    }).open()
  }

  /** Who one is with these credentials; proves that they work. */
  async logIn(signal: AbortSignal, login: { database: string; username: string; password: string }): Promise<string> {
    const client = await connect(signal, { connectionString: this.url.toLogin(login), application_name: IDLE_NAME })
    try {
      const query = this.#statements.on(client)
      const [row] = await unlessAborted(query<{ name: string }>('SELECT current_user AS name'), signal)
      return row?.name ?? ''
    } finally {
      await client.end()
    }
  }

  /**
   * The salt that the server tells to whoever is about to log in, who then hangs up: a password that is refused would be in
   * the server's log. Undefined where it lets in without a password; `''` where the login has none, or an older kind.
   */
  async saltOf(signal: AbortSignal, login: { database: string; username: string }): Promise<string | undefined> {
    const connectionString = this.url.toLogin({ ...login, password: 'not sent' })
    const client = newClient({ connectionString, application_name: IDLE_NAME })
    let salt: string | undefined
    client.connection.once('authenticationSASLContinue', ({ data }: { data: string }) => {
      salt = /(?:^|,)s=([^,]+)/.exec(data)?.[1]
      client.connection.stream.destroy()
    })
    try {
      await unlessAborted(client.connect(), signal)
    } catch (error) {
      if (salt !== undefined) return salt
      if (codeOf(error) === '28P01') return ''
      throw error
    } finally {
      client.end().catch(() => undefined)
    }
    return undefined
  }

  /** Closes every connection. */
  async close(): Promise<void> {
    const pool = this.#pool
    this.#pool = undefined
    this.#stopObserving?.()
    this.#facts = undefined
    await pool?.end()
  }

  #openPool(): Pool {
    if (this.#pool !== undefined) return this.#pool
    const pool = new Pool({
      connectionString: this.url.toString(),
      options: `${this.startupOptions} ${asOptions(LIMITS)}`,
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
    this.#stopObserving = observePool(`postgresql/${this.name}`, pool)
    return pool
  }

  /** Runs a statement on a connection of the pool. */
  get #query(): Query {
    return this.#statements.on(this.#openPool())
  }

  /** Ends a statement that goes on after its task has hung up: the server notices that only when it answers. */
  async #terminate(work: Work, pid: number | undefined): Promise<void> {
    if (pid === undefined) return
    try {
      await this.#query(
        `SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
         WHERE pid = $1 AND application_name = $2 AND ${OF_ADMIN}`,
        [pid, work.applicationName]
      )
    } catch (cause) {
      work.log.warn({ reason: String(cause) }, 'A halted session was left to the next attempt to end.')
    }
  }
}

function asOptions(settings: readonly string[]): string {
  return settings.map((setting) => `-c ${setting.replaceAll(/[\\ ]/g, '\\$&')}`).join(' ')
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
  const client = newClient(config)
  const connecting = client.connect()
  try {
    await unlessAborted(connecting, signal)
    return client
  } catch (error) {
    connecting.then(() => client.end()).catch(() => undefined)
    throw error
  }
}

function newClient(config: ConstructorParameters<typeof Client>[0] & object): Client {
  const client = new Client({ ...config, connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  // A loss between two statements shows in the next one; unheard it would end the process
  client.on('error', () => undefined)
  return client
}

/** Takes the task's name and locks off a connection, so that nobody ends it for that task, or waits for it, later. */
async function renamed(query: Query): Promise<boolean> {
  try {
    await query(`SELECT set_config('application_name', $1, false), pg_advisory_unlock_all()`, [IDLE_NAME])
    return true
  } catch {
    return false
  }
}
