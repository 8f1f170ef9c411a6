import { Socket } from 'node:net'
import pg from 'pg'
import { cancelStatement } from './cancel.ts'
import type { Host } from './connection-target.ts'
import { Endpoint, type Sibling } from './endpoint.ts'
import { passwordOf } from './password.ts'
import { beginAnew, cancelKeyOf, hangUp, isWaiting } from './pg-internals.ts'
import { proveDeath } from './proof-of-death.ts'
import { codeOf, isLoginFailure, refusalOf } from './refusal.ts'
import { optionsOf, requireUsable, type SessionBounds, sessionFacts } from './session-facts.ts'
import { sslOption, type TlsSettings } from './tls.ts'

/** Settings of a {@link BoundedClient}, beside those of node-postgres. */
export interface BoundedClientConfig extends pg.ClientConfig {
  /** Shared by all connections to the database. Default: one of its own, which leads to `host` and `port`. */
  readonly endpoint?: Endpoint | undefined
  readonly tls?: TlsSettings | undefined
  /** How long one host may take to let the client in, in milliseconds. Default: its share of `connectionTimeoutMillis`. */
  readonly hostTimeoutMs?: number | undefined
  /** What the server is to bound statements by, where its startup options take effect. */
  readonly bounds?: SessionBounds | undefined
  /** How long the server may say nothing while it owes an answer, in milliseconds. Default: 65,000. */
  readonly silenceMs?: number | undefined
  /** Called with the connection of each attempt, before that begins. */
  readonly onAttempt?: ((connection: pg.Connection) => void) | undefined
  /** The database to look from whether the connection is dead. Default: its own. */
  readonly lookFrom?: string | undefined
}

const CONNECT_MS = 5_000
const SILENCE_MS = 65_000
/** So long after a statement was sent, and again and again, the client looks whether the connection is still there. */
const LOOK_AFTER_MS = 5_000
/** So long after a statement that takes no time. */
const DOUBT_MS = 2_000
/** How long the server has to confirm that a connection is closed. */
const GOODBYE_MS = 1_000
/**
 * Protocol violation, feature not supported, unrecognized parameter: how poolers refuse startup options. PgBouncer has the first
 * of them for other troubles too; the attempt without options shows which it was.
 */
const REFUSES_OPTIONS = /^(?:08P01|0A000|42704)$/

/**
 * A connection to PostgreSQL that nothing can hang on for ever: it tries the hosts of its endpoint in turn, keeps the TCP
 * connection alive, notices that an answer was lost, and cancels on the server what it gives up.
 */
export class BoundedClient extends pg.Client implements Sibling {
  /** Whether the session is the client's own for as long as it is connected: no pooler is between. */
  direct = false
  /** Whether the server itself bounds every statement of the session. */
  bounded = false
  /** Set while a task holds the connection, even when nothing is under way on it. */
  inUse = false
  readonly #config: BoundedClientConfig
  readonly #endpoint: Endpoint
  readonly #connectMs: number
  readonly #hostMs: number
  /** What is used where the endpoint names no host, or no port. */
  readonly #defaults: Required<Host>
  #ended = false
  #looking = false
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
    // The statement that needs a lost connection fails by itself. Without a listener the process would end.
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
    // A connection that is lost never confirms that it was closed.
    const { connection } = this
    const lost = setTimeout(() => connection.stream.destroy(), GOODBYE_MS)
    const ended = super.end().then(() => clearTimeout(lost))
    if (typeof callback !== 'function') return ended
    void ended.then(() => callback())
    return undefined
  }

  /** Closes the connection before, or while, it is opened. */
  hangUp(): void {
    this.#ended = true
    this.connection.stream.destroy()
  }

  /**
   * Proves that a connection which was idle is still there, before something depends on it.
   * @throws when it is dead, within a few seconds
   */
  async prove(): Promise<void> {
    const doubt = setTimeout(() => void this.#look(), DOUBT_MS)
    try {
      await this.query('SELECT')
    } finally {
      clearTimeout(doubt)
    }
  }

  /** Gives up what the server was asked for: cancels it there, then closes the connection. Takes at most a few seconds. */
  async abandon(reason: Error): Promise<void> {
    const { connection } = this
    // A pooler, too, takes the connection of a client that hangs up too early for one that it has to replace.
    if ((await cancelStatement(this)) !== 'answered') await this.#look()
    connection.stream.destroy(reason)
  }

  /** Tries the hosts in turn; throws the error that says most of why none was usable. */
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
        hangUp(this)
      }
      if (this.#ended || performance.now() >= until) break
    }
    throw failure
  }

  /** Opens a session with the bounds as startup options, or without them where the server or a pooler refuses those. */
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
    beginAnew(this, { host: place, ssl: tls === undefined ? undefined : sslOption(tls), options, stream })
    this.#config.onAttempt?.(this.connection)
    await super.connect()
    await this.#learn()
    if (host !== undefined) this.#endpoint.prefer(host)
    this.#endpoint.join(this)
    this.connection.on('errorMessage', ({ code }: { code?: string }) => {
      // What was a primary is a standby now: no connection to it can write any more.
      if (code === '25006') this.#endpoint.dropIdle(new Error('Connection terminated: the server takes no writes'))
    })
    this.#watch()
  }

  /** What has to be known of the session before it may be used. */
  async #learn(): Promise<void> {
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

  /** The timer of the socket is set back by all that is sent or received. */
  #watch(): void {
    const { stream } = this.connection
    if (!(stream instanceof Socket)) return
    const { silenceMs = SILENCE_MS } = this.#config
    const stepMs = Math.min(LOOK_AFTER_MS, silenceMs)
    stream.setTimeout(stepMs)
    stream.on('timeout', () => {
      if (!isWaiting(this)) return
      stream.setTimeout(stepMs)
      const bytes = stream.bytesRead + stream.bytesWritten
      this.#silentMs = bytes === this.#bytes ? this.#silentMs + stepMs : stepMs
      this.#bytes = bytes
      if (this.#silentMs >= silenceMs) void this.abandon(new Error(`timeout expired: no answer within ${silenceMs} ms`))
      else void this.#look()
    })
  }

  /** Closes the connection when it proves to be dead, and those beside it: they went the same way. */
  async #look(): Promise<void> {
    const { silenceMs = SILENCE_MS } = this.#config
    if (!this.direct || this.#looking || silenceMs <= LOOK_AFTER_MS) return
    this.#looking = true
    const { stream } = this.connection
    const received = stream instanceof Socket ? stream.bytesRead : 0
    const lost = new Error('Connection terminated: the server has answered, and the answer was lost on the way')
    const verdict = await proveDeath(this, {
      database: this.#config.lookFrom,
      onDead: () => {
        if (stream instanceof Socket && stream.bytesRead !== received) throw new Error('the answer has come')
        return this.#endpoint.dropIdle(lost)
      }
    })
    this.#looking = false
    if (verdict === 'dead') stream.destroy(lost)
  }
}
