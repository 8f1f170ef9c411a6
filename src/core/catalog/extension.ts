import { isJsonObject } from './faults.ts'
import type { ServiceOutline } from './outline.ts'

/** Whether a catalog says anything in our key: what a broker serves does not. */
export function hasExtension(services: readonly ServiceOutline[]): boolean {
  return services.some(({ source, plans }) =>
    [source, ...plans.map((plan) => plan.source)].some((entry) => isJsonObject(entry['x-broker']))
  )
}
