import type { Mode } from '../../schemas/catalog.ts'
import type { EmptyObject, JsonObject } from '../../schemas/common.ts'
import type { DeleteAccepted } from '../../schemas/service-instance.ts'
import type { Call, Outcome } from './call.ts'
import type { CatalogPlan } from './catalog/index.ts'
import { BrokerError, refusals } from './errors.ts'
import { DEFAULT_MAXIMUM_SECONDS, type NewOperation, type Operations } from './operations.ts'
import type { PlanLookup } from './platforms.ts'
import type { Finish, InstanceRecord, OperationRecord, Start } from './store.ts'
import { runSync } from './sync-operations.ts'

/** A decision is made again when what it was made on has changed meanwhile; this often, then we give up. */
const MAX_DECISIONS = 6

/** What of a plan decides how an operation is answered. */
export interface Manner {
  readonly mode: Mode
  readonly maximumPollingSeconds?: number | undefined
  /** Whether an overlong synchronous operation may be answered 202 at all; default yes. */
  readonly pollable?: boolean
}

/** Refuses what only an asynchronous answer could serve (spec: Asynchronous Operations). */
export function requireAsync(call: Call, { mode }: Manner): void {
  if (mode === 'async' && !call.acceptsIncomplete) throw refusals.asyncRequired()
}

/** Fields of a new operation that every verb fills in the same way. */
export function operationFields(call: Call, manner: Manner): Omit<NewOperation, 'kind' | 'instanceId'> {
  return {
    platform: call.platform,
    async: manner.mode === 'async' || (manner.mode === 'either' && call.acceptsIncomplete),
    maximumSeconds: manner.maximumPollingSeconds,
    ...(call.originatingIdentity === undefined ? {} : { originatingIdentity: call.originatingIdentity }),
    ...(call.requestIdentity === undefined ? {} : { requestIdentity: call.requestIdentity })
  }
}

/** Runs `decide` until it comes to a result; `again` means that the store has changed under it. */
export async function decideUntilDone<Result>(decide: () => Promise<Result | 'again'>): Promise<Result> {
  for (let tries = 0; tries < MAX_DECISIONS; tries += 1) {
    const result = await decide()
    if (result !== 'again') return result
  }
  throw refusals.concurrency()
}

/** How a started operation ended for its request; `again` when it could not be started. */
export type Started = { kind: 'accepted'; operation: string } | { kind: 'succeeded'; finish: Finish } | 'again'

/**
 * Starts an operation; a synchronous one runs to its end here.
 * @throws {BrokerError} when it did not succeed, or the quota of the plan is used up
 */
export async function startAndRun(
  operations: Operations,
  call: Call,
  { start, manner, takesPlaceOf }: StartAndRun
): Promise<Started> {
  const { operation } = start
  const quota = takesPlaceOf && operations.platforms.quotaOf(call.platform, takesPlaceOf)
  const result = await operations.start({ ...start, ...(quota === undefined ? {} : { quota }) })
  if (result === 'full' && quota !== undefined && takesPlaceOf !== undefined) {
    throw refusals.quotaUsedUp(operation.kind, takesPlaceOf.plan.name, quota.instances)
  }
  if (result !== 'started') return 'again'
  call.follow?.(operation.operationId)
  if (operation.async) return { kind: 'accepted', operation: operation.operationId }
  const end = await runSync(operations, operation, {
    acceptsIncomplete: call.acceptsIncomplete && manner.pollable !== false,
    maximumSeconds: manner.maximumPollingSeconds ?? DEFAULT_MAXIMUM_SECONDS,
    instance: start.insertInstance
  })
  return end.kind === 'accepted' ? { kind: 'accepted', operation: operation.operationId } : end
}

export interface StartAndRun {
  readonly start: Start
  readonly manner: Manner
  /** The plan that the platform has one more instance of afterwards. */
  readonly takesPlaceOf?: CatalogPlan | undefined
}

/**
 * Answers a request that repeats an unfinished one: 202 with the same operation where the platform can poll, else it
 * waits for the end. `ended`: it succeeded, read the resource; an unfinished or vanished one is a ConcurrencyError.
 */
