import type { JsonObject } from '../../schemas/common.ts'
import type { CatalogPlan, LoadedCatalog } from './catalog/index.ts'
import type { OperationMeters } from './operation-meters.ts'
import { requireOwn } from './ownership.ts'
import {
  type BindTask,
  type Provisioned,
  Rejected,
  type RemovalTask,
  type ResultExtras,
  type ServiceProvider,
  type TaskLog,
  Unavailable,
  type UnbindTask,
  type UpdateTask
} from './provider.ts'
import { storableText } from './provider-errors.ts'
import { answerOf, isJson, permittedBinding, permittedInstance } from './results.ts'
import { sameJson } from './same.ts'
import type { Secrets } from './secrets.ts'
import { standingBindings } from './standing.ts'
import type { BindingRecord, Claim, Finish, InstanceRecord, OperationFields, Store } from './store.ts'
import { baseTask, bindingTask, catalogPart, removalPart } from './tasks.ts'

/** What performing an operation needs to know of the broker. */
export interface Stage {
  readonly store: Store
  readonly providers: ReadonlyMap<string, ServiceProvider>
  /** The catalog as it is now; a reload replaces it. */
  readonly catalog: () => LoadedCatalog
}

/** One attempt at an operation, while it runs. */
export interface Attempt {
  readonly operation: OperationFields
  readonly claim: Claim
  /** Number of the try, from 1. */
  readonly number: number
  /** Where it is known without a look into the store. */
  readonly instance?: InstanceRecord | undefined
  readonly signal: AbortSignal
  readonly log: TaskLog
  readonly meters: OperationMeters
  /** What the provider's words must not have. */
  readonly secrets: Secrets
}

/** Calls the provider for one attempt and says what its success writes. Throws what the provider throws. */
export async function perform(stage: Stage, attempt: Attempt): Promise<Finish> {
  const { operation } = attempt
  const instance = attempt.instance ?? (await stage.store.getInstance(operation.instanceId))
  if (instance === undefined) return { state: 'succeeded' }
  requireOwn(instance, attempt.claim.platform)
  attempt.secrets.addState(instance.state)
  switch (operation.kind) {
    case 'provision':
      return performProvision(stage, attempt, instance)
    case 'update':
      return performUpdate(stage, attempt, instance)
    case 'deprovision':
      return performDeprovision(stage, attempt, instance)
    case 'bind':
      return performBind(stage, attempt, instance)
    case 'unbind':
      return performUnbind(stage, attempt, instance)
  }
}

async function performProvision(stage: Stage, attempt: Attempt, instance: InstanceRecord): Promise<Finish> {
  const entry = planOf(stage, attempt, instance)
  const provider = providerOf(stage, instance)
  const task = { ...baseTask(stage, attempt, instance), ...catalogPart(entry), parameters: instance.parameters }
  const result = await attempt.meters.call(provider.name, 'provision', () => provider.provision(task))
  const fields = await provisionedFields(stage, attempt, result)
  // Told when the provision was accepted; the answer of a synchronous one has it from here.
  const { dashboardUrl } = instance
  return {
    ...success(attempt, result),
    instance: { status: 'ready', ...(dashboardUrl === undefined ? {} : { dashboardUrl }), ...fields }
  }
}

