import type { OperationKind, ResourceStatus } from './store.ts'

/** How much there is of what. */
export interface Census {
  /** Unfinished operations. */
  readonly operations: readonly OperationCount[]
  /** Age of the oldest operation that waits for a worker, by the clock of the store; absent when none waits. */
  readonly oldestWaitingMs?: number
  readonly instances: readonly ResourceCount[]
  readonly bindings: readonly ResourceCount[]
}

/** Unfinished operations of a kind: those that somebody works on, or those that nobody works on (yet, or for now). */
export interface OperationCount {
  readonly kind: OperationKind
  readonly waiting: boolean
  readonly count: number
}

/** Resources of a plan in one status. */
export interface ResourceCount {
  readonly serviceId: string
  readonly planId: string
  readonly status: ResourceStatus
  readonly count: number
}
