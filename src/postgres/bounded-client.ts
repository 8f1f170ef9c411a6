import { Socket } from 'node:net'
import pg from 'pg'
import { cancelStatement } from './cancel.ts'
import { checkConnection } from './connection-check.ts'
import type { Host } from './connection-target.ts'
import { Endpoint, type Sibling } from './endpoint.ts'
import { passwordOf } from './password.ts'
import { cancelKeyOf, closeConnection, isWaiting, prepareAttempt } from './pg-internals.ts'
import { codeOf, isLoginFailure, refusalOf } from './refusal.ts'
import { optionsOf, requireUsable, type SessionBounds, sessionFacts } from './session-facts.ts'
import { sslOption, type TlsSettings } from './tls.ts'

/** Settings of a {@link BoundedClient}, in addition to those of node-postgres. */
export interface BoundedClientConfig extends pg.ClientConfig {
  /** Shared by all connections to the database. Default: an endpoint for `host` and `port`. */
  readonly endpoint?: Endpoint | undefined
  readonly tls?: TlsSettings | undefined
  /** Timeout of the login at one host, in milliseconds. Default, and at most: its share of `connectionTimeoutMillis`. */
  readonly hostTimeoutMs?: number | undefined
  /** Timeouts of statements on the server. They are startup options, if the server accepts those. */
  readonly bounds?: SessionBounds | undefined
  /** How long the client waits for an answer while no byte arrives, in milliseconds. Default: 65,000. */
  readonly silenceMs?: number | undefined
  /** Called with the connection of each attempt, before the attempt starts. */
  readonly onAttempt?: ((connection: pg.Connection) => void) | undefined
  /** The database from which a {@link checkConnection check} is made. Default: the database of the connection. */
  readonly checkDatabase?: string | undefined
}

const CONNECT_MS = 5_000
const SILENCE_MS = 65_000
/** Without an answer for this long, the client checks the connection, and repeats the check at this interval. */
const CHECK_AFTER_MS = 5_000
/** The same for a ping, which the server answers at once. */
const PING_CHECK_MS = 2_000
/** How long the server may take to confirm that a connection is closed. */
const CLOSE_MS = 1_000
/**
 * Protocol violation, feature not supported, unrecognized parameter: SQLSTATEs with which poolers reject startup options.
 * PgBouncer uses the first for other errors too, so a second attempt without options decides.
 */
const REFUSES_OPTIONS = /^(?:08P01|0A000|42704)$/

/**
 * A client of PostgreSQL with a bound for every wait. It tries the hosts of its endpoint in turn, keeps the TCP connection
 * alive, notices when the network has lost an answer, and cancels statements on the server when it gives up on them.
 */
export class BoundedClient extends pg.Client implements Sibling {
  /** Whether no pooler is between client and server, so that session state and prepared statements persist. */
  direct = false
  /** Whether `bounds` are in force for the whole session. */
  bounded = false
  /** Whether a task holds the connection, even while no statement runs on it. */
  inUse = false
  readonly #config: BoundedClientConfig
  readonly #endpoint: Endpoint
  readonly #connectMs: number
  readonly #hostMs: number
  /** Used if the endpoint has no host, or no port. */
  readonly #defaults: Required<Host>
  #ended = false
  #checking = false
  #silentMs = 0
  #bytes = 0

  constructor(config: BoundedClientConfig = {}) {
    const { endpoint = new Endpoint(), connectionTimeoutMillis: connectMs = CONNECT_MS } = config
    const share = connectMs / Math.max(1, endpoint.inTurn().length)
    const hostMs = Math.min(config.hostTimeoutMs ?? share, share)
    super({ ...config, ...passwordOf(config), connectionTimeoutMillis: hostMs })
    this.#config = config
    this.#hostMs = hostMs
    this.#defaults = { host: this.host, port: this.port }
    this.#endpoint = endpoint
    this.#connectMs = connectMs
    // Without a listener, the loss of a connection would end the process. The next statement on it fails anyway.
    this.on('error', () => undefined)
    this.once('end', () => endpoint.leave(this))
  }

  get backendPid(): number | undefined {
    return this.direct ? cancelKeyOf(this)?.pid : undefined
  }

  get idle(): boolean {
    return !this.inUse && !isWaiting(this) && this.getTransactionStatus() === 'I'
  }

  drop(reason: Error): void {
    this.connection.stream.destroy(reason)
  }

  /** Lets the process end while the connection is open. */
  unref(): void {
    const { stream } = this.connection
    if (stream instanceof Socket) stream.unref()
  }

  override connect(): Promise<pg.Client>
  override connect(callback: ((error: Error) => void) | ((error: null, client: pg.Client) => void)): void
  override connect(callback?: unknown): Promise<pg.Client> | undefined {
    const connecting = this.#connect()
    if (typeof callback !== 'function') return connecting
    connecting.then(
      () => callback(null, this),
      (error: unknown) => callback(error)
    )
    return undefined
  }

  override end(): Promise<void>
  override end(callback: (error: Error) => void): void
  override end(callback?: unknown): Promise<void> | undefined {
    this.#ended = true
    // The server never confirms the end of a lost connection.
    const { connection } = this
    const lost = setTimeout(() => connection.stream.destroy(), CLOSE_MS)
    const ended = super.end().then(() => clearTimeout(lost))
    if (typeof callback !== 'function') return ended
    void ended.then(() => callback())
    return undefined
  }

