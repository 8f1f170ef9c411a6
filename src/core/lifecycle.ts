import type { Mode } from '../../schemas/catalog.ts'
import type { EmptyObject, JsonObject } from '../../schemas/common.ts'
import type { DeleteAccepted } from '../../schemas/service-instance.ts'
import type { Call, Outcome } from './call.ts'
import type { CatalogPlan } from './catalog/index.ts'
import { maximumMsOf } from './durations.ts'
import { BrokerError, refusals } from './errors.ts'
import { isDelete } from './operation-kinds.ts'
import type { NewOperation, Operations } from './operations.ts'
import type { PlanLookup } from './platforms.ts'
import type { Finish, InstanceRecord, OperationRecord, Start } from './store.ts'
import { runSync } from './sync-operations.ts'
import { LATE, orLate } from './time-limits.ts'

/** How often to decide again when the store changed between the read and the write. */
const MAX_DECISIONS = 6

/** The end of a request's time that is kept for writing the outcome, in milliseconds; of a short time at most a quarter. */
const ANSWER_MS = 1_000

/** How long a synchronous request may wait for other operations and still start its own, in milliseconds. */
const SHORT_WAIT_MS = 1_000

/** Requests that were answered with an error because the answer was due. */
const answeredLate = new WeakSet<Call>()
/** How long requests have waited for other operations, in milliseconds. */
const waitedMs = new WeakMap<Call, number>()

/** The plan settings that decide between a synchronous answer and 202. */
export interface Manner {
  readonly mode: Mode
  readonly maximumPollingSeconds?: number | undefined
  /** Whether an overlong synchronous operation may be answered 202 at all; default yes. */
  readonly pollable?: boolean
}

/** `performance.now()` when the work of a request must end, so that its outcome can be written before the answer is due. */
export function workUntil({ options: { syncDeadlineMs } }: Operations, { receivedAt }: Call): number {
  return receivedAt + syncDeadlineMs - Math.min(ANSWER_MS, syncDeadlineMs / 4)
}

/**
 * Answers in time, whatever hangs: the provider, the store, or the wait for another operation. The work continues, and ends or
 * undoes its operation.
 * @throws {BrokerError} 503 when the answer is due
 */
export async function answerInTime<T>(operations: Operations, call: Call, work: Promise<T>): Promise<T> {
  const answer = await orLate(work, workUntil(operations, call) + ANSWER_MS - performance.now())
  if (answer !== LATE) return answer
  answeredLate.add(call)
  throw refusals.unavailable('The broker could not answer in time. Repeat the request.')
}

/** Refuses what only an asynchronous answer could serve (spec: Asynchronous Operations). */
export function requireAsync(call: Call, { mode }: Manner): void {
  if (mode === 'async' && !call.acceptsIncomplete) throw refusals.asyncRequired()
}

/** The fields of a new operation that every verb fills in the same way. */
export function operationFields(
  operations: Operations,
  call: Call,
  { manner, needs }: { manner: Manner; needs: Needs }
): Omit<NewOperation, 'kind' | 'instanceId'> {
  const inBackground = manner.mode === 'async' || (manner.mode === 'either' && call.acceptsIncomplete)
  return {
    platform: call.platform,
    provider: needs.provider,
    serviceId: needs.serviceId,
    planId: needs.planId,
    async: inBackground,
    maximumMs: inBackground ? maximumMsOf(manner) : Math.max(0, workUntil(operations, call) - performance.now()),
    ...(call.originatingIdentity === undefined ? {} : { originatingIdentity: call.originatingIdentity }),
    ...(call.requestIdentity === undefined ? {} : { requestIdentity: call.requestIdentity })
  }
}

/** The provider and the plan that a replica must have to perform an operation. */
export type Needs = Pick<InstanceRecord, 'provider' | 'serviceId' | 'planId'>

/**
 * Runs `decide` until it has a result, and answers in time; `again` means that the store changed between its read and its write.
 */
export function decideUntilDone<Result>(
  operations: Operations,
  call: Call,
  decide: () => Promise<Result | 'again'>
): Promise<Result> {
  return answerInTime(operations, call, decisionOf(decide))
}

