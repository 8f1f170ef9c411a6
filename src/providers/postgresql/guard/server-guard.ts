import type { TaskLog } from '../../../core/provider.ts'
import { codeOf } from '../faults.ts'
import { rollBackIn } from '../prepared.ts'
import type { AdminServer } from '../server.ts'
import { Anchor } from './anchor.ts'
import type { Journal, Rule } from './journal.ts'
import { excess } from './lock-limit.ts'
import { type Holder, look, OFFENCES, type Sight } from './look.ts'
import { relieve } from './relief.ts'
import { Suspensions } from './suspensions.ts'

/** Pause between two rounds, in milliseconds. */
const PAUSE_MS = 1_000
/** The same after a round that had to empty the lock table: the sessions come back at once, and fill it within a second. */
const FLOOD_PAUSE_MS = 100
/** How long a transaction may keep locks that operations on other instances may need. */
const SHARED_MS = 10_000
/** A session that was ended may take a moment to go. Within this time it is ended again without another entry. */
const GOING_MS = 5_000
/** How old the transaction of the {@link Anchor} becomes, if the lock table has room for the next one. */
const ANCHOR_MS = 60_000
const ROOM_SHARE = 0.5

const MAY_NOT_END = 'The admin of the PostgreSQL server may not end sessions of tenants: grant it pg_signal_backend.'
const MAY_NOT_ROLL_BACK =
  'The admin of the PostgreSQL server may not roll back a prepared transaction of a tenant, because it may not act as the ' +
  'role that prepared it: grant it this role with ADMIN OPTION, or roll the transaction back as a superuser.'
/** SQLSTATE of a full lock table. */
const FULL = '53200'

/** A holder that has to go, and why. */
interface Verdict {
  readonly holder: Holder
  readonly rule: Rule
}

/** Watches the sessions and locks of one server, and ends sessions of tenants that harm others. */
export class ServerGuard {
  readonly #server: AdminServer
  readonly #journal: Journal
  readonly #log: TaskLog
  readonly #anchor: Anchor
  readonly #suspensions: Suspensions
  readonly #stopping = new AbortController()
  /** When a transaction was first seen to keep shared locks. */
  readonly #sharing = new Map<string, number>()
  /** When a holder was ended. */
  readonly #ended = new Map<string, number>()
  /** Errors that the log has. */
  readonly #reported = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> = Promise.resolve()
  #failing = false
  #anchoredAt = 0
  #pauseMs = PAUSE_MS

  constructor(server: AdminServer, journal: Journal, log: TaskLog) {
    this.#server = server
    this.#journal = journal
    this.#log = log
    this.#anchor = new Anchor(server)
    this.#suspensions = new Suspensions(server, this.#anchor, journal)
  }

  /** Resolves after the first round: a tenant must not be able to lock the guard out before it has connected. */
  async start(): Promise<void> {
    // Suspensions are written on it, and an attack may let nobody connect later. If it fails now, the next use connects.
    await this.#server.aside.query('SELECT').catch(() => undefined)
    this.#running = this.#run()
    await this.#running
    this.#schedule()
  }

