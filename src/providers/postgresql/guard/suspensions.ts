import { setTimeout as delay } from 'node:timers/promises'
import { alone } from '../alone.ts'
import { codeOf } from '../faults.ts'
import { NAME_PATTERNS } from '../names.ts'
import { quoteIdentifier } from '../quoting.ts'
import type { AdminServer } from '../server.ts'
import type { Anchor } from './anchor.ts'
import type { Journal, Rule } from './journal.ts'

/** So many rounds within {@link STRIKES_MS} in which sessions of a login had to be ended suspend it. */
const STRIKES = 3
const STRIKES_MS = 60_000
const SUSPENSION_MS = 5 * 60_000
/** Pause between two looks at the sessions that keep a suspension from being written. */
const UNBLOCK_MS = 50

/** A login that is to be suspended, and why. */
export interface Suspect {
  readonly login: string
  readonly token: string
  readonly rule: Rule
}

/** Takes from logins, for a while, the right to log in. A login that is being removed is left alone. */
export class Suspensions {
  readonly #server: AdminServer
  readonly #anchor: Anchor
  readonly #journal: Journal
  readonly #strikes = new Map<string, number[]>()
  readonly #due = new Map<string, Suspect>()
  /** Until when, by login. */
  readonly #suspended = new Map<string, Suspect & { readonly until: number }>()
  #lifting: Promise<void> | undefined

  constructor(server: AdminServer, anchor: Anchor, journal: Journal) {
    this.#server = server
    this.#anchor = anchor
    this.#journal = journal
  }

  /** Counts a round in which sessions of the login had to be ended; whether it is to be suspended. */
  strike(login: string, now: number): boolean {
    const recent = [...(this.#strikes.get(login) ?? []), now].filter((at) => now - at < STRIKES_MS)
    this.#strikes.set(login, recent)
    return recent.length >= STRIKES
  }

  /** {@link Suspensions.write} suspends it. */
  add(suspect: Suspect): void {
    if (!this.#suspended.has(suspect.login)) this.#due.set(suspect.login, suspect)
  }

  /** Suspends those that were added. One that fails, such as while the lock table is full, stays for the next call. */
  async write(now: number): Promise<void> {
    for (const { login, token, rule } of this.#due.values()) {
      try {
        const rows = await this.#anchor.query('SELECT FROM pg_roles WHERE rolname = $1 AND rolcanlogin', [login])
        if (rows.length > 0) await this.#forbid(login)
        this.#due.delete(login)
        this.#strikes.delete(login)
        // An unbind was faster.
        if (rows.length === 0) continue
        this.#suspended.set(login, { login, token, rule, until: now + SUSPENSION_MS })
        this.#journal.note({ rule, action: 'suspend', server: this.#server.name, login, token })
      } catch (error) {
        this.#journal.log?.debug({ login, code: codeOf(error), reason: String(error) }, 'A suspension has to wait.')
      }
    }
  }

  /** Forgets old strikes, and begins to lift the suspensions whose time is up. */
  tidy(now: number, signal: AbortSignal): void {
    for (const [login, times] of this.#strikes) {
      if (times.every((at) => now - at >= STRIKES_MS)) this.#strikes.delete(login)
    }
    const over = [...this.#suspended.values()].filter(({ until }) => now >= until)
    if (this.#lifting !== undefined || over.length === 0) return
    this.#lifting = this.#liftAll(over, signal).finally(() => {
      this.#lifting = undefined
    })
  }

  async close(): Promise<void> {
    await this.#lifting
  }

  /**
   * Writes NOLOGIN. The tenant may have locked the row of its login, by an open `ALTER ROLE CURRENT_USER PASSWORD`, and any
   * tenant may queue for a lock on the catalog, so the sessions in the way are ended while the statement waits.
   */
  async #forbid(login: string): Promise<void> {
    const { aside } = this.#server
    const [own] = await aside.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    const settled = new AbortController()
    const writing = aside.query(`ALTER ROLE ${quoteIdentifier(login)} NOLOGIN`).finally(() => settled.abort())
    const unblocking = this.#unblock(own?.pid ?? 0, settled.signal)
    await Promise.all([writing, unblocking])
  }

  async #unblock(pid: number, settled: AbortSignal): Promise<void> {
    while (!settled.aborted) {
      await delay(UNBLOCK_MS, undefined, { signal: settled }).catch(() => undefined)
      if (settled.aborted) return
      await this.#anchor.query('SELECT pg_stat_clear_snapshot()')
      await this.#anchor.query(
        `SELECT pg_terminate_backend(s.pid) FROM pg_stat_get_activity(NULL) AS s
         WHERE s.pid = ANY (pg_blocking_pids($1)) AND pg_get_userbyid(s.usesysid) ~ $2`,
        [pid, NAME_PATTERNS.login]
      )
    }
  }

  /** One after another, because those of the same instance would exclude each other. */
  async #liftAll(over: readonly Suspect[], signal: AbortSignal): Promise<void> {
    for (const suspect of over) await this.#lift(suspect, signal)
  }

  /** Keeps tasks on the instance out, because an unbind that runs takes the right to log in away for good. */
  async #lift({ login, token, rule }: Suspect, signal: AbortSignal): Promise<void> {
    const log = this.#journal.log
    if (log === undefined) return
    try {
      const lifted = await alone(
        this.#server,
        { log, signal },
        {
          token,
          run: async (maintenance) => {
            // A limit of 0, or a validity that is over, marks a login that is being removed.
            const [kept] = await maintenance.query(
              `SELECT FROM pg_roles WHERE rolname = $1 AND NOT rolcanlogin AND rolconnlimit <> 0
               AND (rolvaliduntil IS NULL OR rolvaliduntil > clock_timestamp())`,
              [login]
            )
            if (kept === undefined) return false
            await maintenance.query(`ALTER ROLE ${quoteIdentifier(login)} LOGIN`)
            return true
          }
        }
      )
      // While a task works on the instance, the next round tries again.
      if (lifted === undefined) return
      this.#suspended.delete(login)
      if (lifted) {
        this.#journal.note({ rule, action: 'lift', server: this.#server.name, login, token })
      }
    } catch (error) {
      log.debug({ login, code: codeOf(error), reason: String(error) }, 'A suspension could not be lifted yet.')
    }
  }
}