async function performUpdate(stage: Stage, attempt: Attempt, instance: InstanceRecord): Promise<Finish> {
  const { target } = attempt.operation
  if (target === undefined) throw new Error(`operation ${attempt.operation.operationId} is an update without a target`)
  const entry = planOf(stage, attempt, { serviceId: instance.serviceId, planId: target.planId })
  const before = stage.catalog().plan(instance.serviceId, instance.planId)
  const provider = providerOf(stage, instance)
  const contextAlone =
    target.planId === instance.planId &&
    target.maintenanceVersion === instance.maintenanceVersion &&
    sameJson(target.parameters, instance.parameters) &&
    !attempt.operation.internal
  if (contextAlone) return { state: 'succeeded', instance: { context: target.context } }
  const { update } = provider
  if (update === undefined) throw new Rejected(422, 'This service does not support updates.')
  const task: UpdateTask = {
    ...baseTask(stage, attempt, instance),
    ...catalogPart(entry),
    context: target.context,
    parameters: target.parameters,
    previous: { plan: before?.plan, options: before?.options ?? {}, parameters: instance.parameters },
    bindings: () => standingBindings(stage, instance.instanceId)
  }
  const result = await attempt.meters.call(provider.name, 'update', () => update.call(provider, task))
  const fields = await provisionedFields(stage, attempt, result)
  return {
    ...success(attempt, result),
    instance: {
      planId: target.planId,
      parameters: target.parameters,
      context: target.context,
      maintenanceVersion: target.maintenanceVersion ?? null,
      ...(target.dashboardUrl === undefined ? {} : { dashboardUrl: target.dashboardUrl }),
      ...fields
    }
  }
}

async function performDeprovision(stage: Stage, attempt: Attempt, instance: InstanceRecord): Promise<Finish> {
  for (const binding of await stage.store.listBindings(instance.instanceId)) {
    requireOwn(binding, instance.platform)
    await unbind(stage, attempt, instance, binding)
    await stage.store.removeBinding(attempt.claim, binding.bindingId)
  }
  const provider = providerOf(stage, instance)
  const task: RemovalTask = {
    ...baseTask(stage, attempt, instance),
    ...removalPart(stage, instance),
    parameters: instance.parameters
  }
  await attempt.meters.call(provider.name, 'deprovision', () => provider.deprovision(task))
  return { state: 'succeeded', instance: 'remove' }
}

async function performBind(stage: Stage, attempt: Attempt, instance: InstanceRecord): Promise<Finish> {
  const binding = await bindingOf(stage, attempt)
  if (binding === undefined) return { state: 'succeeded' }
  const entry = planOf(stage, attempt, binding)
  const provider = providerOf(stage, instance)
  const { bind } = provider
  if (bind === undefined) throw new Rejected(400, 'This service has no bindings.')
  const task: BindTask = {
    ...bindingTask(stage, attempt, binding),
    ...catalogPart(entry),
    bindingId: binding.bindingId,
    parameters: binding.parameters,
    instance: { state: instance.state, parameters: instance.parameters },
    appGuid: binding.appGuid,
    route: binding.route,
    predecessor: await predecessorOf(stage, binding),
    endpoints: entry.endpoints,
    keepCredentials: entry.keepCredentials
  }
  const bound = await attempt.meters.call(provider.name, 'bind', () => bind.call(provider, task))
  attempt.secrets.addCredentials(bound.credentials)
  const { state } = bound
  const saved = async () => (await bindingOf(stage, attempt))?.state
  const known = entry.keepCredentials ? undefined : (state ?? (await saved()))
  const kept = { state, saved, save: task.saveState }
  const reply = await permitted(kept, () => permittedBinding(entry, bound, known))
  const expiresAt = reply.metadata?.expires_at
  return {
    ...success(attempt, bound),
    ...answerOf(entry, reply, {
      status: 'ready',
      ...(state === undefined ? {} : { state }),
      ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt) })
    })
  }
}

async function performUnbind(stage: Stage, attempt: Attempt, instance: InstanceRecord): Promise<Finish> {
  const binding = await bindingOf(stage, attempt)
  if (binding === undefined) return { state: 'succeeded' }
  await unbind(stage, attempt, instance, binding)
  // The platform did not ask for this and still knows the binding.
  const expired = attempt.operation.internal && binding.expired === true && binding.status === 'ready'
  return { state: 'succeeded', binding: expired ? { revokedAt: new Date() } : 'remove' }
}

