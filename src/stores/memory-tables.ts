import type { JsonObject } from '../../schemas/common.ts'
import type { Census, OperationCount, ResourceCount } from '../core/census.ts'
import type {
  BindingRecord,
  InstancePatch,
  InstanceRecord,
  OperationRecord,
  OperationStart,
  OwnResource,
  Start
} from '../core/store.ts'
import type { ExpiredBinding } from '../core/stored-resource.ts'
import type { Undelivered } from '../core/undelivered.ts'
import { HALTED, type Situation } from './admission.ts'
import { copy } from './copy.ts'

/** The records of a {@link MemoryStore}, and the writes that touch several of them. Nothing in here waits. */
export class MemoryTables {
  readonly instances = new Map<string, InstanceRecord>()
  readonly bindings = new Map<string, Map<string, BindingRecord>>()
  readonly operations = new Map<string, OperationRecord>()
  /** By resource: spares a walk over a week of operations. */
  readonly unfinished = new Map<string, OperationRecord>()
  /** By platform and resource. */
  readonly latest = new Map<string, OperationRecord>()
  /** Beside the records, so that no reader of one has them; gone with the binding. */
  readonly #undelivered = new WeakMap<BindingRecord, JsonObject>()
  readonly #now: () => Date
  readonly #leaseMs: number

  constructor(now: () => Date, leaseMs: number) {
    this.#now = now
    this.#leaseMs = leaseMs
  }

