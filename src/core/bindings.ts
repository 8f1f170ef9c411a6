import type { DeleteQuery } from '../../schemas/common.ts'
import type { BindingAccepted, BindingFetched, BindingReply, BindRequest } from '../../schemas/service-binding.ts'
import type { Call, Outcome } from './call.ts'
import type { CatalogPlan } from './catalog/index.ts'
import { refusals } from './errors.ts'
import {
  accepted,
  answerInTime,
  checkParameters,
  type DeleteOutcome,
  decideUntilDone,
  join,
  type Manner,
  mannerOf,
  operationFields,
  requireAsync,
  requireIds,
  requirePlan,
  startAndRun,
  waitForOther,
  waitUnlessKnown
} from './lifecycle.ts'
import type { Operations } from './operations.ts'
import { ownedBy, requireOwn } from './ownership.ts'
import { sameBinding } from './same.ts'
import type { BindingRecord, Finish, InstanceRecord, OperationRecord, Start } from './store.ts'

type BindOutcome = Outcome<BindingReply, BindingAccepted>

/** Which binding of which instance. */
export interface BindingIds {
  readonly instance_id: string
  readonly binding_id: string
}

/** The verbs of service bindings: one method each, returning an outcome or throwing a `BrokerError`. */
export class Bindings {
  readonly #operations: Operations

  constructor(operations: Operations) {
    this.#operations = operations
  }

