import type { LastOperation, LastOperationQuery } from '../../schemas/last-operation.ts'
import type { Call } from './call.ts'
import { boundedDescription, refusals } from './errors.ts'
import { isDelete } from './operation-kinds.ts'
import { ownedBy } from './ownership.ts'
import type { OperationRecord, Store } from './store.ts'

/** Which resource is polled: an instance, or a binding of it. */
export interface Polled {
  readonly instance_id: string
  readonly binding_id?: string
}

/** What a poll is told, and when to ask again. */
export interface PollAnswer {
  readonly body: LastOperation
  readonly retryAfterSeconds?: number
}

/** What a poll after a finished delete is told: checkers of the specification disagree, so it is an option. */
export type DeletedLastOperation = 'succeeded' | 'gone'

/**
 * Answers a poll (spec: Polling Last Operation). A token that we issued for this resource is answered for itself; none,
 * an unknown or a foreign one by the resource's latest operation: Cloud Controller takes 400 as the end.
 */
export async function lastOperation(
  { store, deleted }: { store: Store; deleted: DeletedLastOperation },
  call: Call,
  { polled, query }: { polled: Polled; query: LastOperationQuery }
): Promise<PollAnswer> {
  const operation = await find(store, call, { polled, query })
  if (operation === undefined) throw refusals.operationUnknown()
  if (isDelete(operation) && operation.state === 'succeeded' && deleted === 'gone') throw refusals.operationGone()
  const { state, instanceUsable, updateRepeatable } = operation
  const description = describe(operation)
  return {
    body: {
      state,
      ...(description === '' ? {} : { description: boundedDescription(description) }),
      ...(instanceUsable === undefined ? {} : { instance_usable: instanceUsable }),
      ...(updateRepeatable === undefined ? {} : { update_repeatable: updateRepeatable })
    },
    ...(state === 'in progress' ? { retryAfterSeconds: retryAfter(operation) } : {})
  }
}

const OPERATION_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

async function find(
  store: Store,
  call: Call,
  { polled, query }: { polled: Polled; query: LastOperationQuery }
): Promise<OperationRecord | undefined> {
  const { instance_id: instanceId, binding_id: bindingId } = polled
  if (query.operation !== undefined && OPERATION_ID.test(query.operation)) {
    const operation = ownedBy(call, await store.getOperation(query.operation))
    if (operation?.instanceId === instanceId && operation.bindingId === bindingId) return operation
  }
  return store.latestOperation({
    platform: call.platform,
    instanceId,
    ...(bindingId === undefined ? {} : { bindingId })
  })
}

/** What the provider told last; from the second attempt on with its number, while it is under way. */
function describe({ state, description = '', attempt, leaseUntil }: OperationRecord): string {
  if (state !== 'in progress' || attempt < 2 || leaseUntil === undefined) return description
  return `${description} (attempt ${attempt})`.trimStart()
}

/** A tenth of what it has taken so far: quick operations are seen at once, long ones are not asked for all the time. */
function retryAfter({ ageMs }: OperationRecord): number {
  return Math.min(30, Math.max(1, Math.round(ageMs / 10_000)))
}