  situation({ operation: { platform, instanceId, bindingId }, quota }: Start): Situation {
    return {
      ...(quota === undefined ? {} : { counted: this.#counted(platform, quota.planId) }),
      instance: this.instances.get(instanceId)?.status,
      binding: bindingId === undefined ? undefined : this.bindings.get(instanceId)?.get(bindingId)?.status,
      unfinished: this.unfinishedOf(instanceId)
    }
  }

  unfinishedOf(instanceId: string): OperationRecord[] {
    const found: OperationRecord[] = []
    for (const operation of this.unfinished.values()) if (operation.instanceId === instanceId) found.push(operation)
    return found
  }

  /** Asynchronous operations without a lease that are at least so old. */
  idle(idleMs: number, after?: string): OperationRecord[] {
    const since = this.#now().getTime() - idleMs
    const all = [...this.unfinished.values()]
    const from = after === undefined ? 0 : all.findIndex(({ operationId }) => operationId === after) + 1
    const isIdle = (operation: OperationRecord) =>
      operation.async && operation.leaseUntil === undefined && operation.createdAt.getTime() <= since
    return all.slice(from).filter(isIdle)
  }

  expiredBindings(): ExpiredBinding[] {
    const now = this.#now()
    const all = [...this.bindings.values()].flatMap((ofInstance) => [...ofInstance.values()])
    return all.flatMap(({ status, expiresAt, revokedAt, instanceId, bindingId, platform }) => {
      const expired = status === 'ready' && revokedAt === undefined && expiresAt !== undefined && expiresAt <= now
      const busy = [{ instanceId }, { instanceId, bindingId }].some((ids) => this.unfinished.has(resourceKey(ids)))
      const instance = this.instances.get(instanceId)
      if (!expired || busy || instance === undefined) return []
      const { provider, serviceId, planId } = instance
      return [{ instanceId, bindingId, platform, provider, serviceId, planId }]
    })
  }

  /** Instances of the platform that count for a quota of the plan. */
  #counted(platform: string, planId: string): number {
    const counts = (instance: InstanceRecord): boolean => {
      const unfinished = this.unfinished.get(resourceKey({ instanceId: instance.instanceId }))
      if (unfinished?.target?.planId === planId) return true
      return instance.planId === planId && (instance.status !== 'failed' || unfinished !== undefined)
    }
    return [...this.instances.values()].filter((instance) => instance.platform === platform && counts(instance)).length
  }

  /** Writes an admitted start; returns the way to undo it. */
  write(start: Start): () => void {
    const { operation: added, insertInstance, insertBinding, retryCreate } = copy(start)
    const operation = this.#recordOf(added)
    const key = resourceKey(operation)
    const { instanceId, bindingId } = operation
    const halted = operation.halts === undefined ? undefined : this.operations.get(operation.halts)
    const haltedBefore = copy(halted)
    const platformKey = latestKey(operation)
    const latestBefore = this.latest.get(platformKey)

    if (halted !== undefined) {
      Object.assign(halted, { state: 'failed', description: HALTED, finishedAt: this.#now() })
      this.unfinished.delete(resourceKey(halted))
    }
    if (insertInstance !== undefined) this.instances.set(instanceId, insertInstance)
    if (insertBinding !== undefined) this.#bindingsOf(instanceId).set(insertBinding.bindingId, insertBinding)
    const resource =
      bindingId === undefined ? this.instances.get(instanceId) : this.bindings.get(instanceId)?.get(bindingId)
    const resourceBefore = resource && { status: resource.status, updatedAt: resource.updatedAt }
    const ended = halted?.kind === 'provision' || halted?.kind === 'bind'
    const status = ended ? 'failed' : retryCreate === true ? 'creating' : undefined
    if (resource !== undefined && status !== undefined) Object.assign(resource, { status, updatedAt: this.#now() })
    this.operations.set(operation.operationId, operation)
    this.unfinished.set(key, operation)
    if (!operation.internal) this.latest.set(platformKey, operation)

    return () => {
      this.operations.delete(operation.operationId)
      this.unfinished.delete(key)
      if (latestBefore === undefined) this.latest.delete(platformKey)
      else this.latest.set(platformKey, latestBefore)
      if (resource !== undefined) Object.assign(resource, resourceBefore)
      if (insertInstance !== undefined) this.instances.delete(instanceId)
      if (insertBinding !== undefined) this.#bindingsOf(instanceId).delete(insertBinding.bindingId)
      if (halted === undefined) return
      delete halted.description
      delete halted.finishedAt
      Object.assign(halted, haltedBefore)
      this.unfinished.set(resourceKey(halted), halted)
    }
  }

  #recordOf({ maximumMs, claimed, ...fields }: OperationStart): OperationRecord {
    const now = this.#now()
    return {
      ...fields,
      state: 'in progress',
      ageMs: 0,
      attempt: claimed ? 1 : 0,
      createdAt: now,
      deadline: new Date(now.getTime() + maximumMs),
      ...(claimed ? { startedAt: now, leaseUntil: this.nextLease() } : {})
    }
  }

  /** Whether the provider has saved a state for the resource of an operation. */
  hasState({ instanceId, bindingId }: OperationRecord): boolean {
    const resource =
      bindingId === undefined ? this.instances.get(instanceId) : this.bindings.get(instanceId)?.get(bindingId)
    return resource?.state !== undefined
  }

  /** Removes the resource of an operation. */
  remove(operation: OperationRecord): void {
    if (operation.bindingId === undefined) this.applyToInstance(operation, 'remove')
    else this.applyToBinding(operation, 'remove')
  }

  applyToInstance({ instanceId }: OperationRecord, change: InstancePatch | 'remove'): void {
    const record = this.instances.get(instanceId)
    if (change === 'remove') {
      this.instances.delete(instanceId)
      this.bindings.delete(instanceId)
    } else if (record !== undefined) {
      const { maintenanceVersion, ...rest } = change
      Object.assign(record, { updatedAt: this.#now() }, defined(rest), { instanceId })
      if (typeof maintenanceVersion === 'string') record.maintenanceVersion = maintenanceVersion
      if (maintenanceVersion === null) delete record.maintenanceVersion
    }
  }

  applyToBinding(
    { instanceId, bindingId }: OperationRecord,
    change: Partial<BindingRecord> | 'remove',
    undelivered?: Undelivered
  ): void {
    if (bindingId === undefined) return
    const record = this.bindings.get(instanceId)?.get(bindingId)
    if (change === 'remove') this.bindings.get(instanceId)?.delete(bindingId)
    else if (record !== undefined) {
      Object.assign(record, { updatedAt: this.#now() }, defined(change), { instanceId, bindingId })
      if (undelivered === undefined) return
      record.undeliveredUntil = new Date(this.#now().getTime() + undelivered.forMs)
      this.#undelivered.set(record, undelivered.credentials)
    }
  }

  /** The credentials that wait on a binding; afterwards there are none. */
  takeUndelivered(record: BindingRecord): JsonObject | undefined {
    const credentials = this.#undelivered.get(record)
    this.#undelivered.delete(record)
    delete record.undeliveredUntil
    return credentials
  }

  #bindingsOf(instanceId: string): Map<string, BindingRecord> {
    const bindings = this.bindings.get(instanceId) ?? new Map<string, BindingRecord>()
    this.bindings.set(instanceId, bindings)
    return bindings
  }

  /** A copy of `operation` for a caller, with its age by the clock of the store. */
  read<Operation extends OperationRecord | undefined>(operation: Operation): Operation {
    const copied = copy(operation)
    if (copied !== undefined) copied.ageMs = this.#now().getTime() - copied.createdAt.getTime()
    return copied
  }

  plansInUse(): { serviceId: string; planId: string }[] {
    const plans = new Map<string, { serviceId: string; planId: string }>()
    const add = (serviceId: string, planId: string) =>
      plans.set(JSON.stringify([serviceId, planId]), { serviceId, planId })
    for (const { instanceId, serviceId, planId, status } of this.instances.values()) {
      if (status === 'failed') continue
      add(serviceId, planId)
      const target = this.unfinished.get(resourceKey({ instanceId }))?.target
      if (target !== undefined) add(serviceId, target.planId)
    }
    return [...plans.values()]
  }

  census(): Census {
    const waiting = ({ leaseUntil }: OperationRecord) => leaseUntil === undefined || leaseUntil <= this.#now()
    const operations = new Map<string, OperationCount>()
    let oldest: number | undefined
    for (const operation of this.unfinished.values()) {
      count(operations, { kind: operation.kind, waiting: waiting(operation) })
      const age = Math.max(0, this.#now().getTime() - operation.createdAt.getTime())
      if (waiting(operation) && age >= (oldest ?? 0)) oldest = age
    }
    const bindings = [...this.bindings.values()].flatMap((ofInstance) => [...ofInstance.values()])
    return {
      operations: [...operations.values()],
      ...(oldest === undefined ? {} : { oldestWaitingMs: oldest }),
      instances: countPlans(this.instances.values()),
      bindings: countPlans(bindings)
    }
  }

  nextLease(): Date {
    return new Date(this.#now().getTime() + this.#leaseMs)
  }
}

function countPlans(records: Iterable<InstanceRecord | BindingRecord>): ResourceCount[] {
  const counts = new Map<string, ResourceCount>()
  for (const { serviceId, planId, status } of records) count(counts, { serviceId, planId, status })
  return [...counts.values()]
}

/** Counts one more of what has these labels. */
function count<Labels extends object>(counts: Map<string, Labels & { count: number }>, labels: Labels): void {
  const key = JSON.stringify(labels)
  counts.set(key, { ...labels, count: (counts.get(key)?.count ?? 0) + 1 })
}

export function resourceKey({ instanceId, bindingId }: { instanceId: string; bindingId?: string | undefined }): string {
  // With the length of the first, so that no two resources have the same key.
  const own = `${instanceId.length}:${instanceId}`
  return bindingId === undefined ? own : `${own}:${bindingId}`
}

export function latestKey(of: OwnResource): string {
  return `${of.platform.length}:${of.platform}:${resourceKey(of)}`
}

/** Without the fields that are `undefined`: absent fields stay as they are. */
export function defined<T extends object>(fields: T): Partial<T> {
  const own: Partial<T> = { ...fields }
  for (const key in own) if (own[key] === undefined) delete own[key]
  return own
}