  #schedule(): void {
    if (this.#stopping.signal.aborted) return
    this.#timer = setTimeout(() => {
      this.#running = this.#run().finally(() => this.#schedule())
    }, this.#pauseMs).unref()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    clearTimeout(this.#timer)
    // Ends a statement that runs, so that the round ends.
    await this.#anchor.close()
    await this.#running
    await this.#suspensions.close()
  }

  /** Logs one line when the server stops answering and one when it answers again. */
  async #run(): Promise<void> {
    try {
      await this.#round(performance.now())
      if (this.#failing) this.#log.info({ server: this.#server.name }, 'The guard watches the server again.')
      this.#failing = false
    } catch (error) {
      if (codeOf(error) === FULL && (await this.#relieve())) return
      if (this.#failing || this.#stopping.signal.aborted) return
      this.#failing = true
      const fields = { server: this.#server.name, code: codeOf(error), reason: String(error) }
      this.#log.warn(fields, 'The guard cannot watch the server. It tries again every second.')
    }
  }

  /** Without a look, because the lock table is full. Whether sessions were ended, so that the next look is worth a try. */
  async #relieve(): Promise<boolean> {
    // The pause of 1 s would let the table fill up again.
    const logins = await relieve(this.#anchor.query).catch(() => [])
    if (logins.length > 0) this.#pauseMs = FLOOD_PAUSE_MS
    for (const login of new Set(logins)) {
      const act = { rule: 'locks', login, token: tokenOf(login) } as const
      this.#journal.note({ ...act, action: 'end', server: this.#server.name })
      this.#suspensions.add(act)
    }
    return logins.length > 0
  }

  async #round(now: number): Promise<void> {
    const sight = await look(this.#anchor.query)
    const verdicts = this.#judge(sight, now)
    this.#pauseMs = verdicts.some(({ rule }) => rule === 'locks') ? FLOOD_PAUSE_MS : PAUSE_MS
    const struck = new Map<string, Verdict>()
    for (const verdict of verdicts) {
      if (!(await this.#end(verdict, now))) continue
      const { holder, rule } = verdict
      if (rule !== 'revoked' && holder.pid !== null) struck.set(holder.login, verdict)
    }
    const { floods: flooding } = excess(sight)
    for (const [login, { holder, rule }] of struck) {
      const often = this.#suspensions.strike(login, now)
      const floods = rule === 'locks' && flooding.has(holder.token)
      if (often || floods) this.#suspensions.add({ login, token: holder.token, rule })
    }
    await this.#suspensions.write(now)
    this.#suspensions.tidy(now, this.#stopping.signal)
    for (const [key, at] of this.#ended) if (now - at >= GOING_MS) this.#ended.delete(key)
    await this.#renewAnchor(sight, { now, calm: verdicts.length === 0 })
  }

  /** One verdict for each holder, by the first rule that it broke. */
  #judge(sight: Sight, now: number): Verdict[] {
    const verdicts = new Map<string, Verdict>()
    const add = (holder: Holder, rule: Rule) => {
      if (!verdicts.has(holder.holder)) verdicts.set(holder.holder, { holder, rule })
    }
    for (const holder of sight.holders) {
      const offence = OFFENCES.find((rule) => holder.offences.includes(rule))
      if (offence !== undefined) add(holder, offence)
    }
    for (const holder of this.#sharingTooLong(sight, now)) add(holder, 'shared-catalog')
    for (const holder of excess(sight).holders) add(holder, 'locks')
    return [...verdicts.values()]
  }

  #sharingTooLong({ holders }: Sight, now: number): Holder[] {
    const sharing = new Map(
      holders.filter(({ shared }) => shared).map((holder) => [`${holder.holder} ${holder.transaction}`, holder])
    )
    for (const key of this.#sharing.keys()) if (!sharing.has(key)) this.#sharing.delete(key)
    for (const key of sharing.keys()) if (!this.#sharing.has(key)) this.#sharing.set(key, now)
    return [...sharing].flatMap(([key, holder]) => {
      return now - (this.#sharing.get(key) ?? now) >= SHARED_MS ? [holder] : []
    })
  }

  /** Whether this round has ended it. */
  async #end({ holder, rule }: Verdict, now: number): Promise<boolean> {
    const key = `${holder.holder} ${holder.startedAt}`
    try {
      if (!(await (holder.gid === null ? this.#endSession(holder) : this.#rollBack(holder, holder.gid)))) return false
    } catch (error) {
      this.#failedToEnd(holder, error)
      return false
    }
    const fresh = !this.#ended.has(key)
    if (fresh) {
      this.#ended.set(key, now)
      const { database, login, token } = holder
      const action = holder.pid === null ? 'roll back' : 'end'
      this.#journal.note({ rule, action, server: this.#server.name, database, login, token })
    }
    return fresh
  }

  /** Each in a statement of its own, so that one that the admin may not end does not save the others. */
  async #endSession({ pid, userId, startedAt }: Holder): Promise<boolean> {
    await this.#anchor.query('SELECT pg_stat_clear_snapshot()')
    // The process id may belong to another session by now.
    const [row] = await this.#anchor.query<{ ended: boolean }>(
      `SELECT pg_terminate_backend(s.pid) AS ended FROM pg_stat_get_activity($1) AS s
       WHERE s.usesysid = $2::oid AND s.backend_start::text IS NOT DISTINCT FROM $3`,
      [pid, userId, startedAt]
    )
    return row?.ended === true
  }

  async #rollBack({ database, login }: Holder, gid: string): Promise<boolean> {
    return await rollBackIn(this.#server, this.#work(), { database, owner: login, gid })
  }

  #failedToEnd({ login, database, gid }: Holder, error: unknown): void {
    const code = codeOf(error)
    if (code !== '42501') {
      // The next round tries again.
      this.#log.debug({ login, database, code, reason: String(error) }, 'The guard could not end a session.')
      return
    }
    const message = gid === null ? MAY_NOT_END : MAY_NOT_ROLL_BACK
    if (this.#reported.has(message)) return
    this.#reported.add(message)
    const fields = { server: this.#server.name, login, database, code }
    this.#log.error(gid === null ? fields : { ...fields, gid }, message)
  }

  /**
   * Keeps the anchor's transaction young, and makes way for an operator who waits for it. In a round that has ended sessions,
   * the operator waits on, because a tenant could get in between. Never while the lock table fills up.
   */
  async #renewAnchor(
    { locks, capacity, waitedFor }: Sight,
    { now, calm }: { now: number; calm: boolean }
  ): Promise<void> {
    if (locks > ROOM_SHARE * capacity) return
    if (waitedFor && calm) {
      await this.#anchor.giveWay()
      this.#anchoredAt = now
    } else if (now - this.#anchoredAt >= ANCHOR_MS && (await this.#anchor.renew())) this.#anchoredAt = now
  }

  #work() {
    return { applicationName: 'osb:guard', signal: this.#stopping.signal, log: this.#log }
  }
}

/** The token of the instance in the name of a login. */
function tokenOf(login: string): string {
  return login.slice('osb_b_'.length, 'osb_b_'.length + 20)
}
