import type { Target } from '../target.ts'

/** Reasons why a check does not apply, by what the catalog declares. */
export const unless = {
  bindable: ({ bindable }: Target) => (bindable ? undefined : 'the plan is not bindable'),
  instancesRetrievable: ({ instancesRetrievable }: Target) =>
    instancesRetrievable ? undefined : 'the offering does not declare instances_retrievable',
  bindingsRetrievable: ({ bindable, bindingsRetrievable }: Target) =>
    bindable && bindingsRetrievable ? undefined : 'the offering does not declare bindings_retrievable',
  rotatable: ({ bindable, bindingRotatable }: Target) =>
    bindable && bindingRotatable ? undefined : 'the plan does not declare binding_rotatable',
  planUpdateable: ({ planUpdateable, otherPlans }: Target) =>
    planUpdateable && otherPlans.length > 0 ? undefined : 'there is no plan to change to',
  otherService: ({ otherService }: Target) =>
    otherService === undefined ? 'the catalog has one offering only' : undefined,
  maintenance: ({ plan }: Target) =>
    plan.maintenance_info === undefined ? 'the plan has no maintenance_info' : undefined
}

/** All reasons that apply, the first of them told. */
export function anyOf(...skips: ((target: Target) => string | undefined)[]) {
  return (target: Target) => skips.map((skip) => skip(target)).find((reason) => reason !== undefined)
}
