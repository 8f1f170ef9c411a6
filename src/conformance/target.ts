import { Value } from '@sinclair/typebox/value'
import { Catalog, ServiceOffering, type ServicePlan } from '../../schemas/catalog.ts'
import type { JsonObject } from '../../schemas/common.ts'
import { type Exchange, isObject } from './exchange.ts'
import { shapeFault } from './expect.ts'
import { examplesOf, type ParameterExamples } from './parameters.ts'

/** What the checks try: one plan, and what the catalog says of it. */
export interface Target {
  readonly catalog: Catalog
  readonly service: ServiceOffering
  readonly plan: ServicePlan
  readonly bindable: boolean
  readonly planUpdateable: boolean
  readonly instancesRetrievable: boolean
  readonly bindingsRetrievable: boolean
  readonly bindingRotatable: boolean
  readonly contextUpdates: boolean
  /** Other plans of the same offering. */
  readonly otherPlans: readonly ServicePlan[]
  /** Another offering, for requests that name the wrong one. */
  readonly otherService: ServiceOffering | undefined
  /** Sent with a provision; `undefined` when nothing has to be. */
  readonly createParameters: JsonObject | undefined
  /** Sent with a bind; `undefined` when nothing has to be. */
  readonly bindParameters: JsonObject | undefined
  /** What can be sent, by the schemas of the plan. */
  readonly examples: Readonly<Record<'create' | 'update' | 'bind', ParameterExamples | undefined>>
}

/** What to try, by name or id; the first bindable plan when nothing is named. */
export interface Choice {
  readonly service?: string | undefined
  readonly plan?: string | undefined
  readonly parameters?: JsonObject | undefined
  readonly bindParameters?: JsonObject | undefined
}

/** There is nothing to try: the catalog is none, or does not have what was asked for. */
export class TargetError extends Error {
  override readonly name = 'TargetError'
}

/** The broker serves no catalog that anything could be chosen from. */
export class UnreadableCatalog extends Error {
  override readonly name = 'UnreadableCatalog'
}

/**
 * @throws {TargetError} when the catalog does not hold what was chosen
 * @throws {UnreadableCatalog} when it holds nothing that could be chosen
 */
export function chooseTarget({ status, json }: Exchange, choice: Choice): Target {
  if (status !== 200) throw new UnreadableCatalog(`GET /v2/catalog was answered ${status}, not 200.`)
  const catalog = { services: readableIn(json) }
  if (isUnreadable(json, catalog, choice.service)) {
    throw new UnreadableCatalog(
      `The offering "${choice.service}" is not as the specification has it: ${shapeFault(Catalog, json)}`
    )
  }
  const service = chooseService(catalog, choice.service)
  const plan = choosePlan(service, choice.plan)
  const { service_instance: instance, service_binding: binding } = plan.schemas ?? {}
  const examples = {
    create: examplesFor(instance?.create),
    update: examplesFor(instance?.update),
    bind: examplesFor(binding?.create)
  }
  return {
    catalog,
    service,
    plan,
    bindable: isBindable(service, plan),
    planUpdateable: plan.plan_updateable ?? service.plan_updateable ?? false,
    instancesRetrievable: service.instances_retrievable === true,
    bindingsRetrievable: service.bindings_retrievable === true,
    bindingRotatable: plan.binding_rotatable === true,
    contextUpdates: service.allow_context_updates === true,
    otherPlans: service.plans.filter(({ id }) => id !== plan.id),
    otherService: catalog.services.find(({ id }) => id !== service.id),
    createParameters: choice.parameters ?? needed(examples.create),
    bindParameters: choice.bindParameters ?? needed(examples.bind),
    examples
  }
}

/** The offerings that are as the specification has them; a check tells what is wrong with the others. */
function readableIn(json: unknown): ServiceOffering[] {
  const services = isObject(json) && Array.isArray(json.services) ? json.services : undefined
  const readable = services?.filter((service) => Value.Check(ServiceOffering, service))
  if (readable !== undefined && (readable.length > 0 || services?.length === 0)) return readable
  const fault = shapeFault(Catalog, json)
  throw new UnreadableCatalog(`No offering of the catalog is as the specification has it: ${fault}`)
}

/** Whether what was chosen is there, and is only not what the specification says. */
function isUnreadable(json: unknown, { services }: Catalog, wanted: string | undefined): boolean {
  const isWanted = (service: unknown) => isObject(service) && (service.id === wanted || service.name === wanted)
  const all = isObject(json) && Array.isArray(json.services) ? json.services : []
  return wanted !== undefined && all.some(isWanted) && !services.some(isWanted)
}

function examplesFor(part: { parameters?: JsonObject } | undefined): ParameterExamples | undefined {
  return part?.parameters === undefined ? undefined : examplesOf(part.parameters)
}

/** The least that has to be sent: nothing, unless the schema requires something. */
function needed(examples: ParameterExamples | undefined): JsonObject | undefined {
  const { least } = examples ?? {}
  return least === undefined || Object.keys(least).length === 0 ? undefined : least
}

/** Whether instances of the plan can be bound (spec: Service Plan Object, `bindable`). */
export function isBindable(service: ServiceOffering, plan: ServicePlan): boolean {
  return plan.bindable ?? service.bindable
}

function chooseService({ services }: Catalog, wanted: string | undefined): ServiceOffering {
  const found =
    wanted === undefined
      ? (services.find((service) => service.plans.some((plan) => isBindable(service, plan))) ?? services[0])
      : services.find(({ id, name }) => id === wanted || name === wanted)
  if (found !== undefined) return found
  if (services.length === 0) throw new TargetError('The catalog offers nothing.')
  const names = services.map(({ name }) => name).join(', ')
  throw new TargetError(`The catalog has no service offering "${wanted}". It has: ${names}.`)
}

function choosePlan(service: ServiceOffering, wanted: string | undefined): ServicePlan {
  const { plans } = service
  const found =
    wanted === undefined
      ? (plans.find((plan) => isBindable(service, plan)) ?? plans[0])
      : plans.find(({ id, name }) => id === wanted || name === wanted)
  if (found !== undefined) return found
  const names = plans.map(({ name }) => name).join(', ')
  throw new TargetError(`The service offering "${service.name}" has no plan "${wanted}". It has: ${names}.`)
}
