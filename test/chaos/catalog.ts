export const serviceId = 'chaos-service'
export const exampleServiceId = 'chaos-example'
export const scriptedServiceId = 'chaos-scripted'

export const plans = {
  small: 'chaos-small',
  large: 'chaos-large',
  slow: 'chaos-slow',
  brief: 'chaos-brief',
  /** Of the scripted provider, with the longest time an operation may have. */
  steady: 'chaos-steady',
  /** Of the scripted provider: an operation that hangs ends soon. */
  hasty: 'chaos-hasty'
} as const

/** `maximum_polling_duration` of the plan `hasty`, in seconds. */
export const HASTY_SECONDS = 6

/** Plan that the catalog of this version is the first to have; version 0 has none. */
export function addedPlan(version: number): string {
  return `chaos-added-${version}`
}

/** Plan that only the catalog of this version has; no client uses it. */
function spare(version: number): string {
  return `chaos-spare-${version}`
}

const databases = {
  id: serviceId,
  name: 'databases',
  description: 'Real databases',
  bindable: true,
  instances_retrievable: true,
  bindings_retrievable: true,
  plan_updateable: true,
  'x-broker': { provider: 'postgresql' },
  plans: [
    { id: plans.small, name: 'small', description: 'small', 'x-broker': { options: { connection_limit: 5 } } },
    { id: plans.large, name: 'large', description: 'large', 'x-broker': { options: { connection_limit: 9 } } }
  ]
}

const example = {
  id: exampleServiceId,
  name: 'waiting',
  description: 'Work that takes its time',
  bindable: true,
  instances_retrievable: true,
  bindings_retrievable: true,
  'x-broker': { provider: 'example' },
  plans: [
    {
      id: plans.slow,
      name: 'slow',
      description: 'slow',
      'x-broker': { mode: 'async', options: { delay_ms: 4_000 } }
    },
    {
      id: plans.brief,
      name: 'brief',
      description: 'brief',
      'x-broker': { mode: 'async', options: { delay_ms: 1_000 } }
    }
  ]
}

/** The catalog without what needs the scripted provider, for plain `osb serve`. */
export const plainCatalog = { services: [databases, example] }

/** The catalog of a chaos run; each version has a plan more than the one before, and lacks a plan that is not in use. */
export function chaosCatalog(version: number): object {
  const plan = (id: string, more: object = {}) => ({ id, name: id, description: id, ...more })
  const added = Array.from({ length: version }, (_, index) => plan(addedPlan(index + 1)))
  const scripted = {
    id: scriptedServiceId,
    name: 'scripted',
    description: 'Does what its parameters say',
    bindable: true,
    instances_retrievable: true,
    bindings_retrievable: true,
    plan_updateable: true,
    'x-broker': { provider: 'scripted' },
    plans: [
      plan(plans.steady),
      plan(plans.hasty, { maximum_polling_duration: HASTY_SECONDS }),
      plan(spare(version)),
      ...added
    ]
  }
  return { services: [databases, example, scripted] }
}
