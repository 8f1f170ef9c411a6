import type { Connection, Pool, QueryResultRow } from 'pg'
import { BoundedClient, type BoundedPoolConfig, ConnectionUrlError, codeOf } from '../../postgres/index.ts'
import { AdminUrl, type Login } from './admin-url.ts'
import { endBlockers } from './blockers.ts'
import { bootstrap, type ServerFacts } from './bootstrap.ts'
import { checkOut, connect, limitAnswers, renamed } from './connecting.ts'
import { MaintenancePools } from './maintenance-pools.ts'
import { NAME_PATTERNS } from './names.ts'
import { DEFAULT_SERVER, type PostgresqlServer } from './options.ts'
import { Session, unlessAborted, type Work } from './session.ts'
import { endJam } from './sessions.ts'
import { SideConnection } from './side-connection.ts'
import { type Query, Statements } from './statement.ts'
import { unblocked } from './waiting.ts'

/**
 * Startup options beat ALTER DATABASE and ALTER ROLE SET, so nothing a tenant can reach changes what our statements
 * mean: were `public` in the path, a tenant's own `lower(name)` would run as the admin.
 */
const MEANING = ['search_path=pg_catalog,pg_temp', 'default_transaction_read_only=off']
const LIMITS = ['lock_timeout=5s', 'statement_timeout=60s', 'idle_in_transaction_session_timeout=60s']

/** A row of pg_stat_activity is a session of the admin, or of another login that acts as the same group. */
export const OF_ADMIN = `pg_has_role(usesysid, current_user, 'MEMBER')`

/** Limits of the {@link AdminServer.aside side connection}, shorter because others wait for it. */
const SIDE_LIMITS = ['lock_timeout=1s', 'statement_timeout=10s', 'idle_in_transaction_session_timeout=10s']

/** Of connections that no task holds. */
const IDLE_NAME = 'osb'
/** Of the {@link AdminServer.aside side connection}. */
const SIDE_NAME = 'osb:guard'
const CONNECT_TIMEOUT_MS = 5_000
/** Longer than `statement_timeout` in {@link LIMITS}. A lost connection is noticed long before that. */
const SILENCE_MS = 65_000
/** The same for the side connection. */
const SIDE_SILENCE_MS = 12_000
/** Timeout of a health check, including the wait for a free connection. */
const PING_MS = 5_000
/** Timeout of each answer during a trial login. */
const TRIAL_MS = 5_000
/** Enough for the tasks of one process; the rest of the server's slots are the tenants'. */
const DEFAULT_POOL_SIZE = 8
/** Settings of an {@link AdminServer}, in addition to its connection. */
export interface ServerPlace {
  /** Name in plans and messages. Default: `default`. */
  readonly name?: string
  /** The option that contains the admin's URL, for messages. Default: `postgresql.adminUrl`. */
  readonly setting?: string
  /** Maximum number of maintenance connections. Default: 8. */
  readonly poolSize?: number | undefined
}

/** A server that tenants' databases are made on: the admin's connections, opened when they are needed. */
export class AdminServer {
  readonly name: string
  readonly options: PostgresqlServer
  readonly setting: string
  /** Answers while the connections of the pool wait for locks. In the maintenance database. */
  readonly aside: SideConnection
  readonly #pools: MaintenancePools
  readonly #statements: Statements
  #url: { readonly text: string; readonly parsed: AdminUrl } | undefined
  #facts: Promise<ServerFacts> | undefined

