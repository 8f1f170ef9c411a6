import type { OperationRecord, OperationStart, ResourceStatus, Start, StartResult } from '../core/store.ts'

/** What an admission is decided on; the store keeps it from changing until the start is written. */
export interface Situation {
  /** Absent when there is no such instance. */
  readonly instance: ResourceStatus | undefined
  /** Absent when there is no such binding, or the operation is not about one. */
  readonly binding: ResourceStatus | undefined
  /** Unfinished operations of the instance and of all its bindings. */
  readonly unfinished: readonly Pick<OperationRecord, 'operationId' | 'kind' | 'bindingId' | 'internal'>[]
  /** Instances that count for the quota of the start; absent when it has none. */
  readonly counted?: number
}

/** Description of an operation that a delete has ended. */
export const HALTED = 'It was halted by a delete.'

/**
 * Decides whether an operation may start: the same for every store.
 *
 * A create that finds its id taken is `changed` before it is `busy`: two identical creates at once are one create, and
 * the loser has to read again to find that out. Anything else is `busy` first: while an operation runs, the status of
 * its resource says nothing yet. `full` comes last: a repeated create is answered as ever, however full the plan is.
 */
export function admit(start: Start, situation: Situation): StartResult {
  if (!createsWhatIsMissing(start, situation)) return 'changed'
  const { halts } = start.operation
  const inTheWay = situation.unfinished.filter((other) => excludes(start.operation, other))
  if (inTheWay.some((other) => other.operationId !== halts)) return wasJustMade(start, inTheWay) ? 'changed' : 'busy'
  if (halts !== undefined && !inTheWay.some((other) => isHaltable(start.operation, other))) return 'changed'
  if (!resourceFits(start, situation)) return 'changed'
  const { quota } = start
  return quota === undefined || (situation.counted ?? 0) < quota.instances ? 'started' : 'full'
}

function createsWhatIsMissing(start: Start, { instance, binding }: Situation): boolean {
  if (start.insertInstance !== undefined && instance !== undefined) return false
  if (start.insertBinding !== undefined && binding !== undefined) return false
  if (start.retryCreate !== true) return true
  return (start.operation.bindingId === undefined ? instance : binding) === 'failed'
}

/** The id was free a moment ago, and now an operation works on it: the create of it was committed in between. */
function wasJustMade(start: Start, inTheWay: Situation['unfinished']): boolean {
  if (start.insertInstance === undefined && start.insertBinding === undefined) return false
  return inTheWay.some((other) => other.bindingId === start.operation.bindingId)
}

/** Operations on an instance exclude all others on it and its bindings; bindings may change side by side. */
function excludes(one: OperationStart, other: Pick<OperationRecord, 'bindingId'>): boolean {
  return one.bindingId === undefined || other.bindingId === undefined || one.bindingId === other.bindingId
}

/**
 * A delete ends creates and updates of its resource; other deletes end by themselves. A deprovision also ends an internal unbind,
 * which the platform does not know and which may fail for a long time, because it removes all bindings itself.
 */
function isHaltable(removal: OperationStart, other: Situation['unfinished'][number]): boolean {
  if (other.kind === 'unbind') return other.internal && removal.kind === 'deprovision'
  return other.kind !== 'deprovision' && other.bindingId === removal.bindingId
}

function resourceFits(start: Start, { instance, binding }: Situation): boolean {
  switch (start.operation.kind) {
    case 'provision':
      return start.insertInstance !== undefined || instance !== undefined
    case 'update':
      return instance === 'ready'
    case 'deprovision':
      return instance !== undefined
    case 'bind':
      return instance === 'ready' && (start.insertBinding !== undefined || binding !== undefined)
    case 'unbind':
      return instance !== undefined && binding !== undefined
  }
}
