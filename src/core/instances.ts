import type { DeleteQuery } from '../../schemas/common.ts'
import type {
  InstanceAccepted,
  InstanceFetched,
  InstanceReply,
  ProvisionRequest,
  UpdateRequest
} from '../../schemas/service-instance.ts'
import type { Call, Outcome } from './call.ts'
import type { CatalogPlan } from './catalog/index.ts'
import { currentMetadata, describeInstance, type InstanceDescription } from './description.ts'
import { type BrokerError, refusals } from './errors.ts'
import { newInstance, sameTarget, updateTarget } from './instance-records.ts'
import {
  accepted,
  answerInTime,
  checkMaintenance,
  checkParameters,
  type DeleteOutcome,
  decideUntilDone,
  isHidden,
  join,
  type Manner,
  mannerOf,
  operationFields,
  requireAsync,
  requireIds,
  requirePlan,
  type Started,
  serviceUnknown,
  startAndRun,
  waitUnlessKnown
} from './lifecycle.ts'
import type { Operations } from './operations.ts'
import { ownedBy } from './ownership.ts'
import { sameInstance, sameJson } from './same.ts'
import type { Finish, InstancePatch, InstanceRecord, OperationRecord, Start } from './store.ts'

type InstanceOutcome = Outcome<InstanceReply, InstanceAccepted>

/** The verbs of service instances: one method each, returning an outcome or throwing a `BrokerError`. */
export class Instances {
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

