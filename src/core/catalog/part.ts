import type { PlatformRules } from '../platform-rules.ts'
import { etagOf, type LoadedCatalog } from './load.ts'

/** What one platform is shown of a catalog, or all of it. What is left out does not exist for the platform. */
export interface CatalogPart extends Pick<LoadedCatalog, 'bytes' | 'etag' | 'service' | 'plan'> {
  /** Absent from a part: a change of the rules changes it too, and they have no date. */
  readonly lastModified?: Date
}

/** The offerings and plans that are named, in the order of the catalog; an offering without a plan is left out. */
export function catalogPart(catalog: LoadedCatalog, named: NonNullable<PlatformRules['catalog']>): CatalogPart {
  const services = catalog.served.services.flatMap((service) => {
    const entries = named.filter((entry) => entry.service === service.name)
    const plans = service.plans.filter(({ name }) => entries.some((entry) => entry.plans?.includes(name) ?? true))
    return plans.length === 0 ? [] : [{ ...service, plans }]
  })
  const bytes = Buffer.from(JSON.stringify({ ...catalog.served, services }))
  const byId = new Map(services.map((service) => [service.id, service]))
  const planIds = new Set(services.flatMap(({ plans }) => plans.map(({ id }) => id)))
  return {
    bytes,
    etag: etagOf(bytes),
    service: (serviceId) => byId.get(serviceId),
    plan: (serviceId, planId) => (planIds.has(planId) ? catalog.plan(serviceId, planId) : undefined)
  }
}
