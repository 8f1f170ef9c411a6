import { PlanSource, ServiceSource } from '../../../schemas/catalog.ts'
import type { JsonObject } from '../../../schemas/common.ts'
import type { ServiceProvider } from '../provider.ts'
import { type Finding, isJsonObject, type Place } from './faults.ts'
import { nearMisses } from './near-misses.ts'
import { flagOf, objectAt, type PlanOutline, type ServiceOutline, textAt } from './outline.ts'

const MAX_NAME = 63
const MAX_DESCRIPTION = 9_999
/** spec: Catalog Management, "RECOMMENDED that strings do not exceed 255 characters". */
const SHORT_DESCRIPTION = 255
const MAX_TAGS = 2_048
const MAX_MAINTENANCE_INFO = 1_999

/** What the specification allows and platforms refuse, and what its author probably did not mean. */
export function platformFindings(catalog: unknown, services: readonly ServiceOutline[]): Finding[] {
  const isEmpty = isJsonObject(catalog) && Array.isArray(catalog.services) && catalog.services.length === 0
  return [
    ...(isEmpty ? [{ at: ['services'], message: 'is empty: Cloud Controller wants at least one offering' }] : []),
    ...services.flatMap((service) => [
      ...commonFindings(service),
      ...tagFindings(service),
      ...dashboardFindings(service),
      ...nearMisses(service, Object.keys(ServiceSource.properties)),
      ...service.plans.flatMap((plan) => [
        ...commonFindings(plan),
        ...maintenanceFindings(plan),
        ...idleFindings(service, plan),
        ...unknownSchemaFindings(plan),
        ...nearMisses(plan, Object.keys(PlanSource.properties))
      ])
    ])
  ]
}

/** An asynchronous bind is answered 202, and then fetched: without a fetch it cannot be (spec: Binding). */
export function modeFindings(service: ServiceOutline, provider?: ServiceProvider): Finding[] {
  if (service.source.bindings_retrievable === true) return []
  return service.plans
    .filter((plan) => (plan.extension.mode ?? provider?.mode) === 'async' && flagOf(service, plan, 'bindable'))
    .flatMap((plan) => [
      {
        at: [...plan.at, 'x-broker', 'mode'],
        message: 'is async, but bindings are not: that needs bindings_retrievable: true on the offering'
      },
      ...(plan.extension.keep_credentials === false
        ? [
            {
              at: [...plan.at, 'x-broker', 'keep_credentials'],
              message:
                'is false, and nothing can be fetched: credentials are lost with the one answer that has them; ' +
                'bindings_retrievable: true on the offering lets a platform that can poll fetch them'
            }
          ]
        : [])
    ])
}

function commonFindings({ at, source }: { at: Place; source: JsonObject }): Finding[] {
  const name = textAt(source, 'name')
  const unfriendly = name !== undefined && name !== '' && !/^[A-Za-z0-9.-]+$/.test(name)
  return [
    ...(unfriendly
      ? [{ at: [...at, 'name'], message: 'is not CLI-friendly: use letters, digits, periods and hyphens only' }]
      : []),
    ...tooLong(at, source, 'id', MAX_NAME),
    ...tooLong(at, source, 'name', MAX_NAME),
    ...descriptionFindings(at, source)
  ]
}

function descriptionFindings(at: Place, source: JsonObject): Finding[] {
  const { length } = textAt(source, 'description') ?? ''
  if (length > MAX_DESCRIPTION) return tooLong(at, source, 'description', MAX_DESCRIPTION)
  if (length <= SHORT_DESCRIPTION) return []
  const message = `has ${length} characters; the specification recommends at most ${SHORT_DESCRIPTION}`
  return [{ at: [...at, 'description'], message }]
}

function tooLong(at: Place, source: JsonObject, key: string, limit: number): Finding[] {
  const { length } = textAt(source, key) ?? ''
  if (length <= limit) return []
  return [{ at: [...at, key], message: `has ${length} characters; Cloud Controller takes at most ${limit}` }]
}

function tagFindings({ at, source }: ServiceOutline): Finding[] {
  const length = Array.isArray(source.tags) ? source.tags.join().length : 0
  if (length <= MAX_TAGS) return []
  return [{ at: [...at, 'tags'], message: `have ${length} characters together; Cloud Controller takes ${MAX_TAGS}` }]
}

/** Required by Cloud Controller, optional in the profile. */
function dashboardFindings({ at, source }: ServiceOutline): Finding[] {
  if (source.dashboard_client === undefined || textAt(objectAt(source, 'dashboard_client'), 'redirect_uri')) return []
  return [{ at: [...at, 'dashboard_client', 'redirect_uri'], message: 'is required by Cloud Controller' }]
}

/** What holds for bindings says nothing where there are none (spec: Schemas Object, "only if … bindable"). */
function idleFindings(service: ServiceOutline, plan: PlanOutline): Finding[] {
  if ((plan.source.bindable ?? service.source.bindable) !== false) return []
  const message = 'has no effect: the plan is not bindable'
  return [
    ...(plan.source.binding_rotatable === true ? [{ at: [...plan.at, 'binding_rotatable'], message }] : []),
    ...(plan.extension.keep_credentials === false
      ? [{ at: [...plan.at, 'x-broker', 'keep_credentials'], message }]
      : []),
    ...(objectAt(plan.source, 'schemas').service_binding === undefined
      ? []
      : [{ at: [...plan.at, 'schemas', 'service_binding'], message }])
  ]
}

function maintenanceFindings(plan: PlanOutline): Finding[] {
  const info = objectAt(plan.source, 'maintenance_info')
  const at = [...plan.at, 'maintenance_info']
  const { length } = JSON.stringify(info)
  return [
    ...Object.keys(info)
      .filter((key) => key !== 'version' && key !== 'description')
      .map((key) => ({ at: [...at, key], message: 'is refused by Cloud Controller: only version and description' })),
    ...(length > MAX_MAINTENANCE_INFO
      ? [{ at, message: `has ${length} characters; Cloud Controller takes at most ${MAX_MAINTENANCE_INFO}` }]
      : [])
  ]
}

/** A schema under a key that nobody reads checks nothing. */
function unknownSchemaFindings(plan: PlanOutline): Finding[] {
  const schemas = objectAt(plan.source, 'schemas')
  const instance = objectAt(schemas, 'service_instance')
  const binding = objectAt(schemas, 'service_binding')
  const at = [...plan.at, 'schemas']
  return [
    ...unknownKeys(schemas, at, ['service_instance', 'service_binding']),
    ...unknownKeys(instance, [...at, 'service_instance'], ['create', 'update']),
    ...unknownKeys(binding, [...at, 'service_binding'], ['create']),
    ...unknownKeys(objectAt(instance, 'create'), [...at, 'service_instance', 'create'], ['parameters']),
    ...unknownKeys(objectAt(instance, 'update'), [...at, 'service_instance', 'update'], ['parameters']),
    ...unknownKeys(objectAt(binding, 'create'), [...at, 'service_binding', 'create'], ['parameters'])
  ]
}

function unknownKeys(source: JsonObject, at: Place, known: readonly string[]): Finding[] {
  return Object.keys(source)
    .filter((key) => !known.includes(key))
    .map((key) => ({ at: [...at, key], message: `is not a field of the specification (known: ${known.join(', ')})` }))
}