  get #platforms() {
    return this.#operations.platforms
  }

  /** `PUT /v2/service_instances/:instance_id` (spec: Provisioning). */
  async provision(call: Call, instanceId: string, body: ProvisionRequest): Promise<InstanceOutcome> {
    const created = await answerInTime(this.#operations, call, this.#createUnseen(call, instanceId, body))
    if (created !== 'again') return created
    return decideUntilDone(this.#operations, call, async () => {
      const existing = await this.#store.getInstance(instanceId)
      const own = ownedBy(call, existing)
      const entry = requirePlan(this.#platforms.known(call.platform, own), body.service_id, body.plan_id)
      requireAsync(call, entry)
      const wanted = newInstance(call, { instanceId, body, entry })
      if (existing !== undefined) {
        // Before anything that depends on the state of what may be another platform's.
        if (own === undefined || !sameInstance(own, wanted)) throw refusals.instanceConflict(instanceId)
        const unfinished = await this.#store.unfinishedOperation(instanceId)
        if (unfinished?.kind === 'provision') {
          const joined = await join(this.#operations, call, unfinished)
          return joined.kind === 'ended' ? 'again' : acceptedInstance(joined.operation, existing)
        }
        if (unfinished !== undefined) return waitUnlessKnown(this.#operations, call, unfinished)
        if (existing.status === 'ready') {
          return (await this.#stillExists(call, instanceId)) ? { kind: 'exists', body: replyOf(existing) } : 'again'
        }
        if (existing.status === 'creating') return 'again'
      }
      checkMaintenance(entry, body.maintenance_info)
      checkParameters(body.parameters, entry.validate.create)
      const operation = this.#operations.newOperation({
        ...operationFields(this.#operations, call, { manner: entry, needs: wanted }),
        kind: 'provision',
        instanceId
      })
      const start: Start =
        existing === undefined ? { operation, insertInstance: wanted } : { operation, retryCreate: true }
      const ended = await startAndRun(this.#operations, call, { start, manner: entry, takesPlaceOf: entry })
      return ended === 'again' ? 'again' : createdOf(ended, existing ?? wanted)
    })
  }

  /**
   * Most ids are new: a synchronous provision that nothing else could refuse is started without a look, and the store
   * finds out whether the id is taken. `again`: it has to look, nothing was written.
   */
  async #createUnseen(call: Call, instanceId: string, body: ProvisionRequest): Promise<InstanceOutcome | 'again'> {
    const { platform } = call
    const entry = this.#platforms.known(platform, undefined).plan(body.service_id, body.plan_id)
    if (entry === undefined || this.#platforms.quotaOf(platform, entry) !== undefined) return 'again'
    const insertInstance = newInstance(call, { instanceId, body, entry })
    const fields = operationFields(this.#operations, call, { manner: entry, needs: insertInstance })
    // A request that would be refused for its content may have to be refused first because another platform has the id.
    if (fields.async || !acceptable(entry, body)) return 'again'
    const operation = this.#operations.newOperation({ ...fields, kind: 'provision', instanceId })
    const ended = await startAndRun(this.#operations, call, { start: { operation, insertInstance }, manner: entry })
    return ended === 'again' ? 'again' : createdOf(ended, insertInstance)
  }

  /** Reads the instance again, because a delete may have ended between the reads of the instance and of its operations. */
  async #stillExists(call: Call, instanceId: string): Promise<boolean> {
    return ownedBy(call, await this.#store.getInstance(instanceId)) !== undefined
  }

  /** `GET /v2/service_instances/:instance_id` (spec: Fetching a Service Instance). */
  fetch(call: Call, instanceId: string): Promise<InstanceFetched> {
    return answerInTime(this.#operations, call, this.#fetch(call, instanceId))
  }

  async #fetch(call: Call, instanceId: string): Promise<InstanceFetched> {
    // Read the operation first: if a delete ends in between, the instance is already gone when it is read.
    const unfinished = await this.#store.unfinishedOperation(instanceId)
    const instance = ownedBy(call, await this.#store.getInstance(instanceId))
    if (instance === undefined || instance.status !== 'ready') throw refusals.instanceUnknown(instanceId)
    const service = this.#catalog.service(instance.serviceId)
    if (service !== undefined && service.instances_retrievable !== true) {
      throw refusals.notRetrievable('service instances')
    }
    if (unfinished?.kind === 'deprovision') throw refusals.instanceUnknown(instanceId)
    // An update that is being undone, or its restoration, ends with the instance that is stored.
    if (unfinished?.kind === 'update' && !isHidden(unfinished)) throw refusals.concurrency()
    const { maintenanceVersion, parameters } = instance
    return {
      service_id: instance.serviceId,
      plan_id: instance.planId,
      ...replyOf(instance),
      ...(await currentMetadata(this.#operations.options, instance, call.log)),
      ...(Object.keys(parameters).length === 0 ? {} : { parameters }),
      ...(maintenanceVersion === undefined ? {} : { maintenance_info: { version: maintenanceVersion } })
    }
  }

  /** What the instance uses, its bindings and its latest operations. No endpoint of the specification has it. */
  async describe(call: Call, instanceId: string): Promise<InstanceDescription> {
    const instance = ownedBy(call, await this.#store.getInstance(instanceId))
    if (instance === undefined || instance.status !== 'ready') throw refusals.instanceUnknown(instanceId)
    return describeInstance(this.#operations.options, instance, call.log)
  }

  /** `PATCH /v2/service_instances/:instance_id` (spec: Updating a Service Instance). */
  async update(call: Call, instanceId: string, body: UpdateRequest): Promise<InstanceOutcome> {
    return decideUntilDone(this.#operations, call, async () => {
      const instance = ownedBy(call, await this.#store.getInstance(instanceId))
      const all = instance === undefined ? [] : await this.#store.unfinishedOperations(instanceId)
      const unfinished = all.find(({ bindingId }) => bindingId === undefined)
      const known = this.#platforms.known(call.platform, instance, unfinished?.target)
      if (known.service(body.service_id) === undefined) throw serviceUnknown(body.service_id)
      if (body.plan_id !== undefined) requirePlan(known, body.service_id, body.plan_id)
      if (instance === undefined) throw refusals.instanceUnknown(instanceId)
      if (instance.serviceId !== body.service_id) {
        throw refusals.malformed(`The service instance is not of the service "${body.service_id}".`)
      }
      const entry = requirePlan(this.#catalog, instance.serviceId, body.plan_id ?? instance.planId)
      requireAsync(call, entry)
      const target = updateTarget(instance, entry, body)
      if (unfinished?.kind === 'update' && unfinished.target !== undefined && sameTarget(unfinished.target, target)) {
        const joined = await join(this.#operations, call, unfinished)
        return joined.kind === 'ended' ? 'again' : acceptedInstance(joined.operation, unfinished.target)
      }
      const [inTheWay] = all
      if (inTheWay !== undefined) return waitUnlessKnown(this.#operations, call, inTheWay)
      if (instance.status !== 'ready') throw refusals.instanceUnknown(instanceId)
      checkMaintenance(entry, body.maintenance_info)
      checkParameters(body.parameters, entry.validate.update)
      const contextAlone = sameTarget(instance, target)
      if (contextAlone && sameJson(target.context, instance.context)) {
        return (await this.#stillExists(call, instanceId)) ? { kind: 'done', body: replyOf(instance) } : 'again'
      }
      if (!contextAlone) requireUpdateable(this.#catalog.plan(instance.serviceId, instance.planId), entry)
      const manner: Manner = contextAlone ? { mode: 'sync' } : entry
      const operation = this.#operations.newOperation({
        ...operationFields(this.#operations, call, { manner, needs: { ...instance, planId: target.planId } }),
        kind: 'update',
        instanceId,
        target
      })
      const takesPlaceOf = target.planId === instance.planId ? undefined : entry
      const ended = await startAndRun(this.#operations, call, { start: { operation }, manner, takesPlaceOf })
      if (ended === 'again') return 'again'
      if (ended.kind === 'accepted') return acceptedInstance(ended.operation, target)
      return { kind: 'done', body: finishedReply(ended.finish) }
    })
  }

  /** `DELETE /v2/service_instances/:instance_id` (spec: Deprovisioning). */
  async deprovision(call: Call, instanceId: string, query: DeleteQuery): Promise<DeleteOutcome> {
    requireIds(query)
    return decideUntilDone<DeleteOutcome>(this.#operations, call, async () => {
      const instance = ownedBy(call, await this.#store.getInstance(instanceId))
      if (instance === undefined) throw await this.#refusalOfUnknown(call, instanceId, query)
      if (instance.serviceId !== query.service_id) {
        throw refusals.malformed(`The service instance is not of the service "${query.service_id}".`)
      }
      const manner = mannerOf(this.#operations, instance)
      requireAsync(call, manner)
      const all = await this.#store.unfinishedOperations(instanceId)
      const unfinished = all.find(({ bindingId }) => bindingId === undefined)
      if (unfinished?.kind === 'deprovision') {
        const joined = await join(this.#operations, call, unfinished)
        return joined.kind === 'ended' ? { kind: 'done', body: {} } : accepted(joined.operation)
      }
      const ofBindings = all.filter(({ bindingId }) => bindingId !== undefined)
      const [ofBinding] = ofBindings
      const halted = unfinished ?? (ofBindings.length === 1 ? ofBindings.find(isInternalUnbind) : undefined)
      if (ofBinding !== undefined && halted === undefined) return waitUnlessKnown(this.#operations, call, ofBinding)
      const operation = this.#operations.newOperation({
        ...operationFields(this.#operations, call, { manner, needs: instance }),
        kind: 'deprovision',
        instanceId,
        ...(halted === undefined ? {} : { halts: halted.operationId })
      })
      const ended = await startAndRun(this.#operations, call, { start: { operation }, manner, halted })
      if (ended === 'again') return 'again'
      return ended.kind === 'accepted' ? accepted(ended.operation) : { kind: 'done', body: {} }
    })
  }

  /** 410, unless the ids were never right; a delete that is repeated may name a plan that is gone by now. */
  async #refusalOfUnknown(call: Call, instanceId: string, query: DeleteQuery): Promise<BrokerError> {
    const { service_id: serviceId = '', plan_id: planId = '' } = query
    const shown = this.#platforms.catalogOf(call.platform)
    const asked = shown.plan(serviceId, planId)
    if (asked !== undefined) requireAsync(call, asked)
    const latest = await this.#store.latestOperation({ platform: call.platform, instanceId })
    if (asked === undefined && latest?.kind !== 'deprovision') requirePlan(shown, serviceId, planId)
    return refusals.instanceGone()
  }
}

/** It removes what a failed bind has begun, or revokes expired credentials. */
function isInternalUnbind({ kind, internal }: OperationRecord): boolean {
  return kind === 'unbind' && internal
}

function acceptable(entry: CatalogPlan, { maintenance_info: asked, parameters }: ProvisionRequest): boolean {
  if (asked?.version !== undefined && asked.version !== entry.maintenanceVersion) return false
  return parameters === undefined || entry.validate.create(parameters) === undefined
}

function createdOf(ended: Exclude<Started, 'again'>, made: InstanceRecord): InstanceOutcome {
  if (ended.kind === 'accepted') return acceptedInstance(ended.operation, made)
  return { kind: 'created', body: finishedReply(ended.finish) }
}

function acceptedInstance(operation: string, { dashboardUrl }: { dashboardUrl?: string } = {}) {
  const { kind, body } = accepted(operation)
  return { kind, body: { ...body, ...(dashboardUrl === undefined ? {} : { dashboard_url: dashboardUrl }) } }
}

function requireUpdateable(current: CatalogPlan | undefined, asked: CatalogPlan): void {
  const { provider, plan } = asked
  if (provider.update === undefined) throw refusals.unsupportedChange('This service does not support updates.')
  if (current?.plan.id === plan.id) return
  // A plan that has left the catalog cannot say whether it may be left; the one asked for stands in.
  if (!(current ?? asked).planUpdateable) {
    throw refusals.unsupportedChange(`The plan "${(current ?? asked).plan.name}" cannot be changed to another.`)
  }
}

function replyOf({ dashboardUrl, metadata }: Pick<InstancePatch, 'dashboardUrl' | 'metadata'>): InstanceReply {
  return {
    ...(dashboardUrl === undefined ? {} : { dashboard_url: dashboardUrl }),
    ...(metadata === undefined ? {} : { metadata })
  }
}

function finishedReply({ instance }: Finish): InstanceReply {
  return instance === undefined || instance === 'remove' ? {} : replyOf(instance)
}
