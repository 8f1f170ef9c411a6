import type { JsonObject } from '../../schemas/common.ts'
import type { BindingReply } from '../../schemas/service-binding.ts'
import type { ServiceInstanceMetadata } from '../../schemas/service-instance.ts'
import type { Census } from './census.ts'
import type {
  Abandoned,
  Claim,
  ClaimResult,
  Continuation,
  Enqueue,
  OperationFailure,
  OperationRecord,
  OperationStart,
  Renewal,
  Resumption,
  UndoStart
} from './operation.ts'
import type { ExpiredBinding, Listing, StoredResource } from './stored-resource.ts'
import type { Deliveries, Undelivered } from './undelivered.ts'

export type * from './operation.ts'
export type { OwnBinding } from './undelivered.ts'

/*
 * Terms
 *   resource    an instance, or a binding of one
 *   operation   one provision, update, deprovision, bind or unbind of a resource; unfinished while `in progress`
 *   attempt     one try at an operation; each claim raises it
 *   claim       the right to work on an operation: its id and attempt. Every write of a worker is fenced on both, so a
 *               worker that was frozen and taken over changes nothing when it wakes up
 *   lease       how long a claim holds without being renewed
 *   halt        a delete cancels an unfinished create or update of the same resource and takes its place
 *   job         a request to the runner to work on an operation. An unfinished operation has a lease or a job: the worker
 *               that gives up a lease without ending the operation sends a job in the same transaction
 */

/** How long a claim holds without being renewed. Shorter than pg-boss's shortest heartbeat (10 s). */
export const LEASE_MS = 9_000

/** `creating` until the first success; `failed` when that did not come: invisible to a fetch, removable by a delete. */
export type ResourceStatus = 'creating' | 'ready' | 'failed'

/** A service instance as it is stored. */
export interface InstanceRecord {
  instanceId: string
  /** Name of the platform that made it; to any other it does not exist. */
  platform: string
  /** Name of the provider that made it: a delete must find it when the catalog has changed. */
  provider: string
  serviceId: string
  planId: string
  organizationGuid: string
  spaceGuid: string
  context: JsonObject
  parameters: JsonObject
  maintenanceVersion?: string
  status: ResourceStatus
  dashboardUrl?: string
  metadata?: ServiceInstanceMetadata
  /** The provider's saved state; encrypted at rest. */
  state?: JsonObject
  createdAt: Date
  updatedAt: Date
}

/** A service binding as it is stored. */
export interface BindingRecord {
  instanceId: string
  bindingId: string
  platform: string
  serviceId: string
  planId: string
  appGuid?: string
  route?: string
  context: JsonObject
  parameters: JsonObject
  predecessorBindingId?: string
  status: ResourceStatus
  /** The answer of the bind, with the credentials where the plan keeps them; encrypted at rest. */
  reply?: BindingReply
  /** Until when credentials of a plan that keeps none wait for the first fetch; absent when there are none. */
  undeliveredUntil?: Date
  /** The provider's saved state; encrypted at rest. */
  state?: JsonObject
  expiresAt?: Date
  /** Set when `expiresAt` has passed on the clock of the store. Never written. */
  expired?: true
  /** When the broker itself revoked the credentials, because they had expired. The platform still has to unbind. */
  revokedAt?: Date
  createdAt: Date
  updatedAt: Date
}

/** A resource, as the platform that asks for it knows it. */
export type OwnResource = Pick<OperationRecord, 'platform' | 'instanceId' | 'bindingId'>

/** Everything one operation start writes, in one transaction. */
export interface Start {
  operation: OperationStart
  /** Provision of an unknown instance: fails `changed` when the id is taken. */
  insertInstance?: InstanceRecord
  /** Bind of an unknown binding: fails `changed` when the id is taken. */
  insertBinding?: BindingRecord
  /** Provision or bind again after a failure: back to `creating`; fails `changed` unless it is `failed`. */
  retryCreate?: boolean
  /** Provision, or update to another plan: fails `full` when no place of the plan is free. */
  quota?: Quota
}

