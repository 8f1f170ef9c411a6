import type { Place } from './faults.ts'

/**
 * Where to read about a place of a catalog: the heading in the specification, in its profile, or in
 * `docs/catalog.md`.
 */
export function sectionOf(place: Place): string {
  const [, service, plans, , field, resource, verb, parameters] = place
  if (place.includes('x-broker')) return 'docs/catalog.md: x-broker'
  if (service === undefined) return 'spec: Catalog Management'
  if (plans === 'dashboard_client') return 'profile: Dashboard Client Object'
  if (plans !== 'plans' || place.length < 4) return 'spec: Service Offering Object'
  if (field === 'maintenance_info') return 'spec: Maintenance Info Object'
  if (field !== 'schemas') return 'spec: Service Plan Object'
  if (parameters !== undefined) return 'spec: Input Parameters Schema Object'
  if (verb === undefined) return 'spec: Schemas Object'
  return resource === 'service_binding' ? 'spec: Service Binding Schema Object' : 'spec: Service Instance Schema Object'
}
