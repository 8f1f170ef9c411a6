import { createHash } from 'node:crypto'
import type { Catalog, CatalogSource, ServiceOffering } from '../../../schemas/catalog.ts'
import { type CheckedCatalog, inspectCatalog } from './check.ts'
import { type CatalogPlan, deepFreeze, planEntries, servedCatalog } from './entries.ts'
import { CatalogError, type Fault } from './faults.ts'
import type { ProviderChoice } from './provider-rules.ts'
import { readCatalogFile } from './read.ts'

/** Names a plan, as requests and records do. */
export interface PlanReference {
  readonly serviceId: string
  readonly planId: string
}

/** A catalog that keeps every rule, ready to be served and asked. Nothing in it changes. */
export interface LoadedCatalog {
  /** The answer to `GET /v2/catalog`: what was loaded, without our key. */
  readonly served: Catalog
  /** {@link served} as it goes over the wire. */
  readonly bytes: Buffer
  /** Strong, with its quotes (RFC 9110, 8.8.3); the same for the same bytes. */
  readonly etag: string
  /** The file's, else the time of loading; whole seconds, as in HTTP. */
  readonly lastModified: Date
  readonly warnings: readonly Fault[]
  /** Every plan, in the order of the catalog. */
  readonly plans: readonly CatalogPlan[]
  service(serviceId: string): ServiceOffering | undefined
  /** A plan within its offering: that of another offering is not found. */
  plan(serviceId: string, planId: string): CatalogPlan | undefined
  /** Those of the plans in use that this catalog lacks: with any, it must not take the place of another. */
  dropped<T extends PlanReference>(inUse: readonly T[]): T[]
}

/** Options of {@link loadCatalog}. */
export interface LoadOptions extends ProviderChoice {
  /** Time of loading, for a catalog that is an object. */
  now?: () => Date
}

/**
 * Reads, checks and compiles a catalog. A given object is copied, never changed.
 * @param source A file's path (JSON or YAML), or the catalog itself
 * @throws {CatalogError} when it cannot be read, with one line; when it breaks rules, with a line for each breach
 */
export async function loadCatalog(source: string | CatalogSource, options: LoadOptions): Promise<LoadedCatalog> {
  const file = typeof source === 'string' ? await readCatalogFile(source) : undefined
  const { checked, errors, warnings } = inspectCatalog(file === undefined ? source : file.value, options)
  if (checked === undefined) throw new CatalogError(rejection(file?.path, errors), { faults: errors })
  const modified = file?.modified ?? options.now?.() ?? new Date()
  return toLoaded(checked, { warnings, modified })
}

function toLoaded(
  checked: CheckedCatalog,
  { warnings, modified }: { warnings: Fault[]; modified: Date }
): LoadedCatalog {
  const served = deepFreeze(servedCatalog(checked.source))
  const bytes = Buffer.from(JSON.stringify(served))
  const plans = planEntries(checked, served)
  const services = new Map(served.services.map((service) => [service.id, service]))
  // Plan ids are unique over the whole catalog, so the offering is only compared.
  const byId = new Map(plans.map((entry) => [entry.plan.id, entry]))
  const find = (serviceId: string, planId: string) => {
    const entry = byId.get(planId)
    return entry?.service.id === serviceId ? entry : undefined
  }
  return {
    served,
    bytes,
    etag: etagOf(bytes),
    lastModified: new Date(Math.floor(modified.getTime() / 1_000) * 1_000),
    warnings,
    plans,
    service: (serviceId) => services.get(serviceId),
    plan: find,
    dropped: (inUse) => inUse.filter(({ serviceId, planId }) => find(serviceId, planId) === undefined)
  }
}

/** Strong, with its quotes; the same for the same bytes (RFC 9110, 8.8.3). */
export function etagOf(bytes: Buffer): string {
  return `"${createHash('sha256').update(bytes).digest('base64url')}"`
}

function rejection(path: string | undefined, errors: readonly Fault[]): string {
  const what = path === undefined ? 'The catalog' : `BROKER_CATALOG_PATH: the catalog ${path}`
  const lines = errors.map(({ path: place, message }) => `\n  ${place} ${message}`)
  return `${what} has ${errors.length} ${errors.length === 1 ? 'error' : 'errors'}:${lines.join('')}`
}
