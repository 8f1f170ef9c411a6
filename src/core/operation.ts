import type { JsonObject } from '../../schemas/common.ts'
import type { OperationState } from '../../schemas/last-operation.ts'
import type { OriginatingIdentity } from './provider.ts'

export type OperationKind = 'provision' | 'update' | 'deprovision' | 'bind' | 'unbind'

/** What an update asks for, applied to the instance in one step when it succeeds. */
export interface UpdateTarget {
  planId: string
  parameters: JsonObject
  context: JsonObject
  maintenanceVersion?: string
  /** Where the provider could tell it before the update. */
  dashboardUrl?: string
}

/** How a failed operation is answered when the request still waits for it. */
export interface OperationFailure {
  status: number
  error?: string
}

/** What does not change during an operation, except `async`. */
export interface OperationFields {
  /** UUID; the `operation` of a 202. */
  operationId: string
  kind: OperationKind
  platform: string
  instanceId: string
  bindingId?: string
  /** Name of the provider that performs it. */
  provider?: string
  serviceId?: string
  /** The plan whose catalog entry a provision, an update or a bind needs; of an update the new one. */
  planId?: string
  /** Answered with 202 and performed by the runner; otherwise the request performs it. */
  async: boolean
  /** Started by the broker itself, for example to undo a failed create; polls without a token do not see it. */
  internal: boolean
  /** Of an update. */
  target?: UpdateTarget
  /**
   * The unfinished create or update that this delete cancels, or of a deprovision the internal unbind of a binding. The worker of
   * that operation must have stopped before this one starts.
   */
  halts?: string
  originatingIdentity?: OriginatingIdentity
  requestIdentity?: string
  /** W3C `traceparent` of the request, so that every worker continues its trace. */
  traceContext?: string
}

/** How a synchronous operation continues in the background. */
export interface Continuation {
  /** How long it may take from now on, in milliseconds. */
  maximumMs: number
  /** Whether its request is answered with an error, because the platform cannot poll. */
  unreported: boolean
}

/** A new operation. The store adds the times, because the clocks of replicas differ. */
export interface OperationStart extends OperationFields {
  /**
   * How long the operation may take, in milliseconds. No attempt starts after that. For a delete that halts another operation
   * the time starts with its first claim, because it has to wait for the other worker.
   */
  maximumMs: number
  /** The request works on it from the start: it begins with attempt 1 and a lease. */
  claimed: boolean
}

/** One operation as it is stored: the one source of truth of `last_operation`. */
export interface OperationRecord extends OperationFields {
  state: OperationState
  /** Text for the user: progress while it runs, the outcome afterwards. */
  description?: string
  failure?: OperationFailure
  instanceUsable?: boolean
  updateRepeatable?: boolean
  /** It goes on in the background although its request was answered with an error. */
  unreported?: true
  /** The time since `createdAt` on the clock of the store, in milliseconds. Never written. */
  ageMs: number
  attempt: number
  /** Until when the claim of `attempt` holds; absent when no worker has the operation. */
  leaseUntil?: Date
  /** No attempt starts after it. On the clock of the store, like every time in here. */
  deadline: Date
  createdAt: Date
  startedAt?: Date
  finishedAt?: Date
}

/** The right to work on an operation. */
export interface Claim {
  readonly operationId: string
  readonly attempt: number
  /**
   * The platform that owns the resource. The store encrypts for this platform what the worker saves, whatever the row says by
   * then, because somebody who can write to the database can change the row.
   */
  readonly platform: string
}

/** A transaction of the store, as only the store and its runner understand it. */
export type Transaction = unknown

/** What a runner needs to know of an operation to pass it to a worker that can perform it. */
export type OperationJob = Pick<
  OperationFields,
  'operationId' | 'kind' | 'platform' | 'provider' | 'serviceId' | 'planId'
>

/**
 * Sends a job for an operation inside the transaction that writes it, so that both commit together.
 * @param delayMs earliest start of the job, counted from the transaction; default 0
 */
export type Enqueue = (job: OperationJob, transaction: Transaction, delayMs?: number) => Promise<void>

/**
 * `claimed`: the caller may work. `held`: another worker has a lease. `waiting`: the worker of the operation that this one
 * halts has not stopped yet. `finished`: the operation has ended.
 */
export type ClaimResult = Claimed | { kind: 'held' } | { kind: 'waiting' } | { kind: 'finished' }

/** An operation that was claimed, with times that do not depend on the clock of the replica. */
export interface Claimed {
  kind: 'claimed'
  operation: OperationRecord
  /** Milliseconds from the claim to the deadline; negative after it. */
  remainingMs: number
}

/**
 * The answer to a renewal. `kept`: the claim holds. `halted`: a delete has ended the operation and waits for this worker,
 * whose lease was renewed: it must stop. `lost`: another worker may have the operation.
 */
export type Renewal = 'kept' | 'halted' | 'lost'

/** An unfinished operation whose worker has gone, or whose time is up. */
export interface Abandoned {
  operation: OperationRecord
  /** Whether its deadline has passed. */
  expired: boolean
}

/** How an operation goes on after a worker has let go of it. */
export interface Resumption {
  /** Why the last attempt failed; the description that polls see until the next one. */
  description?: string
  enqueue: Enqueue
  /** How long until the next attempt, in milliseconds. */
  delayMs: number
}

/** The operation that undoes a failed one, and how its job is sent. */
export interface UndoStart {
  operation: OperationStart
  enqueue: Enqueue
}