  /** Stops an attempt to connect. */
  abort(): void {
    this.#ended = true
    this.connection.stream.destroy()
  }

  /**
   * Waits for a round trip, to verify a connection that was idle before a task depends on it.
   * @throws within a few seconds when the connection is lost
   */
  async ping(): Promise<void> {
    const late = setTimeout(() => void this.#check(), PING_CHECK_MS)
    try {
      await this.query('SELECT')
    } finally {
      clearTimeout(late)
    }
  }

  /** Cancels the running statement on the server, then closes the connection. Takes at most a few seconds. */
  async abandon(reason: Error): Promise<void> {
    const { connection } = this
    // Wait for the answer, because a pooler replaces the server connection of a client that disconnects before it.
    if ((await cancelStatement(this)) !== 'answered') await this.#check()
    connection.stream.destroy(reason)
  }

  /** Tries the hosts in turn. If all fail, throws the error that only a change of the configuration can fix, if any. */
  async #connect(): Promise<pg.Client> {
    const until = performance.now() + this.#connectMs
    const hosts = this.#endpoint.inTurn()
    let failure: unknown
    for (const host of hosts.length === 0 ? [undefined] : hosts) {
      try {
        await this.#open(host)
        return this
      } catch (error) {
        if (refusalOf(failure) === undefined) failure = error
        closeConnection(this)
      }
      if (this.#ended || performance.now() >= until) break
    }
    throw failure
  }

  /** Opens a session with the bounds as startup options, or without them if the server or a pooler rejects options. */
  async #open(host: Host | undefined): Promise<void> {
    const { bounds, options } = this.#config
    if (bounds === undefined || this.#endpoint.refusesOptions) return this.#attempt(host, options)
    try {
      await this.#attempt(host, options === undefined ? optionsOf(bounds) : `${options} ${optionsOf(bounds)}`)
    } catch (error) {
      if (!REFUSES_OPTIONS.test(codeOf(error) ?? '') || isLoginFailure(error) || this.#ended) throw error
      await this.#attempt(host, options)
      this.#endpoint.refusesOptions = true
    }
  }

  async #attempt(host: Host | undefined, options: string | undefined): Promise<void> {
    const { tls, stream } = this.#config
    const place = { host: host?.host ?? this.#defaults.host, port: host?.port ?? this.#defaults.port }
    prepareAttempt(this, { host: place, ssl: tls === undefined ? undefined : sslOption(tls), options, stream })
    this.#config.onAttempt?.(this.connection)
    await super.connect()
    await this.#inspect()
    if (host !== undefined) this.#endpoint.prefer(host)
    this.#endpoint.join(this)
    this.connection.on('errorMessage', ({ code }: { code?: string }) => {
      // The primary has become a standby, so the other connections cannot write either.
      if (code === '25006') this.#endpoint.dropIdle(new Error('Connection terminated: the server takes no writes'))
    })
    this.#watch()
  }

  /** Finds out whether the session can be used, and how. */
  async #inspect(): Promise<void> {
    const { bounds } = this.#config
    const { attributes } = this.#endpoint
    const { stream } = this.connection
    const late = setTimeout(() => stream.destroy(new Error('timeout expired')), this.#hostMs)
    try {
      const facts = await sessionFacts(this, cancelKeyOf(this)?.pid, bounds)
      requireUsable(facts, attributes)
      this.direct = facts.direct
      this.bounded = facts.bounded
    } finally {
      clearTimeout(late)
    }
  }

  /** Watches for missing answers. Each byte that is sent or received resets the timer of the socket. */
  #watch(): void {
    const { stream } = this.connection
    if (!(stream instanceof Socket)) return
    const { silenceMs = SILENCE_MS } = this.#config
    const stepMs = Math.min(CHECK_AFTER_MS, silenceMs)
    stream.setTimeout(stepMs)
    stream.on('timeout', () => {
      if (!isWaiting(this)) return
      stream.setTimeout(stepMs)
      const bytes = stream.bytesRead + stream.bytesWritten
      this.#silentMs = bytes === this.#bytes ? this.#silentMs + stepMs : stepMs
      this.#bytes = bytes
      if (this.#silentMs >= silenceMs) void this.abandon(new Error(`timeout expired: no answer within ${silenceMs} ms`))
      else void this.#check()
    })
  }

  /** Checks the connection. If it is lost, closes it together with the idle ones, which took the same path. */
  async #check(): Promise<void> {
    const { silenceMs = SILENCE_MS } = this.#config
    if (!this.direct || this.#checking || silenceMs <= CHECK_AFTER_MS) return
    this.#checking = true
    const { stream } = this.connection
    const received = stream instanceof Socket ? stream.bytesRead : 0
    const lost = new Error('Connection terminated: the server is idle, so the network has lost the answer')
    const verdict = await checkConnection(this, {
      database: this.#config.checkDatabase,
      onLost: () => {
        if (stream instanceof Socket && stream.bytesRead !== received) throw new Error('the answer has arrived')
        return this.#endpoint.dropIdle(lost)
      }
    })
    this.#checking = false
    if (verdict === 'lost') stream.destroy(lost)
  }
}
