import type { Catalog } from '../../../../schemas/catalog.ts'
import { hasExtension } from '../extension.ts'
import { toFault } from '../faults.ts'
import { outlineOf, textAt } from '../outline.ts'
import type { CatalogChange, Difference, OfferingPair, PlanPair } from './change.ts'
import { extensionDifferences, providerDifferences } from './extension.ts'
import { type Identified, identityDifferences } from './identity.ts'
import { offeringDifferences } from './offering.ts'
import { planDifferences } from './plan.ts'
import { schemaDifferences } from './schemas.ts'

/**
 * Says what is different for instances that live, and for platforms that know the catalog already, when `after` takes the
 * place of `before`. Offerings and plans are the same where their ids are (spec: Catalog Management, "the only immutable
 * property"). `metadata`, descriptions and vendor fields are no difference. `x-broker` is compared where both catalogs
 * have it: what a broker serves has not.
 *
 * Both must be good catalogs (see `checkCatalog`). Neither is changed.
 *
 * @returns in the order of `after`; what was removed comes last
 * @example
 * const breaking = compareCatalogs(served, next).filter(({ severity }) => severity === 'breaks')
 */
export function compareCatalogs(before: Catalog, after: Catalog): CatalogChange[] {
  const old = outlineOf(before)
  const next = outlineOf(after)
  const { differences, kept } = identityDifferences(old, next)
  const offerings = kept.map(({ offering }) => offering)
  const plans = kept.flatMap((entry) => entry.plans)
  const extended = comparesExtensions(before, after)
  const found = [
    ...differences,
    ...offerings.flatMap((pair) => ofOffering(pair, offeringDifferences(pair))),
    ...plans.flatMap((pair) => ofPlan(pair, planDifferences(pair))),
    ...(extended ? offerings.flatMap((pair) => ofOffering(pair, providerDifferences(pair))) : []),
    ...(extended ? plans.flatMap((pair) => ofPlan(pair, extensionDifferences(pair))) : []),
    ...schemaDifferences(plans)
  ]
  return once(found)
    .sort(byPlace)
    .map(({ side = 'after', ...difference }) => {
      const { path } = toFault(side === 'after' ? after : before, { at: difference.at, message: '' })
      return { ...difference, side, path }
    })
}

/** Whether two catalogs can be compared by what they say to this broker alone, in `x-broker`. */
export function comparesExtensions(before: Catalog, after: Catalog): boolean {
  return hasExtension(outlineOf(before)) && hasExtension(outlineOf(after))
}

function ofOffering({ after }: OfferingPair, differences: readonly Difference[]): Identified[] {
  const serviceId = textAt(after.source, 'id') ?? ''
  return differences.map((difference) => ({ serviceId, ...difference }))
}

/** What is said of a plan may be written at its offering, and is that of no single plan then. */
function ofPlan({ offering, after }: PlanPair, differences: readonly Difference[]): Identified[] {
  const planId = textAt(after.source, 'id') ?? ''
  return ofOffering(offering, differences).map((found) => (found.at.length < 4 ? found : { ...found, planId }))
}

function once(differences: readonly Identified[]): Identified[] {
  const said = new Map(differences.map((found) => [JSON.stringify([found.at, found.side, found.message]), found]))
  return [...said.values()]
}

function byPlace(a: Identified, b: Identified): number {
  const removed = Number(a.side === 'before') - Number(b.side === 'before')
  return removed || indexIn(a, 1) - indexIn(b, 1) || indexIn(a, 3) - indexIn(b, 3)
}

function indexIn({ at }: Identified, depth: number): number {
  const index = at[depth]
  return typeof index === 'number' ? index : -1
}
