import { Ajv, type ValidateFunction } from 'ajv'
import { CatalogSource } from '../../../schemas/catalog.ts'
import { OWN_SCHEMA } from '../own-schema.ts'
import { explain } from './explain.ts'
import { type Finding, isJsonObject, type Place, toFault } from './faults.ts'
import { objectAt, type ServiceOutline, textAt } from './outline.ts'

/** https://semver.org, "Is there a suggested regular expression". */
const SEMVER =
  /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$/

let shape: ValidateFunction<CatalogSource> | undefined

/** Whether a catalog has the shape of the specification; compiled when first used. */
export function isCatalogSource(catalog: unknown): catalog is CatalogSource {
  shape ??= new Ajv({ ...OWN_SCHEMA, allErrors: true, verbose: true, strict: false }).compile(CatalogSource)
  return shape(catalog)
}

/** Everything that is not as the tables of the specification, or ours, have it. */
export function shapeFindings(catalog: unknown): Finding[] {
  return isCatalogSource(catalog) ? [] : explain(shape?.errors ?? [], true)
}

/** Ids and names that must be unique (spec: Service Offering Object, Service Plan Object). */
export function identityFindings(catalog: unknown, services: readonly ServiceOutline[]): Finding[] {
  const plans = services.flatMap((service) => service.plans)
  return [
    ...duplicates(catalog, services, 'id', 'must be unique in the catalog'),
    ...duplicates(catalog, services, 'name', 'must be unique in the catalog'),
    ...duplicates(catalog, plans, 'id', 'must be unique in the catalog'),
    ...services.flatMap((service) => duplicates(catalog, service.plans, 'name', 'must be unique in its offering'))
  ]
}

/** `maintenance_info.version` (spec: Maintenance Info Object). */
export function versionFindings(services: readonly ServiceOutline[]): Finding[] {
  return services
    .flatMap((service) => service.plans)
    .flatMap((plan) => {
      const version = textAt(objectAt(plan.source, 'maintenance_info'), 'version')
      if (version === undefined || version === '' || SEMVER.test(version)) return []
      const message = `must be a semantic version 2.0 such as 1.0.0, got ${JSON.stringify(version)}`
      return [{ at: [...plan.at, 'maintenance_info', 'version'], message }]
    })
}

/** Our key where it has no meaning would be served, and its author would believe that it works. */
export function misplacedExtensionFindings(value: unknown, at: Place = []): Finding[] {
  if (Array.isArray(value)) return value.flatMap((item, index) => misplacedExtensionFindings(item, [...at, index]))
  if (!isJsonObject(value)) return []
  return Object.entries(value).flatMap(([key, item]) => {
    if (key !== 'x-broker') return misplacedExtensionFindings(item, [...at, key])
    return isExtensible(at) ? [] : [{ at: [...at, key], message: 'belongs to a service offering or a plan only' }]
  })
}

function isExtensible(at: Place): boolean {
  return at[0] === 'services' && (at.length === 2 || (at.length === 4 && at[2] === 'plans'))
}

function duplicates(
  catalog: unknown,
  entries: readonly { at: Place; source: ServiceOutline['source'] }[],
  key: 'id' | 'name',
  rule: string
): Finding[] {
  const first = new Map<string, Place>()
  return entries.flatMap(({ at, source }) => {
    const value = textAt(source, key)
    if (value === undefined || value === '') return []
    const other = first.get(value)
    if (other === undefined) {
      first.set(value, at)
      return []
    }
    const { path } = toFault(catalog, { at: other, message: '' })
    return [{ at: [...at, key], message: `${rule}, but ${JSON.stringify(value)} is also that of ${path}` }]
  })
}
