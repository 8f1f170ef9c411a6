import type { CatalogPlan, LoadedCatalog } from './catalog/index.ts'
import { type CatalogPart, catalogPart } from './catalog/part.ts'
import type { PlatformRules, PlatformRulesOf } from './platform-rules.ts'
import { sameJson } from './same.ts'
import type { InstanceRecord, Quota, UpdateTarget } from './store.ts'

/** Where the offerings and plans of a request are looked up. */
export type PlanLookup = Pick<CatalogPart, 'service' | 'plan'>

/** The part of a platform, and what it was made of. */
interface MadePart {
  readonly catalog: LoadedCatalog
  readonly named: NonNullable<PlatformRules['catalog']>
  readonly part: CatalogPart
}

const withoutLimits: PlatformRules = {}

/** What each platform may see and have, by the catalog and the rules as they are now. */
export class Platforms {
  readonly #catalog: () => LoadedCatalog
  readonly #rulesOf: PlatformRulesOf
  readonly #parts = new Map<string, MadePart>()

  constructor(catalog: () => LoadedCatalog, rulesOf: PlatformRulesOf = () => withoutLimits) {
    this.#catalog = catalog
    this.#rulesOf = rulesOf
  }

  /** What the platform sees of the catalog. Made again only when the catalog or the rules have changed. */
  catalogOf(platform: string): CatalogPart {
    const catalog = this.#catalog()
    const { catalog: named } = this.#rulesOf(platform)
    if (named === undefined) return catalog
    const made = this.#parts.get(platform)
    // By value: a function may well answer with new objects each time.
    if (made?.catalog === catalog && sameJson(made.named, named)) return made.part
    const part = catalogPart(catalog, named)
    this.#parts.set(platform, { catalog, named, part })
    return part
  }

  /**
   * What a request of the platform may name: what it sees, and the plan of its instance, which it knows already.
   * @param instance of this platform; a failed one has no plan yet
   * @param target of the unfinished update of the instance
   */
  known(platform: string, instance: InstanceRecord | undefined, target?: UpdateTarget): PlanLookup {
    const shown = this.catalogOf(platform)
    if (instance === undefined || instance.status === 'failed') return shown
    const { serviceId: own } = instance
    const planIds = [instance.planId, target?.planId]
    const catalog = this.#catalog()
    return {
      service: (serviceId) => (serviceId === own ? catalog : shown).service(serviceId),
      plan: (serviceId, planId) =>
        (serviceId === own && planIds.includes(planId) ? catalog : shown).plan(serviceId, planId)
    }
  }

  /** How many instances of the plan the platform may have at once; of several quotas the smallest counts. */
  quotaOf(platform: string, { service, plan }: CatalogPlan): Quota | undefined {
    const { quotas = [] } = this.#rulesOf(platform)
    const limits = quotas.filter((quota) => quota.service === service.name && quota.plan === plan.name)
    if (limits.length === 0) return undefined
    return { planId: plan.id, instances: Math.min(...limits.map(({ instances }) => instances)) }
  }
}