async function decisionOf<Result>(decide: () => Promise<Result | 'again'>): Promise<Result> {
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
 * @throws {BrokerError} when it did not succeed, the quota of the plan is used up, or too much of the time has passed
 */
export async function startAndRun(
  operations: Operations,
  call: Call,
  { start, manner, takesPlaceOf, halted }: StartAndRun
): Promise<Started> {
  const { operation } = start
  const acceptsIncomplete = call.acceptsIncomplete && manner.pollable !== false
  if (!operation.async && !acceptsIncomplete && !isDelete(operation)) requireTime(call)
  const quota = takesPlaceOf && operations.platforms.quotaOf(call.platform, takesPlaceOf)
  const until = workUntil(operations, call)
  const { result, held } = await operations.start({ ...start, ...(quota === undefined ? {} : { quota }) }, until)
  if (result === 'full' && quota !== undefined && takesPlaceOf !== undefined) {
    throw refusals.quotaUsedUp(operation.kind, takesPlaceOf.plan.name, quota.instances)
  }
  if (result !== 'started') return 'again'
  if (halted !== undefined) operations.attempts.meters.halted(halted)
  call.follow?.(operation.operationId)
  if (operation.async) return { kind: 'accepted', operation: operation.operationId }
  const end = await runSync(operations, held, {
    acceptsIncomplete,
    maximumMs: maximumMsOf(manner),
    until,
    isAnswered: () => answeredLate.has(call)
  })
  return end.kind === 'accepted' ? { kind: 'accepted', operation: operation.operationId } : end
}

/**
 * Refuses work that has only the rest of its request's time. The broker would abort and undo it at the end of that time, and
 * the repeated request would wait for the undo again, so that no repetition could ever succeed.
 * @throws {BrokerError} 503; the repeated request has all of its time
 */
function requireTime(call: Call): void {
  if ((waitedMs.get(call) ?? 0) <= SHORT_WAIT_MS) return
  throw refusals.unavailable('The broker has just finished an earlier operation. Repeat the request.', 1)
}

export interface StartAndRun {
  readonly start: Start
  readonly manner: Manner
  /** The plan that the platform has one more instance of afterwards. */
  readonly takesPlaceOf?: CatalogPlan | undefined
  /** The operation that a delete halts. */
  readonly halted?: Pick<OperationRecord, 'kind' | 'internal'> | undefined
}

/**
 * Answers a request that repeats an unfinished one: 202 with the same operation where the platform can poll; otherwise it
 * waits for the end. `ended`: it succeeded, read the resource.
 * @throws {BrokerError} 503 when it is still unfinished, and the error of the operation when it failed
 */
export async function join(
  operations: Operations,
  call: Call,
  unfinished: OperationRecord
): Promise<{ kind: 'accepted'; operation: string } | { kind: 'ended' }> {
  call.follow?.(unfinished.operationId)
  if (call.acceptsIncomplete) return { kind: 'accepted', operation: unfinished.operationId }
  await hurry(operations, unfinished)
  const ended = await operations.wait(unfinished.operationId, workUntil(operations, call))
  if (ended?.state === 'succeeded') return { kind: 'ended' }
  if (ended?.state === 'in progress') throw refusals.unavailable('The operation is still in progress.')
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
 * Whether the platform does not know that an operation is unfinished, because the broker started it, or because its request was
 * answered with an error: a synchronous operation has the time of its request.
 */
export function isHidden({ internal, unreported, async, ageMs, createdAt, deadline }: OperationRecord): boolean {
  return internal || unreported === true || (!async && ageMs >= deadline.getTime() - createdAt.getTime())
}

/**
 * Waits for a {@link isHidden hidden} operation that is in the way of a request. A ConcurrencyError would be final to some
 * platforms.
 * @throws {BrokerError} 503 when it is still unfinished
 */
export async function waitForOther(operations: Operations, call: Call, other: OperationRecord): Promise<'again'> {
  await hurry(operations, other)
  const began = performance.now()
  const ended = await operations.wait(other.operationId, workUntil(operations, call))
  waitedMs.set(call, (waitedMs.get(call) ?? 0) + performance.now() - began)
  if (ended?.state !== 'in progress') return 'again'
  throw refusals.unavailable(
    isDelete(other) ? 'An earlier deletion still continues.' : 'An earlier request is still being undone.'
  )
}

/**
 * The same if the operation is {@link isHidden hidden}.
 * @throws {BrokerError} 422 ConcurrencyError if the platform knows that it is unfinished
 */
export async function waitUnlessKnown(operations: Operations, call: Call, other: OperationRecord): Promise<'again'> {
  if (!isHidden(other)) throw refusals.concurrency()
  return waitForOther(operations, call, other)
}

/** Starts the next attempt of a paused operation now, because a request waits for it. */
async function hurry({ options: { runner } }: Operations, operation: OperationRecord): Promise<void> {
  if (operation.async && operation.leaseUntil === undefined) await runner.ensure(operation, { now: true })
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