/** How many instances of a plan the platform of an operation may have at once. */
export interface Quota {
  planId: string
  instances: number
}

/**
 * `started`: all of it is committed. `busy`: nothing was written, another operation on the resource is unfinished.
 * `changed`: nothing was written, what the decision was made on has changed meanwhile: read again. `full`: nothing was
 * written, the quota is used up; only what could start otherwise is `full`.
 */
export type StartResult = 'started' | 'busy' | 'changed' | 'full'

/** Fields of an instance that change; `null` takes a version away. */
export type InstancePatch = Omit<Partial<InstanceRecord>, 'maintenanceVersion'> & { maintenanceVersion?: string | null }

/** What the end of an operation writes, in one transaction. Fields of the resource that are absent stay. */
export interface Finish {
  state: 'succeeded' | 'failed'
  description?: string
  failure?: OperationFailure
  instanceUsable?: boolean
  updateRepeatable?: boolean
  instance?: InstancePatch | 'remove'
  binding?: Partial<BindingRecord> | 'remove'
  /** Credentials of a bind that are handed over once, by {@link Deliveries.deliver}; encrypted at rest until then. */
  undelivered?: Undelivered
  /**
   * Starts a further operation on the same resource in the same transaction, so that no failure can lie between the two. The
   * undo of a provision or a bind starts only if a state was saved; otherwise nothing was made and the resource is removed.
   */
  undo?: UndoStart
}

/** What else is done with an audit; that `start`, a halt and `finish` each leave an event in it needs no call. */
export interface AuditTrail {
  /** Adds that the broker healed an instance. The description is kept as it is: it must hold no secret. */
  noteRepair(instanceId: string, description: string): Promise<void>
  /** Adds that a provider acted against the tenant of an instance to protect others. The description must hold no secret. */
  noteGuard(instanceId: string, description: string): Promise<void>
  /** Deletes the events that are older; says how many. */
  forget(daysToKeep: number): Promise<number>
}

/**
 * Where instances, bindings and operations are kept. Every method is atomic. Records that come out are copies.
 *
 * Guarantees that every store gives and `test/stores/contract.ts` checks:
 * - at most one unfinished operation for a resource; none on a binding beside an unfinished one of its instance, and
 *   the other way round (bindings of one instance may change side by side);
 * - a fenced write (one that takes a {@link Claim}) changes something only while the operation is unfinished and the
 *   claim is the newest; it throws `StaleAttempt` otherwise, except {@link Store.keepAlive}, which answers `lost`, and
 *   {@link Store.finish} and {@link Store.makeAsync}, which answer `false`;
 * - what `start` and `finish` write is durable before they answer;
 * - a platform never has more instances of a plan by starts with a quota than that quota, however many start at once: an
 *   instance counts for its plan while it is `creating`, `ready` or being deleted, and for the plan that its unfinished
 *   update asks for.
 *
 * Methods throw `Unavailable` when the store cannot be reached.
 */
export interface Store extends Deliveries {
  /** Absent where none is kept: an audit that ends with the process would be none. */
  readonly audit?: AuditTrail
  getInstance(instanceId: string): Promise<InstanceRecord | undefined>
  getBinding(instanceId: string, bindingId: string): Promise<BindingRecord | undefined>
  /** Bindings of the instance, oldest first. */
  listBindings(instanceId: string): Promise<BindingRecord[]>
  getOperation(operationId: string): Promise<OperationRecord | undefined>
  /** The unfinished operation of exactly this resource. */
  unfinishedOperation(instanceId: string, bindingId?: string): Promise<OperationRecord | undefined>
  /** The unfinished operations of an instance and of all its bindings. */
  unfinishedOperations(instanceId: string): Promise<OperationRecord[]>
  /**
   * The platform's newest operation of exactly this resource that is not internal, finished or not. Another platform may
   * have had the id before, or have it now.
   */
  latestOperation(of: OwnResource): Promise<OperationRecord | undefined>
  /** Ids of the plans that instances live on, for the check of a catalog reload. */
  plansInUse(): Promise<{ serviceId: string; planId: string }[]>

