import type { JsonObject } from '../../schemas/common.ts'
import type { Census } from '../core/census.ts'
import { StaleAttempt } from '../core/provider.ts'
import {
  type BindingRecord,
  type Claim,
  type ClaimResult,
  type Enqueue,
  type Finish,
  type InstanceRecord,
  LEASE_MS,
  type OperationRecord,
  type OwnResource,
  type Start,
  type StartResult,
  type Store
} from '../core/store.ts'
import type { ExpiredBinding, Listing, StoredResource } from '../core/stored-resource.ts'
import { admit } from './admission.ts'
import { copy } from './copy.ts'
import { defined, latestKey, MemoryTables, resourceKey } from './memory-tables.ts'

export interface MemoryStoreOptions {
  /** Default: the clock of the process. */
  now?: () => Date
  /** How long a claim holds without a sign of life. Default: {@link LEASE_MS}. */
  leaseMs?: number
}

/**
 * Keeps everything in one process, for tests and for embedding without a database. It is atomic because nothing is
 * awaited between a check and its write. Everything is lost with the process, and other replicas do not see it.
 */
export class MemoryStore implements Store {
  readonly #tables: MemoryTables
  readonly #listeners = new Set<(operationId: string) => void>()
  readonly #now: () => Date

  constructor({ now = () => new Date(), leaseMs = LEASE_MS }: MemoryStoreOptions = {}) {
    this.#now = now
    this.#tables = new MemoryTables(now, leaseMs)
  }

