import type { Pool } from 'pg'
import type { JsonObject } from '../../../schemas/common.ts'
import type { Census } from '../../core/census.ts'
import { type TaskLog, Unavailable } from '../../core/provider.ts'
import {
  type Abandoned,
  type AuditTrail,
  type BindingRecord,
  type Claim,
  type ClaimResult,
  type Continuation,
  type Enqueue,
  type Finish,
  type InstanceRecord,
  LEASE_MS,
  type OperationRecord,
  type OwnBinding,
  type OwnResource,
  type Renewal,
  type Resumption,
  type Start,
  type StartResult,
  type Store
} from '../../core/store.ts'
import type { ExpiredBinding, Listing, StoredResource } from '../../core/stored-resource.ts'
import { auditTrail, makeAuditPartitions } from './audit.ts'
import { Batches } from './batches.ts'
import type { StoreContext } from './context.ts'
import { foldCounts } from './counts.ts'
import { isPlainCreate } from './create-many.ts'
import { finishOperation } from './finish.ts'
import { isPlainFinish } from './finish-many.ts'
import { HaltListener } from './halt-listener.ts'
import * as reads from './reads.ts'
import { type OperationRow, operationColumnNames, operationFrom } from './rows.ts'
import { tablesOf } from './schema.ts'
import { missingKids } from './sealed-texts.ts'
import type { Sealer } from './sealing.ts'
import { startOperation } from './start.ts'
import { census, listResources, plansInUse } from './survey.ts'
import { Sweeps } from './sweeps.ts'
import { queueMs, read } from './transactions.ts'
import { deliver } from './undelivered.ts'
import { UnfinishedOperations, unfinishedById } from './unfinished.ts'
import * as work from './work.ts'

export interface PostgresStoreOptions {
  /** Default: `osb`. It must have been migrated (see `migrate`). */
  schema?: string
  /** Encrypts credentials and providers' states. */
  sealer: Sealer
  /** How long a claim holds without a sign of life. Default: {@link LEASE_MS}. */
  leaseMs?: number
  log?: Pick<TaskLog, 'warn'>
}

/** Pools that have our listener already: it stays when the store closes, because a pool outlives it. */
const guarded = new WeakSet<Pool>()

/**
 * Keeps everything in PostgreSQL, for any number of replicas. The pool stays the caller's: it is not closed here.
 * Leases follow the clock of the server, so that replicas need not agree on the time.
 */
export class PostgresStore implements Store {
  readonly audit: AuditTrail
  readonly #context: StoreContext
  readonly #halts: HaltListener
  readonly #batches: Batches
  readonly #unfinished: UnfinishedOperations
  readonly #sweeps: Sweeps