async function unbind(stage: Stage, attempt: Attempt, instance: InstanceRecord, binding: BindingRecord): Promise<void> {
  const provider = providerOf(stage, instance)
  const { unbind: revoke } = provider
  if (revoke === undefined) return
  const task: UnbindTask = {
    ...bindingTask(stage, attempt, binding),
    ...removalPart(stage, binding),
    bindingId: binding.bindingId,
    parameters: binding.parameters,
    instance: { state: instance.state, parameters: instance.parameters }
  }
  await attempt.meters.call(provider.name, 'unbind', () => revoke.call(provider, task))
}

/** The end of an operation that succeeded, with what the provider says of it. */
function success({ secrets }: Attempt, { description }: ResultExtras): Pick<Finish, 'state' | 'description'> {
  const text = description === undefined ? '' : storableText(secrets.hideIn(description))
  return { state: 'succeeded', ...(text === '' ? {} : { description: text }) }
}

/** In the background the plan may be missing on this replica alone, so that another one has to try. */
function planOf(stage: Stage, { operation }: Attempt, record: { serviceId: string; planId: string }): CatalogPlan {
  const { serviceId, planId } = record
  const entry = stage.catalog().plan(serviceId, planId)
  if (entry !== undefined) return entry
  if (operation.async) throw new Unavailable('The plan is not in the catalog at the moment.')
  throw new Rejected(400, `The catalog no longer has the plan "${planId}".`)
}

function providerOf(stage: Stage, instance: InstanceRecord): ServiceProvider {
  const provider = stage.providers.get(instance.provider)
  if (provider === undefined) {
    throw new Error(
      `instance ${instance.instanceId} was made by the provider "${instance.provider}", which is not registered`
    )
  }
  return provider
}

async function bindingOf(stage: Stage, { operation, claim }: Attempt): Promise<BindingRecord | undefined> {
  const { instanceId, bindingId } = operation
  const binding = bindingId === undefined ? undefined : await stage.store.getBinding(instanceId, bindingId)
  if (binding !== undefined) requireOwn(binding, claim.platform)
  return binding
}

async function predecessorOf(stage: Stage, binding: BindingRecord): Promise<BindTask['predecessor']> {
  const bindingId = binding.predecessorBindingId
  if (bindingId === undefined) return undefined
  const predecessor = await stage.store.getBinding(binding.instanceId, bindingId)
  if (predecessor !== undefined) requireOwn(predecessor, binding.platform)
  return { bindingId, state: predecessor?.state }
}

async function provisionedFields(
  stage: Stage,
  attempt: Attempt,
  result: Provisioned
): Promise<Partial<InstanceRecord>> {
  const { operation, claim } = attempt
  const kept: Kept = {
    // A rejected update is not undone, and its state stays that of the instance as it is.
    state: operation.kind === 'provision' ? result.state : undefined,
    saved: async () => (await stage.store.getInstance(operation.instanceId))?.state,
    save: (state) => stage.store.saveState(claim, state)
  }
  const { dashboard_url: dashboardUrl, metadata } = await permitted(kept, () => permittedInstance(result))
  return {
    ...(dashboardUrl === undefined ? {} : { dashboardUrl }),
    ...(metadata === undefined ? {} : { metadata }),
    ...(result.state === undefined ? {} : { state: result.state })
  }
}

interface Kept {
  /** The state in the result. */
  readonly state: JsonObject | undefined
  /** The state of the resource in the store. */
  readonly saved: () => Promise<JsonObject | undefined>
  readonly save: (state: JsonObject) => Promise<void>
}

/**
 * Checks the result of a provider. If it is not permitted, the state is saved first, because the delete that removes what was
 * made needs it. A resource without any state would be removed without a call of the provider.
 */
async function permitted<Reply>({ state, saved, save }: Kept, check: () => Reply): Promise<Reply> {
  try {
    return check()
  } catch (error) {
    if (state !== undefined && isJson(state)) await save(state)
    else if (state !== undefined && (await saved()) === undefined) await save({})
    throw error
  }
}