  constructor(options: PostgresqlServer, place: ServerPlace = {}) {
    const { name = DEFAULT_SERVER, setting = 'postgresql.adminUrl', poolSize = DEFAULT_POOL_SIZE } = place
    this.name = name
    this.options = options
    this.setting = setting
    const settings = () => this.#adminSettings({ application_name: IDLE_NAME })
    this.#pools = new MaintenancePools({ name, size: poolSize, settings })
    this.#statements = new Statements(name)
    this.aside = new SideConnection(() => this.sideSettings(), this.#statements)
  }

  /** Settings of a connection outside of the pool, in the maintenance database. */
  sideSettings(): BoundedPoolConfig {
    return this.url.asAdmin({
      options: `${this.startupOptions} ${asOptions(SIDE_LIMITS)}`,
      application_name: SIDE_NAME,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      silenceMs: SIDE_SILENCE_MS
    })
  }

  /** Startup options that make a session the admin's, as libpq takes them (`PGOPTIONS`). */
  get startupOptions(): string {
    return asOptions([...MEANING, `role=${this.options.adminRole ?? 'none'}`])
  }

  /** @throws {ConnectionUrlError} when the URL cannot be used */
  get url(): AdminUrl {
    const { adminUrl, caFile, publicHost } = this.options
    const text = typeof adminUrl === 'string' ? adminUrl : adminUrl()
    if (this.#url?.text !== text) this.#url = { text, parsed: new AdminUrl(text, this.setting, caFile) }
    const { parsed } = this.#url
    if (parsed.hostCount > 1 && publicHost === undefined) {
      throw new ConnectionUrlError(
        `${this.setting} has several hosts: set publicHost to the address that applications connect to.`
      )
    }
    return parsed
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

  /** @throws when the server does not answer within a few seconds */
  async ping(): Promise<void> {
    // The checkout waits for an answer of the server
    const pinging = AbortSignal.timeout(PING_MS)
    const client = await checkOut(this.#pools.main, pinging)
    client.release()
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
    return await this.#openIn(this.#pools.main, work)
  }

  /** Whether a task would have to wait for {@link AdminServer.openMaintenance}. */
  get isBusy(): boolean {
    return this.#pools.areBusy
  }

  /** The same, on one of the connections that are kept for short work while the others are busy. */
  async openReserve(work: Work): Promise<Session> {
    return await this.#openIn(this.#pools.reserve, work)
  }

  async #openIn(pool: Pool, work: Work): Promise<Session> {
    const client = await this.#entering(checkOut(pool, work.signal), work)
    const query = this.#statements.on(client)
    const release = async (broken: boolean, pid: number | undefined) => {
      if (!broken && (await renamed(query, IDLE_NAME))) return client.release()
      client.release(true)
      if (work.signal.aborted) await this.#terminate(work, pid)
    }
    const unblock = (pid: number, waitedMs: number) => endBlockers(this, work, { pid, waitedMs })
    return new Session(work, { query, release, unblock }).open()
  }

  /** A session in another database, on a connection of its own. */
  async openDatabase(work: Work, database: string): Promise<Session> {
    const settings = this.#adminSettings({ database, application_name: work.applicationName })
    const client = await this.#entering(connect(work.signal, settings), work, database)
    const release = async (_broken: boolean, pid: number | undefined) => {
      await client.end()
      if (work.signal.aborted) await this.#terminate(work, pid)
    }
    const unblock = (pid: number, waitedMs: number) =>
      endBlockers(this, work, { pid, waitedMs, ...(work.spares === undefined ? {} : { spared: work.spares }) })
    return new Session(work, { query: this.#statements.on(client), release, unblock }).open()
  }

  /** Waits for a connection, and ends sessions of tenants that keep it from the database. */
  #entering<T>(connecting: Promise<T>, { log }: Work, database?: string): Promise<T> {
    return unblocked(connecting, { log, unblock: () => endJam(this.aside.query, database) })
  }

  /** Who one is with these credentials; proves that they work. */
  async logIn(signal: AbortSignal, login: Login): Promise<string> {
    const client = await connect(signal, this.url.asLogin(login, { ...TRIAL, onAttempt: limitAnswers }))
    try {
      const query = this.#statements.on(client)
      const [row] = await unlessAborted(query<{ name: string }>('SELECT current_user AS name'), signal)
      return row?.name ?? ''
    } finally {
      await client.end()
    }
  }

  /**
   * The salt that the server tells to a client that is about to log in, which then hangs up: a password that is refused would be in
   * the server's log. Undefined where it lets in without a password; `''` where the login has none, or an older kind.
   */
  async saltOf(signal: AbortSignal, login: Omit<Login, 'password'>): Promise<string | undefined> {
    let salt: string | undefined
    const onAttempt = (connection: Connection) => {
      connection.once('authenticationSASLContinue', ({ data }: { data: string }) => {
        salt = /(?:^|,)s=([^,]+)/.exec(data)?.[1]
        client.abort()
      })
    }
    const client = new BoundedClient(this.url.asLogin({ ...login, password: 'not sent' }, { ...TRIAL, onAttempt }))
    try {
      await unlessAborted(client.connect(), signal)
    } catch (error) {
      if (salt !== undefined) return salt
      // A tenant can set a verifier so long that PostgreSQL before 18 cannot read it at a login (XX000)
      const code = codeOf(error) ?? ''
      if (code === '28P01' || code === 'XX000') return ''
      throw error
    } finally {
      await client.end()
    }
    return undefined
  }

  /** Closes every connection. */
  async close(): Promise<void> {
    this.#facts = undefined
    await Promise.all([this.#pools.close(), this.aside.close()])
  }

  #adminSettings(more: BoundedPoolConfig): BoundedPoolConfig {
    return this.url.asAdmin({
      options: `${this.startupOptions} ${asOptions(LIMITS)}`,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      silenceMs: SILENCE_MS,
      ...more
    })
  }

  /** Runs a statement on a connection of the pool. */
  readonly #query: Query = async <Row extends QueryResultRow>(sql: string, values?: readonly unknown[]) => {
    const client = await checkOut(this.#pools.main)
    let broken = true
    try {
      const rows = await this.#statements.on(client)<Row>(sql, values)
      broken = false
      return rows
    } finally {
      client.release(broken)
    }
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

/** Settings of a trial login. A tenant's login cannot check its connection from another database, so the timeout is short. */
const TRIAL: BoundedPoolConfig = {
  application_name: IDLE_NAME,
  connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  silenceMs: TRIAL_MS
}
