import { randomBytes } from 'node:crypto'
import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import type { AvailabilityAttack, SocketFlood } from './availability.ts'
import { HostileSession, type Script } from './hostile-session.ts'

/** Rows of a superuser's query. */
type Sql = (statement: string, values?: unknown[]) => Promise<Record<string, unknown>[]>

/** URIs of the bindings that an attacker has. They may change: each login asks for them. */
export interface HostileBindings {
  readonly owner: string
  readonly reader: string
}

/** An attack that goes on until it is stopped. */
export class Attacker {
  readonly attack: AvailabilityAttack
  readonly #bindings: HostileBindings
  #sessions: HostileSession[] = []
  #sockets: SocketStorm | undefined

  constructor(attack: AvailabilityAttack, bindings: HostileBindings) {
    this.attack = attack
    this.#bindings = bindings
  }

  async start(): Promise<void> {
    await this.#setUp()
    this.#sessions = this.attack.scripts.flatMap((script) => {
      const uri = () => this.#bindings[bindingOf(script)]
      return Array.from({ length: script.count ?? 1 }, () => new HostileSession(uri, script))
    })
    const { sockets } = this.attack
    if (sockets !== undefined) this.#sockets = new SocketStorm(this.#bindings.owner, sockets)
  }

  /**
   * Whether the attack is on. Each script has come to its end or stays in its last step, or its session or its login was stopped
   * by the defence; or a session waits for a lock. Where a refusal is the defence, every session was refused.
   */
  async isOn(sql: Sql): Promise<boolean> {
    if (this.attack.refused === true) return this.#sessions.every(({ ends }) => ends.size > 0)
    if (this.#sockets !== undefined && this.#sockets.opened === 0) return false
    const perScript = this.attack.scripts.map((script) => this.#sessions.filter((session) => session.script === script))
    // PostgreSQL refuses the script beside a prepared transaction unless something is in its way.
    if (this.attack.prepared === true) return this.#sessions.some(({ completed }) => completed > 0)
    if (perScript.every((sessions) => sessions.some(hasBegun))) return true
    const pids = this.#sessions.flatMap(({ pid }) => pid ?? [])
    // Not the view: it reads catalogs that the attack may have locked.
    const waiting = await sql(
      `SELECT pid FROM pg_stat_get_activity(NULL) WHERE pid = ANY ($1) AND wait_event_type = 'Lock'`,
      [pids]
    )
    return waiting.length > 0
  }

  /** Whether logins with this binding are refused, because the guard has suspended it. */
  isShutOut(binding: keyof HostileBindings): boolean {
    if (this.attack.refused === true) return false
    return this.#sessions.some(({ script, shutOut }) => shutOut && bindingOf(script) === binding)
  }

  /** How often scripts came to their end, and how sessions were ended or refused. */
  get outcome(): Record<string, number> {
    const sum: Record<string, number> = {}
    const add = (key: string, count: number) => {
      if (count > 0) sum[key] = (sum[key] ?? 0) + count
    }
    for (const { completed, ends } of this.#sessions) {
      add('completed', completed)
      for (const [code, count] of ends) add(code, count)
    }
    add('sockets', this.#sockets?.opened ?? 0)
    return sum
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#sessions.map((session) => session.stop()), this.#sockets?.stop()])
  }

  async #setUp(): Promise<void> {
    const { setup = [] } = this.attack
    if (setup.length === 0) return
    const client = new Client({ connectionString: this.#bindings.owner })
    client.on('error', () => undefined)
    await client.connect()
    try {
      for (const statement of setup) await client.query(statement)
    } finally {
      await client.end()
    }
  }
}

function bindingOf(script: Script): keyof HostileBindings {
  return script.as === 'reader' ? 'reader' : 'owner'
}

/** 57P01: the session was ended. 28000: the login is suspended, which happens only after an attack. */
function hasBegun({ completed, lasts, ends }: HostileSession): boolean {
  return completed > 0 || lasts || ends.has('57P01') || ends.has('login 28000')
}

/** Version 3.0 of the protocol, and the request that cancels a statement. */
const PROTOCOL = 196_608
const CANCEL = 80_877_102

/** Keeps a number of connections open that never log in. */
class SocketStorm {
  opened = 0
  readonly #running: Promise<unknown>
  readonly #sockets = new Set<Socket>()
  #stopping = false

  constructor(uri: string, { count, how }: SocketFlood) {
    const { hostname, port, username, pathname } = new URL(uri)
    const place = { host: hostname, port: Number(port) }
    const bytes = () => greeting(how, { user: username, database: pathname.slice(1) })
    this.#running = Promise.all(Array.from({ length: count }, () => this.#keep(place, bytes)))
  }

  async stop(): Promise<void> {
    this.#stopping = true
    for (const socket of this.#sockets) socket.destroy()
    await this.#running
  }

  async #keep({ host, port }: { host: string; port: number }, bytes: () => Buffer): Promise<void> {
    while (!this.#stopping) {
      const socket = new Socket()
      const closed = new Promise<void>((resolve) => {
        socket.on('error', () => undefined)
        socket.once('close', () => resolve())
      })
      this.#sockets.add(socket)
      socket.connect(port, host, () => {
        this.opened += 1
        socket.write(bytes())
        socket.resume()
      })
      await closed
      this.#sockets.delete(socket)
      await sleep(50)
    }
  }
}

function greeting(how: SocketFlood['how'], login: Readonly<Record<string, string>>): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.writeUInt32BE(16, 0)
  if (how === 'silent') return Buffer.alloc(0)
  if (how === 'garbage') return randomBytes(64)
  if (how === 'half a startup') {
    bytes.writeUInt32BE(1_000, 0)
    bytes.writeUInt32BE(PROTOCOL, 4)
    return bytes
  }
  if (how === 'half a login') {
    // The server asks for the password, and waits.
    const parameters = Buffer.from(`${Object.entries(login).flat().join('\0')}\0\0`)
    bytes.writeUInt32BE(8 + parameters.length, 0)
    bytes.writeUInt32BE(PROTOCOL, 4)
    return Buffer.concat([bytes.subarray(0, 8), parameters])
  }
  bytes.writeUInt32BE(CANCEL, 4)
  randomBytes(8).copy(bytes, 8)
  return bytes
}
