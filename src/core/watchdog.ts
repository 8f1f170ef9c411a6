import type { Deadline, Lease } from './lease.ts'
import type { TaskLog } from './provider.ts'
import { LEASE_MS, type Renewal } from './store.ts'
import { timerMs } from './time-limits.ts'

/** Why the signal of a task aborts. */
export const abortReasons = {
  halted: new Error('a delete halted the operation'),
  lost: new Error('another worker may have taken the operation over'),
  overtime: new Error('the time of the operation is up'),
  stopping: new Error('the process is stopping')
} as const

/** How long a provider call may take to stop after its deadline, or after its claim was lost, in milliseconds. */
export const GRACE_MS = 10_000

/** How often a lease is renewed, so that two renewals may fail before it ends. */
const RENEWAL_MS = LEASE_MS / 3

export interface WatchdogOptions {
  readonly controller: AbortController
  readonly lease: Lease
  readonly deadline: Deadline
  /** Whether the deadline aborts the work; a request that waits decides itself. */
  readonly abortsAtDeadline: () => boolean
  readonly renew: () => Promise<Renewal>
  readonly log: TaskLog
}

/**
 * Renews the lease of an operation during its attempts and the pauses between them, aborts the work when it must stop, and
 * gives the provider up when it does not.
 */
export class Watchdog {
  readonly #options: WatchdogOptions
  readonly #abandoned = Promise.withResolvers<void>()
  readonly #stopListening: () => void
  #nextRenewal: number
  #lostAt = Number.POSITIVE_INFINITY
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: WatchdogOptions) {
    this.#options = options
    this.#nextRenewal = options.lease.endsAt - LEASE_MS + RENEWAL_MS
    this.#stopListening = options.deadline.onExtend(() => this.#check())
    this.#check()
  }

  /** Fulfilled when the provider has not stopped in time and must not be waited for any longer. */
  get abandoned(): Promise<void> {
    return this.#abandoned.promise
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
    this.#stopListening()
  }

  /** Does what is due and sleeps until the next thing is. */
  #check(): void {
    const { controller, lease, deadline, abortsAtDeadline } = this.#options
    const now = performance.now()
    if (now >= lease.endsAt) this.#lose('the lease of an operation ended, because no renewal was confirmed in time')
    if (now >= deadline.at && abortsAtDeadline()) controller.abort(abortReasons.overtime)
    const abandonAt = Math.min(deadline.at, this.#lostAt) + GRACE_MS
    if (now >= abandonAt) {
      this.stop()
      this.#abandoned.resolve()
      return
    }
    const holds = this.#lostAt === Number.POSITIVE_INFINITY
    if (holds && now >= this.#nextRenewal) {
      this.#nextRenewal = now + RENEWAL_MS
      void this.#renew()
    }
    const due = [deadline.at, abandonAt, ...(holds ? [this.#nextRenewal, lease.endsAt] : [])].filter((at) => at > now)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#check(), timerMs(Math.min(...due) - now + 1)).unref()
  }

  async #renew(): Promise<void> {
    const { controller, lease, log, renew } = this.#options
    const sentAt = performance.now()
    try {
      const renewal = await renew()
      if (this.#stopped) return
      if (renewal === 'lost') this.#lose('another worker has taken the operation over')
      else lease.renewed(sentAt)
      if (renewal === 'halted') controller.abort(abortReasons.halted)
      if (renewal === 'lost') this.#check()
    } catch (error) {
      // The store is away. The lease ends when no renewal gets through.
      log.warn({ err: error }, 'the lease of an operation could not be renewed')
    }
  }

  #lose(message: string): void {
    if (this.#lostAt !== Number.POSITIVE_INFINITY) return
    this.#lostAt = performance.now()
    this.#options.log.warn({}, message)
    this.#options.controller.abort(abortReasons.lost)
  }
}