  get #store() {
    return this.#operations.options.store
  }

  get #catalog() {
    return this.#operations.options.catalog()
  }

  /** `PUT …/service_bindings/:binding_id` (spec: Binding; Rotating a Service Binding). */
  async bind(call: Call, ids: BindingIds, body: BindRequest): Promise<BindOutcome> {
    return decideUntilDone(this.#operations, call, async () => {
      const instance = ownedBy(call, await this.#store.getInstance(ids.instance_id))
      if (body.predecessor_binding_id === undefined) {
        const { service_id: serviceId, plan_id: planId } = body
        if (serviceId === undefined) throw missing('service_id')
        if (planId === undefined) throw missing('plan_id')
        const known = this.#operations.platforms.known(call.platform, instance)
        requireAsync(call, bindManner(requirePlan(known, serviceId, planId)))
      }
      if (instance === undefined || instance.status === 'failed') throw refusals.instanceUnknown(ids.instance_id)
      const existing = await this.#store.getBinding(ids.instance_id, ids.binding_id)
      if (existing !== undefined) requireOwn(existing, call.platform)
      const wanted = await this.#wanted(call, { instance, body, bindingId: ids.binding_id, existing })
      if (existing !== undefined) {
        if (!sameBinding(existing, wanted)) throw refusals.bindingConflict(ids.binding_id)
        const unfinished = await this.#store.unfinishedOperation(ids.instance_id, ids.binding_id)
        if (unfinished?.kind === 'bind') {
          const { bindings_retrievable: pollable = false } = this.#catalog.service(existing.serviceId) ?? {}
          const patient = { ...call, acceptsIncomplete: call.acceptsIncomplete && pollable }
          const joined = await join(this.#operations, patient, unfinished)
          return joined.kind === 'ended' ? 'again' : accepted(joined.operation)
        }
        if (unfinished !== undefined) return waitUnlessKnown(this.#operations, call, unfinished)
        if (existing.status === 'ready') {
          const deletion = await this.#deletionOfInstance(ids)
          if (deletion !== undefined) return waitUnlessKnown(this.#operations, call, deletion)
          // A delete may have ended between the reads of the binding and of its operations.
          const standing = ownedBy(call, await this.#store.getBinding(ids.instance_id, ids.binding_id))
          return standing === undefined ? 'again' : { kind: 'exists', body: existing.reply ?? {} }
        }
        if (existing.status === 'creating') return 'again'
      }
      const entry = this.#requireBindable(instance, wanted)
      if (entry.requiresApp && wanted.appGuid === undefined) throw refusals.requiresApp()
      checkParameters(body.parameters, entry.validate.bind)
      if (instance.status !== 'ready') throw refusals.concurrency()
      const ofInstance = await this.#store.unfinishedOperation(ids.instance_id)
      if (ofInstance !== undefined) return waitUnlessKnown(this.#operations, call, ofInstance)
      const manner = bindManner(entry)
      requireAsync(call, manner)
      const operation = this.#operations.newOperation({
        ...operationFields(this.#operations, call, { manner, needs: { ...wanted, provider: instance.provider } }),
        kind: 'bind',
        instanceId: ids.instance_id,
        bindingId: ids.binding_id
      })
      const start: Start =
        existing === undefined ? { operation, insertBinding: wanted } : { operation, retryCreate: true }
      const ended = await startAndRun(this.#operations, call, { start, manner })
      if (ended === 'again') return 'again'
      if (ended.kind === 'accepted') return accepted(ended.operation)
      return { kind: 'created', body: finishedReply(ended.finish) }
    })
  }

  /** `GET …/service_bindings/:binding_id` (spec: Fetching a Service Binding). */
  fetch(call: Call, ids: BindingIds): Promise<BindingFetched> {
    return answerInTime(this.#operations, call, this.#fetch(call, ids))
  }

  async #fetch(call: Call, ids: BindingIds): Promise<BindingFetched> {
    // Read the operations first: if a delete ends in between, the binding is already gone when it is read.
    const unfinished = await this.#store.unfinishedOperation(ids.instance_id, ids.binding_id)
    const deletion = await this.#deletionOfInstance(ids)
    const binding = ownedBy(call, await this.#store.getBinding(ids.instance_id, ids.binding_id))
    if (binding === undefined || binding.status !== 'ready') throw refusals.bindingUnknown(ids.binding_id)
    const service = this.#catalog.service(binding.serviceId)
    if (service !== undefined && service.bindings_retrievable !== true) {
      throw refusals.notRetrievable('service bindings')
    }
    // Its credentials may not work any more; the revocation of expired ones is not the platform's unbind.
    if (unfinished?.kind === 'unbind' && !unfinished.internal) throw refusals.bindingUnknown(ids.binding_id)
    if (deletion !== undefined) throw refusals.bindingUnknown(ids.binding_id)
    const { reply, parameters, undeliveredUntil } = binding
    // If the answer is lost, so are the credentials: returning them twice would mean to keep them.
    const credentials = undeliveredUntil === undefined ? undefined : await this.#store.deliver(binding)
    return {
      ...reply,
      ...(credentials === undefined ? {} : { credentials }),
      ...(Object.keys(parameters).length === 0 ? {} : { parameters })
    }
  }

  /** `DELETE …/service_bindings/:binding_id` (spec: Unbinding). */
  async unbind(call: Call, ids: BindingIds, query: DeleteQuery): Promise<DeleteOutcome> {
    return decideUntilDone<DeleteOutcome>(this.#operations, call, async () => {
      const instance = ownedBy(call, await this.#store.getInstance(ids.instance_id))
      const binding = ownedBy(call, await this.#store.getBinding(ids.instance_id, ids.binding_id))
      if (instance === undefined || binding === undefined) {
        const asked = this.#operations.platforms
          .catalogOf(call.platform)
          .plan(query.service_id ?? '', query.plan_id ?? '')
        if (asked !== undefined) requireAsync(call, bindManner(asked))
        throw refusals.bindingGone()
      }
      requireIds(query)
      if (binding.serviceId !== query.service_id) {
        throw refusals.malformed(`The service binding is not of the service "${query.service_id}".`)
      }
      const entry = this.#catalog.plan(instance.serviceId, instance.planId)
      const manner = entry === undefined ? mannerOf(this.#operations, instance) : bindManner(entry)
      requireAsync(call, manner)
      const unfinished = await this.#store.unfinishedOperation(ids.instance_id, ids.binding_id)
      // The revocation of expired credentials does not remove the binding.
      if (unfinished?.internal === true && binding.status === 'ready')
        return waitForOther(this.#operations, call, unfinished)
      if (unfinished?.kind === 'unbind') {
        const joined = await join(this.#operations, call, unfinished)
        return joined.kind === 'ended' ? { kind: 'done', body: {} } : accepted(joined.operation)
      }
      const ofInstance = await this.#store.unfinishedOperation(ids.instance_id)
      if (ofInstance !== undefined) return waitUnlessKnown(this.#operations, call, ofInstance)
      const operation = this.#operations.newOperation({
        ...operationFields(this.#operations, call, { manner, needs: instance }),
        kind: 'unbind',
        instanceId: ids.instance_id,
        bindingId: ids.binding_id,
        ...(unfinished === undefined ? {} : { halts: unfinished.operationId })
      })
      const ended = await startAndRun(this.#operations, call, { start: { operation }, manner, halted: unfinished })
      if (ended === 'again') return 'again'
      return ended.kind === 'accepted' ? accepted(ended.operation) : { kind: 'done', body: {} }
    })
  }

  /** The unfinished delete of the instance. It deletes the bindings too, so their credentials may not work any more. */
  async #deletionOfInstance({ instance_id: instanceId }: BindingIds): Promise<OperationRecord | undefined> {
    const unfinished = await this.#store.unfinishedOperation(instanceId)
    return unfinished?.kind === 'deprovision' ? unfinished : undefined
  }

  /** The binding that the request asks for; a rotation takes over what its predecessor was made with. */
  async #wanted(call: Call, { instance, body, bindingId, existing }: WantedInput): Promise<BindingRecord> {
    const predecessor = body.predecessor_binding_id
    const now = new Date()
    const base = {
      instanceId: instance.instanceId,
      bindingId,
      platform: call.platform,
      serviceId: body.service_id ?? instance.serviceId,
      planId: body.plan_id ?? existing?.planId ?? instance.planId,
      context: body.context ?? {},
      status: 'creating' as const,
      createdAt: now,
      updatedAt: now
    }
    if (predecessor === undefined) {
      const appGuid = body.bind_resource?.app_guid ?? body.app_guid
      const route = body.bind_resource?.route
      return {
        ...base,
        parameters: body.parameters ?? {},
        ...(appGuid === undefined ? {} : { appGuid }),
        ...(route === undefined ? {} : { route })
      }
    }
    // A repeated rotation must be answered when its predecessor is gone by now.
    const source =
      existing?.predecessorBindingId === predecessor ? existing : await this.#predecessor(instance, predecessor)
    return {
      ...base,
      predecessorBindingId: predecessor,
      parameters: source.parameters,
      ...(source.appGuid === undefined ? {} : { appGuid: source.appGuid }),
      ...(source.route === undefined ? {} : { route: source.route })
    }
  }

  /** A predecessor must be a non-expired binding of the same instance, of a rotatable plan (spec: Binding Rotation). */
  async #predecessor(instance: InstanceRecord, bindingId: string): Promise<BindingRecord> {
    const predecessor = await this.#store.getBinding(instance.instanceId, bindingId)
    if (predecessor === undefined || predecessor.status !== 'ready') {
      throw refusals.malformed(`The predecessor "${bindingId}" is not a service binding of this service instance.`)
    }
    requireOwn(predecessor, instance.platform)
    if (predecessor.expired === true) {
      throw refusals.malformed(`The predecessor "${bindingId}" has expired.`)
    }
    const entry = requirePlan(this.#catalog, instance.serviceId, instance.planId)
    if (!entry.bindingRotatable) {
      throw refusals.malformed(`The plan "${entry.plan.name}" does not let its service bindings be rotated.`)
    }
    return predecessor
  }

  #requireBindable(instance: InstanceRecord, { serviceId, planId }: BindingRecord): CatalogPlan {
    if (serviceId !== instance.serviceId || planId !== instance.planId) {
      throw refusals.malformed('The service instance is not of this service and plan.')
    }
    const entry = requirePlan(this.#catalog, serviceId, planId)
    if (!entry.bindable) throw refusals.malformed(`The plan "${entry.plan.name}" has no service bindings.`)
    return entry
  }
}

interface WantedInput {
  readonly instance: InstanceRecord
  readonly body: BindRequest
  readonly bindingId: string
  readonly existing: BindingRecord | undefined
}

/** A bind may be answered 202 only where the platform can fetch the credentials later (spec: Fetching a Binding). */
function bindManner(entry: CatalogPlan): Manner {
  const { bindingsRetrievable, maximumPollingSeconds } = entry
  return bindingsRetrievable ? entry : { mode: 'sync', pollable: false, maximumPollingSeconds }
}

function missing(name: string) {
  return refusals.malformed(`The body must have "${name}".`)
}

function finishedReply({ binding, undelivered }: Finish): BindingReply {
  const reply = binding === undefined || binding === 'remove' ? {} : (binding.reply ?? {})
  return undelivered === undefined ? reply : { ...reply, credentials: undelivered.credentials }
}
