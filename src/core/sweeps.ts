import type { Operations } from './operations.ts'
import { findOrphans } from './reconcile.ts'
import type { Sweep } from './runner.ts'
import type { Abandoned } from './store.ts'
import { repairInstances, revokeExpired, Watches } from './upkeep.ts'

/** How often each replica looks for operations of dead workers. */
const ABANDONED_MS = 2_000
/** The specification asks brokers not to forget an operation at once (spec: Polling Last Operation). */
const REMEMBER_MS = 7 * 24 * 3600 * 1000
/** An operation that has waited so long without a lease is checked for its job. */
const IDLE_MS = 30_000

/** The work that the broker repeats by itself. */
export class Sweeps {
  readonly #operations: Operations
  readonly #ending = new AbortController()
  readonly #watches: Watches
  #timer: NodeJS.Timeout | undefined
  #sweeping = false

  constructor(operations: Operations) {
    this.#operations = operations
    this.#watches = new Watches(operations.options)
  }

  /** The sweeps that one replica runs at a time. */
  get scheduled(): readonly Sweep[] {
    return [
      { name: 'operations', every: 'hour', run: () => this.forget() },
      { name: 'repair', every: 'hour', run: () => this.reconcile() },
      { name: 'upkeep', every: 'minute', run: () => this.upkeep() },
      { name: 'watch', every: 'minute', run: () => this.watch() }
    ]
  }

  get #options() {
    return this.#operations.options
  }

  /** Begins to look for operations of dead workers. */
  begin(): void {
    this.#timer ??= setInterval(() => this.#sweepQuietly(), ABANDONED_MS).unref()
  }

  end(): void {
    this.#ending.abort()
    clearInterval(this.#timer)
  }

  /**
   * Looks for operations whose worker has died. An expired one fails and a synchronous one is undone, both without a call of
   * the provider. A synchronous delete and any other get a job, so that a worker slot of some replica takes them over.
   */
  async sweep(): Promise<number> {
    const { attempts } = this.#operations
    const abandoned = await this.#options.store.abandoned()
    let handled = 0
    for (const each of abandoned) {
      if (this.#ending.signal.aborted) return handled
      if (attempts.has(each.operation.operationId)) continue
      await this.#handle(each)
      handled += 1
    }
    return handled
  }

  async #handle({ operation, expired }: Abandoned): Promise<void> {
    const { runner, log } = this.#options
    const { operationId } = operation
    if (expired || !operation.async) return this.#operations.executor.settleAbandoned(operationId)
    log.info({ operation: operationId }, 'the worker of an operation has gone; another one takes it over')
    await runner.ensure(operation, { now: true })
  }

  /** Deletes old operations, audit events past their retention, and credentials that were not fetched in time. */
  async forget(): Promise<void> {
    await this.#each(
      [() => this.#forgetOperations(), () => this.#forgetAudit(), () => this.#dropUndelivered()],
      'an hour'
    )
  }

  async #forgetOperations(): Promise<void> {
    const forgotten = await this.#options.store.forgetOperations(REMEMBER_MS)
    if (forgotten > 0) this.#options.log.info({ forgotten }, 'deleted old operations')
  }

  async #forgetAudit(): Promise<void> {
    const { store, log, auditRetentionDays } = this.#options
    const events = auditRetentionDays === undefined ? 0 : await store.audit?.forget(auditRetentionDays)
    if (events) log.info({ events, auditRetentionDays }, 'deleted old audit events')
  }

  async #dropUndelivered(): Promise<void> {
    const dropped = await this.#options.store.dropUndelivered()
    if (dropped > 0) this.#options.log.warn({ dropped }, 'deleted credentials that were not fetched in time')
  }

  /** Runs parts of a sweep at the same time. An error in one does not stop the others. */
  async #each(parts: readonly (() => Promise<void> | undefined)[], next: string): Promise<void> {
    const results = await Promise.allSettled(parts.map(async (part) => part()))
    for (const result of results) {
      if (result.status === 'rejected')
        this.#options.log.warn({ err: result.reason }, `a sweep failed; the next one is in ${next}`)
    }
  }

  /**
   * Revokes expired bindings, sends missing jobs, and lets the store tidy up. An error in one of these does not stop the
   * others.
   */
  async upkeep(): Promise<void> {
    const tidy = () => this.#options.store.tidy?.()
    await this.#each([() => this.#revoke(), () => this.sendMissingJobs(), tidy], 'a minute')
  }

  async #revoke(): Promise<void> {
    const revoked = await revokeExpired(this.#operations)
    if (revoked > 0) this.#options.log.info({ revoked }, 'revoking expired bindings')
  }

  /** An operation without a lease must have a job. Jobs can be lost with their table, which a backup may not include. */
  async sendMissingJobs(): Promise<void> {
    const { store, runner } = this.#options
    for (let after: string | undefined; ; ) {
      const page = await store.idle(IDLE_MS, after)
      for (const operation of page) await runner.ensure(operation)
      after = page.at(-1)?.operationId
      if (after === undefined || this.#ending.signal.aborted) return
    }
  }

  /** Lets the providers watch their instances. */
  watch(): Promise<void> {
    return this.#watches.run(this.#ending.signal)
  }

  /** Repairs the instances and reports what it finds; reports what only the store or only a provider knows. */
  async reconcile(): Promise<void> {
    const { store, providers, log } = this.#options
    const options = { log, heal: true, signal: this.#ending.signal }
    for await (const finding of repairInstances(this.#options, options)) {
      log.warn({ finding }, finding.healed ? 'repaired an instance' : 'an instance is not as it was agreed')
    }
    for (const orphan of await findOrphans(store, providers.values(), log)) log.warn({ orphan }, 'found an orphan')
  }

  #sweepQuietly(): void {
    if (this.#sweeping) return
    this.#sweeping = true
    this.sweep()
      .catch((error: unknown) => this.#options.log.warn({ err: error }, 'a sweep failed; it is tried again'))
      .finally(() => {
        this.#sweeping = false
      })
  }
}