  async getInstance(instanceId: string): Promise<InstanceRecord | undefined> {
    return copy(this.#tables.instances.get(instanceId))
  }

  async getBinding(instanceId: string, bindingId: string): Promise<BindingRecord | undefined> {
    return copy(this.#tables.bindings.get(instanceId)?.get(bindingId))
  }

  async listBindings(instanceId: string): Promise<BindingRecord[]> {
    return copy([...(this.#tables.bindings.get(instanceId)?.values() ?? [])])
  }

  async getOperation(operationId: string): Promise<OperationRecord | undefined> {
    return copy(this.#tables.operations.get(operationId))
  }

  async unfinishedOperation(instanceId: string, bindingId?: string): Promise<OperationRecord | undefined> {
    return copy(this.#tables.unfinished.get(resourceKey({ instanceId, bindingId })))
  }

  async latestOperation(of: OwnResource): Promise<OperationRecord | undefined> {
    return copy(this.#tables.latest.get(latestKey(of)))
  }

  async plansInUse(): Promise<{ serviceId: string; planId: string }[]> {
    const plans = new Map<string, { serviceId: string; planId: string }>()
    const add = (serviceId: string, planId: string) =>
      plans.set(JSON.stringify([serviceId, planId]), { serviceId, planId })
    for (const { instanceId, serviceId, planId, status } of this.#tables.instances.values()) {
      if (status === 'failed') continue
      add(serviceId, planId)
      const target = this.#tables.unfinished.get(resourceKey({ instanceId }))?.target
      if (target !== undefined) add(serviceId, target.planId)
    }
    return [...plans.values()]
  }

  async start(start: Start, enqueue: Enqueue): Promise<StartResult> {
    const result = admit(start, this.#tables.situation(start))
    if (result !== 'started') return result
    if (this.#tables.operations.has(start.operation.operationId)) {
      throw new Error(`There is an operation ${start.operation.operationId} already.`)
    }
    const undo = this.#tables.write(start)
    try {
      await enqueue(copy(this.#tables.operations.get(start.operation.operationId) ?? start.operation), undefined)
    } catch (error) {
      undo()
      throw error
    }
    const { halts } = start.operation
    if (halts !== undefined) for (const listener of this.#listeners) queueMicrotask(() => listener(halts))
    return 'started'
  }

  async claim(operationId: string): Promise<ClaimResult> {
    const operation = this.#tables.operations.get(operationId)
    if (operation?.state !== 'in progress') return { kind: 'finished' }
    const halted = operation.halts === undefined ? undefined : this.#tables.operations.get(operation.halts)
    if (this.#isLeased(operation) || (halted !== undefined && this.#isLeased(halted))) return { kind: 'held' }
    operation.attempt += 1
    operation.leaseUntil = this.#tables.nextLease()
    operation.startedAt ??= this.#now()
    return { kind: 'claimed', operation: copy(operation) }
  }

  async keepAlive(claim: Claim): Promise<boolean> {
    const operation = this.#fence(claim)
    // A heartbeat that comes after the release must not take the operation back.
    if (operation?.leaseUntil === undefined) return false
    operation.leaseUntil = this.#tables.nextLease()
    return true
  }

  async saveState(claim: Claim, state: JsonObject, bindingId?: string): Promise<void> {
    const { instanceId, bindingId: own } = this.#fenceOrThrow(claim)
    const named = bindingId ?? own
    const record =
      named === undefined ? this.#tables.instances.get(instanceId) : this.#tables.bindings.get(instanceId)?.get(named)
    if (record !== undefined) Object.assign(record, { state: copy(state), updatedAt: this.#now() })
  }

  async progress(claim: Claim, description: string): Promise<void> {
    this.#fenceOrThrow(claim).description = description
  }

  async removeBinding(claim: Claim, bindingId: string): Promise<void> {
    this.#tables.bindings.get(this.#fenceOrThrow(claim).instanceId)?.delete(bindingId)
  }

  async finish(claim: Claim, finish: Finish): Promise<boolean> {
    const operation = this.#fence(claim)
    if (operation === undefined) return false
    const { instance, binding, undelivered, ...outcome } = copy(finish)
    delete operation.description
    delete operation.leaseUntil
    Object.assign(operation, defined(outcome), { finishedAt: this.#now() })
    this.#tables.unfinished.delete(resourceKey(operation))
    if (instance !== undefined) this.#tables.applyToInstance(operation, instance)
    if (binding !== undefined) this.#tables.applyToBinding(operation, binding, undelivered)
    return true
  }

  async release(claim: Claim, retry?: { description: string }): Promise<void> {
    const operation = this.#tables.operations.get(claim.operationId)
    if (operation?.attempt !== claim.attempt) return
    delete operation.leaseUntil
    if (retry !== undefined && operation.state === 'in progress') operation.description = retry.description
  }

  async makeAsync(claim: Claim, deadline: Date, enqueue: Enqueue): Promise<boolean> {
    const operation = this.#fence(claim)
    if (operation === undefined) return false
    const before = { async: operation.async, deadline: operation.deadline }
    Object.assign(operation, { async: true, deadline: copy(deadline) })
    try {
      // What is asynchronous already is the runner's already: enqueueing it twice would run it twice.
      if (!before.async) await enqueue(copy(operation), undefined)
    } catch (error) {
      Object.assign(operation, before)
      throw error
    }
    return true
  }

  async recentOperations(platform: string, instanceId: string, limit: number): Promise<OperationRecord[]> {
    const all = [...this.#tables.operations.values()].reverse()
    const matching = all.filter(
      (operation) => operation.platform === platform && operation.instanceId === instanceId && !operation.internal
    )
    return copy(matching.slice(0, limit))
  }

  async deliver(instanceId: string, bindingId: string): Promise<JsonObject | undefined> {
    const record = this.#tables.bindings.get(instanceId)?.get(bindingId)
    if (record?.undeliveredUntil === undefined || record.undeliveredUntil <= this.#now()) return undefined
    return this.#tables.takeUndelivered(record)
  }

  async dropUndelivered(): Promise<number> {
    const now = this.#now()
    const all = [...this.#tables.bindings.values()].flatMap((bindings) => [...bindings.values()])
    const overdue = all.filter(({ undeliveredUntil }) => undeliveredUntil !== undefined && undeliveredUntil <= now)
    for (const record of overdue) this.#tables.takeUndelivered(record)
    return overdue.length
  }

  async expiredBindings(): Promise<ExpiredBinding[]> {
    const now = this.#now()
    const expired = ({ status, expiresAt, revokedAt, ...ids }: BindingRecord) =>
      status === 'ready' &&
      expiresAt !== undefined &&
      expiresAt <= now &&
      revokedAt === undefined &&
      !this.#tables.unfinished.has(resourceKey(ids))
    const all = [...this.#tables.bindings.values()].flatMap((bindings) => [...bindings.values()])
    return all.filter(expired).map(({ instanceId, bindingId, platform }) => ({ instanceId, bindingId, platform }))
  }

  async *listResources(provider: string, { plans, bindings = true }: Listing = {}): AsyncGenerator<StoredResource> {
    for (const { provider: maker, ...instance } of [...this.#tables.instances.values()]) {
      if (maker !== provider || plans?.includes(instance.planId) === false) continue
      yield copy(instance)
      if (!bindings) continue
      for (const binding of await this.listBindings(instance.instanceId)) yield binding
    }
  }

  async abandoned(): Promise<OperationRecord[]> {
    const now = this.#now()
    const wanted = ({ leaseUntil, deadline }: OperationRecord) => (leaseUntil ?? deadline) <= now
    return copy([...this.#tables.unfinished.values()].filter(wanted))
  }

  async forgetOperations(before: Date): Promise<number> {
    let forgotten = 0
    for (const [operationId, operation] of this.#tables.operations) {
      if (operation.finishedAt === undefined || operation.finishedAt >= before) continue
      this.#tables.operations.delete(operationId)
      const key = latestKey(operation)
      if (this.#tables.latest.get(key) === operation) this.#tables.latest.delete(key)
      forgotten += 1
    }
    return forgotten
  }

  onHalt(listener: (operationId: string) => void): () => void {
    // A function of its own for each call, so that one listener given twice is stopped once for each.
    const entry = (operationId: string) => listener(operationId)
    this.#listeners.add(entry)
    return () => {
      this.#listeners.delete(entry)
    }
  }

  async census(): Promise<Census> {
    return this.#tables.census()
  }

  async health(): Promise<void> {}

  async close(): Promise<void> {
    this.#listeners.clear()
  }

  #fence({ operationId, attempt }: Claim): OperationRecord | undefined {
    const operation = this.#tables.operations.get(operationId)
    return operation?.state === 'in progress' && operation.attempt === attempt ? operation : undefined
  }

  #fenceOrThrow(claim: Claim): OperationRecord {
    const operation = this.#fence(claim)
    if (operation === undefined) throw new StaleAttempt(claim.operationId)
    return operation
  }

  #isLeased({ leaseUntil }: OperationRecord): boolean {
    return leaseUntil !== undefined && leaseUntil > this.#now()
  }
}