  constructor(pool: Pool, { schema, sealer, leaseMs = LEASE_MS, log }: PostgresStoreOptions) {
    const tables = tablesOf(schema)
    this.#context = { pool, tables, sealer, leaseMs }
    this.audit = auditTrail(this.#context)
    this.#halts = new HaltListener({ pool, tables, log })
    this.#batches = new Batches(this.#context)
    this.#unfinished = new UnfinishedOperations(this.#context)
    this.#sweeps = new Sweeps(this.#context)
    if (guarded.has(pool)) return
    guarded.add(pool)
    // A pool that loses an idle connection emits `error`, which without a listener ends the process. The pool has
    // replaced the connection by then, and a call that needs one throws by itself.
    // The error drags its whole client along: only its words are logged. While the pool ends, losses are its purpose.
    pool.on('error', ({ message }) => {
      if (!pool.ending) log?.warn({ reason: message }, 'an idle connection to the database was lost')
    })
  }

  getInstance(instanceId: string): Promise<InstanceRecord | undefined> {
    return this.#batches.instance(instanceId)
  }

  getBinding(instanceId: string, bindingId: string): Promise<BindingRecord | undefined> {
    return reads.binding(this.#context, instanceId, bindingId)
  }

  listBindings(instanceId: string): Promise<BindingRecord[]> {
    return reads.bindings(this.#context, instanceId)
  }

  getOperation(operationId: string): Promise<OperationRecord | undefined> {
    return this.#batches.operation(operationId)
  }

  unfinishedOperation(instanceId: string, bindingId?: string): Promise<OperationRecord | undefined> {
    return reads.unfinishedOperation(this.#context, instanceId, bindingId)
  }

  unfinishedOperations(instanceId: string): Promise<OperationRecord[]> {
    return reads.unfinishedOperations(this.#context, instanceId)
  }

  latestOperation(of: OwnResource): Promise<OperationRecord | undefined> {
    return reads.latestOperation(this.#context, of)
  }

  plansInUse(): Promise<{ serviceId: string; planId: string }[]> {
    return plansInUse(this.#context)
  }

  async start(start: Start, enqueue: Enqueue): Promise<StartResult> {
    const result = isPlainCreate(start) ? await this.#batches.create({ start, enqueue }) : 'alone'
    return result === 'alone' ? startOperation(this.#context, start, enqueue) : result
  }

  claim(operationId: string, key?: string): Promise<ClaimResult> {
    return work.claimOperation(this.#context, operationId, key)
  }

  keepAlive(claim: Claim): Promise<Renewal> {
    return work.keepAlive(this.#context, claim)
  }

  saveState(claim: Claim, state: JsonObject, bindingId?: string): Promise<void> {
    return work.saveState(this.#context, claim, { state, bindingId })
  }

  progress(claim: Claim, description: string): Promise<void> {
    return work.progress(this.#context, claim, description)
  }

  removeBinding(claim: Claim, bindingId: string): Promise<void> {
    return work.removeBinding(this.#context, claim, bindingId)
  }

  async finish(claim: Claim, finish: Finish): Promise<boolean> {
    const result = isPlainFinish(finish) ? await this.#batches.finish(claim, finish) : 'alone'
    return result === 'alone' ? finishOperation(this.#context, claim, finish) : result
  }

  release(claim: Claim, resumption?: Resumption): Promise<void> {
    return work.release(this.#context, claim, resumption)
  }

  makeAsync(claim: Claim, continuation: Continuation, enqueue: Enqueue): Promise<boolean> {
    return work.makeAsync(this.#context, claim, { ...continuation, enqueue })
  }

  recentOperations(platform: string, instanceId: string, limit: number): Promise<OperationRecord[]> {
    return reads.recentOperations(this.#context, { platform, instanceId, limit })
  }

  deliver(of: OwnBinding): Promise<JsonObject | undefined> {
    return deliver(this.#context, of)
  }

  dropUndelivered(): Promise<number> {
    return this.#sweeps.dropUndelivered()
  }

  expiredBindings(): Promise<ExpiredBinding[]> {
    return this.#sweeps.expiredBindings()
  }

  listResources(provider: string, listing?: Listing): AsyncIterable<StoredResource> {
    return listResources(this.#context, provider, listing)
  }

  async abandoned(): Promise<Abandoned[]> {
    const { pool, tables } = this.#context
    const unfinished = await this.#unfinished.look()
    const ids = unfinished.filter(({ abandoned }) => abandoned).map(({ operationId }) => operationId)
    if (ids.length === 0) return []
    const rows = await read<OperationRow & { expired: boolean }>(
      pool,
      `SELECT ${operationColumnNames}, deadline <= clock_timestamp() AS expired FROM ${tables.operations}
      WHERE ${unfinishedById('$1')} AND coalesce(lease_until, deadline) <= clock_timestamp() ORDER BY seq`,
      [ids]
    )
    return rows.map((row) => ({ operation: operationFrom(row), expired: row.expired }))
  }

  async idle(idleMs: number, after?: string): Promise<OperationRecord[]> {
    const unfinished = await this.#unfinished.look()
    const ids = unfinished
      .filter(({ waiting, ageMs }) => waiting && ageMs >= idleMs)
      .map(({ operationId }) => operationId)
    return ids.length === 0 ? [] : reads.idleOperations(this.#context, ids, after)
  }

  forgetOperations(olderThanMs: number): Promise<number> {
    return this.#sweeps.forgetOperations(olderThanMs)
  }

  onHalt(listener: (operationId: string) => void): () => void {
    return this.#halts.add(listener)
  }

  async census(): Promise<Census> {
    return census(this.#context, await this.#unfinished.look())
  }

  async tidy(): Promise<void> {
    await foldCounts(this.#context)
    await makeAuditPartitions(this.#context)
  }

  /**
   * The kids of stored texts that there is no key for.
   * @throws {EncryptionKeysError} when a key is another one than that of the same kid before
   */
  missingKids(): Promise<string[]> {
    return missingKids(this.#context)
  }

  async health(): Promise<void> {
    const { pool, tables } = this.#context
    const [row] = await read<{ read_only: string; migrated: boolean }>(
      pool,
      `SELECT current_setting('transaction_read_only') AS read_only, to_regclass($1) IS NOT NULL AS migrated`,
      [tables.operations]
    )
    if (row?.read_only !== 'off') throw new Unavailable('The database of the broker takes no writes at the moment.')
    if (!row.migrated) throw new Unavailable('The database of the broker has not been migrated.')
  }

  /** How long requests that want something of the store have to expect to wait for their turn, in milliseconds. */
  queueMs(): number {
    return Math.max(queueMs(this.#context.pool), this.#batches.queueMs())
  }

  /** Stops listening. The pool is the caller's to end. */
  close(): Promise<void> {
    return this.#halts.close()
  }
}