export async function join(
  operations: Operations,
  call: Call,
  unfinished: OperationRecord
): Promise<{ kind: 'accepted'; operation: string } | { kind: 'ended' }> {
  call.follow?.(unfinished.operationId)
  if (call.acceptsIncomplete) return { kind: 'accepted', operation: unfinished.operationId }
  const ended = await operations.wait(unfinished.operationId)
  if (ended?.state === 'succeeded') return { kind: 'ended' }
  if (ended?.state === 'failed' && ended.failure !== undefined) {
    const { status, error } = ended.failure
    const { instanceUsable, updateRepeatable } = ended
    throw new BrokerError(status, ended.description ?? 'The operation failed.', {
      ...(error === undefined ? {} : { error }),
      ...(instanceUsable === undefined ? {} : { instanceUsable }),
      ...(updateRepeatable === undefined ? {} : { updateRepeatable }),
      ...(status === 503 || status === 504 ? { retryAfterSeconds: 5 } : {})
    })
  }
  throw refusals.concurrency()
}

/**
 * Lets an undoing of ours end that is in the way of a request. The platform knows nothing of it: a ConcurrencyError would
 * be final to some, who were told a moment ago to try again.
 */
export async function waitForUndo(operations: Operations, { operationId }: OperationRecord): Promise<'again'> {
  const ended = await operations.wait(operationId)
  if (ended?.state !== 'in progress') return 'again'
  throw refusals.unavailable('An earlier attempt is still being undone.')
}

/** The answer to a delete. */
export type DeleteOutcome = Outcome<EmptyObject, DeleteAccepted>

export function accepted(operation: string): { kind: 'accepted'; body: { operation: string } } {
  return { kind: 'accepted', body: { operation } }
}

/** The ids of a delete must be there (spec: Deprovisioning, Unbinding, Parameters). */
export function requireIds(ids: { service_id?: string | undefined; plan_id?: string | undefined }): void {
  for (const name of ['service_id', 'plan_id'] as const) {
    if (ids[name] === undefined || ids[name] === '') {
      throw refusals.malformed(`The query parameter "${name}" is required.`)
    }
  }
}

/** What belongs to another platform does not exist: to it this answers nothing. */
export function ownedBy<Record extends Pick<InstanceRecord, 'platform'>>(
  call: Call,
  record: Record | undefined
): Record | undefined {
  return record?.platform === call.platform ? record : undefined
}

/** The version in a request must be the catalog's (spec: Maintenance Info; `{}` means absent). */
export function checkMaintenance(entry: CatalogPlan, asked: { version?: string } | undefined): void {
  if (asked?.version !== undefined && asked.version !== entry.maintenanceVersion) {
    throw refusals.maintenanceInfoConflict()
  }
}

/** The offering and plan of a request, or the refusal that says which of them is unknown. */
export function requirePlan(catalog: PlanLookup, serviceId: string, planId: string): CatalogPlan {
  const entry = catalog.plan(serviceId, planId)
  if (entry !== undefined) return entry
  if (catalog.service(serviceId) === undefined) throw serviceUnknown(serviceId)
  throw refusals.malformed(`The service offering "${serviceId}" has no plan "${planId}".`)
}

export function serviceUnknown(serviceId: string): BrokerError {
  return refusals.malformed(`There is no service offering "${serviceId}" in the catalog.`)
}

/** Refuses parameters that the plan's schema does not allow; absent ones are not checked. */
export function checkParameters(parameters: JsonObject | undefined, validate: ParameterCheck): void {
  const fault = parameters === undefined ? undefined : validate(parameters)
  if (fault !== undefined) throw refusals.invalidParameters(fault)
}

type ParameterCheck = (parameters: JsonObject) => string | undefined

/** How deletes of a resource are answered; its plan, or even its offering, may be gone from the catalog. */
export function mannerOf(
  operations: Operations,
  { serviceId, planId, provider }: Pick<InstanceRecord, 'serviceId' | 'planId' | 'provider'>
): Manner {
  const { catalog, providers } = operations.options
  return catalog().plan(serviceId, planId) ?? { mode: providers.get(provider)?.mode ?? 'either' }
}
