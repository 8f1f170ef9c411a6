import type {
  Catalog,
  Mode,
  PlanSource,
  ServiceOffering,
  ServicePlan,
  ServiceSource
} from '../../../schemas/catalog.ts'
import type { JsonObject } from '../../../schemas/common.ts'
import type { ServiceProvider } from '../provider.ts'
import type { CheckedCatalog } from './check.ts'
import { acceptAll, type ParametersCheck } from './parameters.ts'
import { optionsOf } from './provider-rules.ts'

/** A plan with everything a request needs to know of it, defaults filled in and the offering's words inherited. */
export interface CatalogPlan {
  /** As served, without our key. */
  readonly service: ServiceOffering
  readonly plan: ServicePlan
  readonly provider: ServiceProvider
  readonly mode: Mode
  /** `x-broker.options` with the provider's defaults filled in. */
  readonly options: JsonObject
  readonly requiresApp: boolean
  readonly endpoints: boolean
  readonly keepCredentials: boolean
  readonly bindable: boolean
  readonly planUpdateable: boolean
  readonly bindingRotatable: boolean
  readonly bindingsRetrievable: boolean
  readonly instancesRetrievable: boolean
  readonly allowContextUpdates: boolean
  readonly maximumPollingSeconds?: number
  /** `maintenance_info.version` */
  readonly maintenanceVersion?: string
  readonly requires: readonly string[]
  /** Checks of request parameters, compiled when the catalog loaded. */
  readonly validate: {
    readonly create: ParametersCheck
    readonly update: ParametersCheck
    readonly bind: ParametersCheck
  }
}

/** The catalog as platforms see it: everything but our key. */
export function servedCatalog(source: CheckedCatalog['source']): Catalog {
  return { ...source, services: source.services.map((service) => servedService(service)) }
}

/** Every plan of every offering, in the order of the catalog. */
export function planEntries(checked: CheckedCatalog, served: Catalog): CatalogPlan[] {
  return checked.source.services.flatMap((source, index) => {
    const service = served.services[index]
    const provider = checked.providers.get(source.id)
    if (service === undefined || provider === undefined) return []
    return source.plans.flatMap((planSource, planIndex) => {
      const plan = service.plans[planIndex]
      return plan === undefined
        ? []
        : [planEntry({ service, plan, provider, source: planSource, checks: checked.checks })]
    })
  })
}

interface Ingredients {
  service: ServiceOffering
  plan: ServicePlan
  provider: ServiceProvider
  source: PlanSource
  checks: CheckedCatalog['checks']
}

function planEntry({ service, plan, provider, source, checks }: Ingredients): CatalogPlan {
  const extension = source['x-broker'] ?? {}
  const { maximum_polling_duration: maximumPollingSeconds, maintenance_info: maintenance, schemas } = plan
  const checkOf = (part: { parameters?: JsonObject } | undefined) =>
    checks.get(JSON.stringify(part?.parameters)) ?? acceptAll
  return {
    service,
    plan,
    provider,
    mode: extension.mode ?? provider.mode,
    options: deepFreeze(optionsOf({ at: [], source, extension }, provider)),
    requiresApp: extension.requires_app ?? false,
    // Off: the Go client reads ports as numbers and fails the whole bind on the specification's strings.
    endpoints: extension.endpoints ?? false,
    keepCredentials: extension.keep_credentials ?? true,
    bindable: plan.bindable ?? service.bindable,
    planUpdateable: plan.plan_updateable ?? service.plan_updateable ?? false,
    bindingRotatable: plan.binding_rotatable ?? false,
    bindingsRetrievable: service.bindings_retrievable ?? false,
    instancesRetrievable: service.instances_retrievable ?? false,
    allowContextUpdates: service.allow_context_updates ?? false,
    ...(maximumPollingSeconds === undefined ? {} : { maximumPollingSeconds }),
    ...(maintenance === undefined ? {} : { maintenanceVersion: maintenance.version }),
    requires: service.requires ?? [],
    validate: {
      create: checkOf(schemas?.service_instance?.create),
      update: checkOf(schemas?.service_instance?.update),
      bind: checkOf(schemas?.service_binding?.create)
    }
  }
}

/** Spread whole first, so that the fields keep the order of the file. */
function servedService(source: ServiceSource): ServiceOffering {
  const { 'x-broker': _extension, ...service } = source
  return { ...service, plans: source.plans.map(({ 'x-broker': _planExtension, ...plan }) => plan) }
}

/** A provider that changed its options would change them for every instance of the plan. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const child of Object.values(value)) deepFreeze(child)
  }
  return value
}