  /** The platform's newest operations of an instance and its bindings that are not internal, newest first. */
  recentOperations(platform: string, instanceId: string, limit: number): Promise<OperationRecord[]>
  /** Ready bindings that have expired and are not revoked, unless an operation on them or their instance is unfinished. */
  expiredBindings(): Promise<ExpiredBinding[]>

  /**
   * The instances of a provider. It reads page by page, so an instance whose plan changes meanwhile may come twice or not
   * at all.
   */
  listResources(provider: string, listing?: Listing): AsyncIterable<StoredResource>

  /**
   * Begins an operation and sends its job. When `operation.halts` is set, the halted operation and its resource become
   * `failed` in the same transaction, and its worker is notified; an instance whose update is halted stays `ready`.
   *
   * A caller that lost the answer may repeat the start with the same operation id. The repetition writes nothing if the operation
   * is stored. While the operation is unfinished, the result may be `busy` or `changed` because of the operation itself.
   */
  start(start: Start, enqueue: Enqueue): Promise<StartResult>
  /**
   * Takes the operation: raises `attempt` and sets the lease, unless another lease holds.
   * @param key names the caller. A caller that did not get the answer to its claim repeats it with the same key and gets
   * the same claim
   */
  claim(operationId: string, key?: string): Promise<ClaimResult>
  /** Renews the lease of a claim. */
  keepAlive(claim: Claim): Promise<Renewal>
  /** Keeps the provider's state on the resource of the operation; a deprovision names a binding that it removes. */
  saveState(claim: Claim, state: JsonObject, bindingId?: string): Promise<void>
  progress(claim: Claim, description: string): Promise<void>
  /** Removes a binding in the course of a deprovision. */
  removeBinding(claim: Claim, bindingId: string): Promise<void>
  /** Ends the operation and writes its outcome. `false`: the claim is lost, nothing was written. */
  finish(claim: Claim, finish: Finish): Promise<boolean>
  /**
   * Gives up the lease, so that another attempt may start at once. With `resumption`, an operation that is unfinished gets a
   * job for its next attempt in the same transaction. On a lost claim it only records that the worker has stopped.
   */
  release(claim: Claim, resumption?: Resumption): Promise<void>
  /**
   * A synchronous operation continues in the background: it becomes asynchronous and keeps its claim. If it was never claimed
   * (attempt 0), it gets a job. `false`: the claim is lost, nothing was written.
   */
  makeAsync(claim: Claim, continuation: Continuation, enqueue: Enqueue): Promise<boolean>

  /**
   * Unfinished operations that need another worker: their lease has ended, which happens only when the worker has died, is
   * frozen or cannot reach the store; or no worker has them and their deadline has passed.
   */
  abandoned(): Promise<Abandoned[]>
  /**
   * Unfinished asynchronous operations that have had no lease for at least `idleMs`, oldest first: they should have a job.
   * @param after `operationId` of the last one of the page before
   */
  idle(idleMs: number, after?: string): Promise<OperationRecord[]>
  /** Deletes operations that ended more than `olderThanMs` ago; returns their number. */
  forgetOperations(olderThanMs: number): Promise<number>
  /** Calls the listener with the id of each operation that was halted, within about a second. Returns the way to stop. */
  onHalt(listener: (operationId: string) => void): () => void

  /** How much there is of what; for metrics. */
  census(): Promise<Census>
  /** Upkeep of the store's own tables, about every minute on one of the replicas. Absent where there is none. */
  tidy?(): Promise<void>
  /** Throws when the store cannot work at the moment. */
  health(): Promise<void>
  close(): Promise<void>
}
