import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, type Connection, type Submittable } from 'pg'

/** Who a hostile session is: a binding that begins as the owner, the same after it has dropped the role, or a reader. */
export type HostileRole = 'owner' | 'login' | 'reader'

/**
 * A statement, or one that is sent in a way that keeps it from its end: without the Sync that would commit it, as a COPY
 * whose data never comes, or with a result that the client does not read.
 */
export type Step = string | { readonly how: 'unsynced' | 'copy' | 'unread'; readonly sql: string }

/** What one hostile session does. */
export interface Script {
  readonly as: HostileRole
  readonly steps: readonly Step[]
  /** How many sessions do the same; default 1. */
  readonly count?: number
  /** After the last step: `stay` keeps the session, its transaction and its locks; `again` begins anew. Default: `stay`. */
  readonly end?: 'stay' | 'again'
  /** Asks for a replication connection. */
  readonly replication?: boolean
  /** Database and password of the login, instead of the binding's. */
  readonly database?: string
  readonly password?: string
}

/** Between two tries, so that an attacker does not spend the machine's time on refusals. */
const PAUSE_MS = 50
/** After this time, a last step that is still running, such as a sleep, counts as endless. */
const LASTING_MS = 500
const LOGIN_MS = 10_000
/** A tenant may set all of these itself. */
const LIMITS = ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout']

/** A session that does not give up: it logs in again, and begins again, when it is ended or refused. */
export class HostileSession {
  readonly script: Script
  /** How often the script came to its end. */
  completed = 0
  /** How often a step failed or the session ended, by SQLSTATE; `login` before it when the login was refused. */
  readonly ends = new Map<string, number>()
  /** Process id of the server's session, while there is one. */
  pid: number | undefined
  /** Whether the server refused the latest login because of the role, such as a suspended one. */
  shutOut = false
  /** When the last step of the script was sent, in milliseconds; undefined when it has ended. */
  #lastStepAt: number | undefined
  readonly #uri: () => string
  readonly #running: Promise<void>
  #socket: Socket | undefined
  #stopping = false

  /** @param uri asked for at each login, if it is a function */
  constructor(uri: string | (() => string), script: Script) {
    this.#uri = typeof uri === 'string' ? () => uri : uri
    this.script = script
    this.#running = this.#run()
  }

  /** Whether the server has been at the last step of the script for a while. */
  get lasts(): boolean {
    return this.#lastStepAt !== undefined && Date.now() - this.#lastStepAt >= LASTING_MS
  }

  /** Hangs up without a word. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#socket?.destroy()
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      try {
        await this.#live()
      } catch (error) {
        this.#count(error)
      }
      await sleep(PAUSE_MS)
    }
  }

  async #live(): Promise<void> {
    const socket = new Socket()
    this.#socket = socket
    const url = new URL(this.#uri())
    const { replication, database, password } = this.script
    if (replication === true) url.searchParams.set('replication', 'database')
    if (database !== undefined) url.pathname = `/${database}`
    if (password !== undefined) url.password = password
    const client = new Client({
      connectionString: url.href,
      connectionTimeoutMillis: LOGIN_MS,
      stream: () => socket
    })
    const lost = new Promise<never>((_, reject) => {
      client.on('error', reject)
      client.once('end', () => reject(new Error('Connection terminated')))
    })
    lost.catch(() => undefined)
    try {
      await client.connect().catch((error: unknown) => {
        this.shutOut = /^28/.test(codeOf(error))
        throw new Error('login', { cause: error })
      })
      this.shutOut = false
      await this.#prepare(client)
      while (!this.#stopping) await this.#attempt(client, lost)
    } finally {
      this.pid = undefined
      socket.destroy()
    }
  }

  async #prepare(client: Client): Promise<void> {
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    this.pid = rows[0]?.pid
    for (const limit of LIMITS) await client.query(`SET ${limit} = 0`)
    await client.query('SET client_min_messages = error')
    if (this.script.as === 'login') await client.query('SET ROLE NONE')
    if (this.script.as === 'reader') await client.query('SET default_transaction_read_only = off')
  }

  /** A refusal ends the transaction, not the session; a lost session ends both. */
  async #attempt(client: Client, lost: Promise<never>): Promise<void> {
    try {
      for (const [index, step] of this.script.steps.entries()) {
        if (this.#stopping) return
        if (index === this.script.steps.length - 1) this.#lastStepAt = Date.now()
        if (typeof step === 'string') await Promise.race([client.query(step), lost])
        else await Promise.race([this.#stick(client, step), lost])
      }
      this.#lastStepAt = undefined
      this.completed += 1
      if (this.script.end !== 'again') await lost
    } catch (error) {
      this.#lastStepAt = undefined
      await Promise.race([client.query('ROLLBACK'), lost]).catch(() => {
        throw error
      })
      this.#count(error)
      await sleep(PAUSE_MS)
    }
  }

  /** Never resolves: the statement does not end before its session does. */
  #stick(client: Client, step: Exclude<Step, string>): Promise<never> {
    const { promise, reject } = Promise.withResolvers<never>()
    promise.catch(() => undefined)
    client.query(
      new Stuck(step, {
        begin: () => {
          this.completed += 1
        },
        fail: reject
      })
    )
    return promise
  }

  #count(error: unknown): void {
    if (this.#stopping) return
    const refused = error instanceof Error && error.message === 'login'
    const code = codeOf(refused ? error.cause : error)
    const key = refused ? `login ${code}` : code
    this.ends.set(key, (this.ends.get(key) ?? 0) + 1)
  }
}

/** How a session was ended or refused: the SQLSTATE, or `lost`. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'lost'
}

/** What a {@link Stuck} statement reports. */
interface Progress {
  /** The server has run the statement, or runs it, and goes on to hold its locks. */
  readonly begin: () => void
  readonly fail: (error: Error) => void
}

/** A statement that begins and never ends; node-postgres calls its methods. */
class Stuck implements Submittable {
  readonly #step: Exclude<Step, string>
  readonly #progress: Progress
  #connection: Connection | undefined
  #begun = false

  constructor(step: Exclude<Step, string>, progress: Progress) {
    this.#step = step
    this.#progress = progress
  }

  submit(connection: Connection): void {
    this.#connection = connection
    const { how, sql } = this.#step
    if (how !== 'unsynced') {
      connection.query(sql)
      return
    }
    connection.parse({ name: '', text: sql, types: [] }, true)
    connection.bind({}, true)
    connection.execute({}, true)
    // The server answers without a Sync, and keeps the transaction open.
    connection.flush()
  }

  handleError(error: Error): void {
    // After an error the server ignores everything up to a Sync.
    const goesOn = 'severity' in error && error.severity === 'ERROR'
    if (this.#step.how === 'unsynced' && goesOn) this.#connection?.sync()
    this.#progress.fail(error)
  }

  handleCopyInResponse(): void {
    this.#begin()
  }

  handleRowDescription(): void {}

  handleDataRow(): void {
    if (this.#step.how === 'unread') this.#connection?.stream.pause()
    this.#begin()
  }

  handleCommandComplete(): void {
    this.#begin()
  }

  handleReadyForQuery(): void {}

  #begin(): void {
    if (this.#begun) return
    this.#begun = true
    this.#progress.begin()
  }
}
