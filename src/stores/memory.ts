import type { JsonObject } from '../../schemas/common.ts'
import type { Census } from '../core/census.ts'
import { StaleAttempt } from '../core/provider.ts'
import {
  type Abandoned,
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
    return this.#withExpiry(copy(this.#tables.bindings.get(instanceId)?.get(bindingId)))
  }

  async listBindings(instanceId: string): Promise<BindingRecord[]> {
    const bindings = copy([...(this.#tables.bindings.get(instanceId)?.values() ?? [])])
    return bindings.map((binding) => this.#withExpiry(binding))
  }

  async getOperation(operationId: string): Promise<OperationRecord | undefined> {
    return this.#tables.read(this.#tables.operations.get(operationId))
  }

  async unfinishedOperation(instanceId: string, bindingId?: string): Promise<OperationRecord | undefined> {
    return this.#tables.read(this.#tables.unfinished.get(resourceKey({ instanceId, bindingId })))
  }

  async unfinishedOperations(instanceId: string): Promise<OperationRecord[]> {
    return this.#tables.unfinishedOf(instanceId).map((operation) => this.#tables.read(operation))
  }

  async latestOperation(of: OwnResource): Promise<OperationRecord | undefined> {
    return this.#tables.read(this.#tables.latest.get(latestKey(of)))
  }

  async plansInUse(): Promise<{ serviceId: string; planId: string }[]> {
    return this.#tables.plansInUse()
  }

  async start(start: Start, enqueue: Enqueue): Promise<StartResult> {
    const result = admit(start, this.#tables.situation(start))
    if (result !== 'started') return result
    // A repetition of a start whose operation has ended.
    if (this.#tables.operations.has(start.operation.operationId)) return 'started'
    const undo = this.#tables.write(start)
    try {
      await enqueue(start.operation, undefined)
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
    if (this.#isLeased(operation)) return { kind: 'held' }
    if (halted !== undefined && this.#isLeased(halted)) return { kind: 'waiting' }
    const now = this.#now()
    const { attempt, halts, deadline, createdAt } = operation
    if (attempt === 0 && halts !== undefined) {
      operation.deadline = new Date(now.getTime() + deadline.getTime() - createdAt.getTime())
    }
    operation.attempt += 1
    operation.leaseUntil = this.#tables.nextLease()
    operation.startedAt ??= now
    return {
      kind: 'claimed',
      operation: this.#tables.read(operation),
      remainingMs: operation.deadline.getTime() - now.getTime()
    }
  }

  async keepAlive({ operationId, attempt }: Claim): Promise<Renewal> {
    const operation = this.#tables.operations.get(operationId)
    // A released lease stays released.
    if (operation?.attempt !== attempt || operation.leaseUntil === undefined) return 'lost'
    const unfinished = operation.state === 'in progress'
    if (!unfinished && !this.#isLeased(operation)) return 'lost'
    operation.leaseUntil = this.#tables.nextLease()
    return unfinished ? 'kept' : 'halted'
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
    const { undo, ...written } = finish
    const { instance, binding, undelivered, ...outcome } = copy(written)
    delete operation.description
    delete operation.leaseUntil
    Object.assign(operation, defined(outcome), { finishedAt: this.#now() })
    this.#tables.unfinished.delete(resourceKey(operation))
    if (undo !== undefined && undo.operation.kind !== 'update' && !this.#tables.hasState(operation)) {
      this.#tables.remove(operation)
      return true
    }
    if (instance !== undefined) this.#tables.applyToInstance(operation, instance)
    if (binding !== undefined) this.#tables.applyToBinding(operation, binding, undelivered)
    if (undo === undefined) return true
    this.#tables.write({ operation: undo.operation })
    await undo.enqueue(undo.operation, undefined)
    return true
  }

  async release(claim: Claim, resumption?: Resumption): Promise<void> {
    const operation = this.#tables.operations.get(claim.operationId)
    if (operation?.attempt !== claim.attempt) return
    delete operation.leaseUntil
    if (resumption === undefined || operation.state !== 'in progress') return
    if (resumption.description !== undefined) operation.description = resumption.description
    await resumption.enqueue(copy(operation), undefined, resumption.delayMs)
  }

  async makeAsync(claim: Claim, { maximumMs, unreported }: Continuation, enqueue: Enqueue): Promise<boolean> {
    const operation = this.#fence(claim)
    if (operation === undefined) return false
    const before = { async: operation.async, deadline: operation.deadline }
    Object.assign(operation, { async: true, deadline: new Date(this.#now().getTime() + maximumMs) })
    if (unreported) operation.unreported = true
    try {
      // A claimed operation has a worker already.
      if (claim.attempt === 0) await enqueue(copy(operation), undefined)
    } catch (error) {
      Object.assign(operation, before)
      delete operation.unreported
      throw error
    }
    return true
  }

  async recentOperations(platform: string, instanceId: string, limit: number): Promise<OperationRecord[]> {
    const all = [...this.#tables.operations.values()].reverse()
    const matching = all.filter(
      (operation) => operation.platform === platform && operation.instanceId === instanceId && !operation.internal
    )
    return matching.slice(0, limit).map((operation) => this.#tables.read(operation))
  }

  async deliver({ platform, instanceId, bindingId }: OwnBinding): Promise<JsonObject | undefined> {
    const record = this.#tables.bindings.get(instanceId)?.get(bindingId)
    if (record?.platform !== platform) return undefined
    if (record.undeliveredUntil === undefined || record.undeliveredUntil <= this.#now()) return undefined
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
    return this.#tables.expiredBindings()
  }

  async *listResources(provider: string, { plans, bindings = true }: Listing = {}): AsyncGenerator<StoredResource> {
    for (const { provider: maker, ...instance } of [...this.#tables.instances.values()]) {
      if (maker !== provider || plans?.includes(instance.planId) === false) continue
      yield copy(instance)
      if (!bindings) continue
      for (const binding of await this.listBindings(instance.instanceId)) yield binding
    }
  }

  async abandoned(): Promise<Abandoned[]> {
    const now = this.#now()
    const wanted = ({ leaseUntil, deadline }: OperationRecord) => (leaseUntil ?? deadline) <= now
    const operations = [...this.#tables.unfinished.values()].filter(wanted)
    return operations.map((operation) => ({
      operation: this.#tables.read(operation),
      expired: operation.deadline <= now
    }))
  }

  async idle(idleMs: number, after?: string): Promise<OperationRecord[]> {
    return this.#tables.idle(idleMs, after).map((operation) => this.#tables.read(operation))
  }

  async forgetOperations(olderThanMs: number): Promise<number> {
    const before = new Date(this.#now().getTime() - olderThanMs)
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

  #withExpiry<Binding extends BindingRecord | undefined>(binding: Binding): Binding {
    if (binding?.expiresAt !== undefined && binding.expiresAt <= this.#now()) binding.expired = true
    return binding
  }

  #isLeased({ leaseUntil }: OperationRecord): boolean {
    return leaseUntil !== undefined && leaseUntil > this.#now()
  }
}
