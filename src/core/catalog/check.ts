import type { CatalogSource } from '../../../schemas/catalog.ts'
import type { ServiceProvider } from '../provider.ts'
import { type CatalogReport, type Finding, toFault } from './faults.ts'
import { copyJson } from './json-copy.ts'
import { outlineOf, type PlanOutline, type ServiceOutline, schemasOf } from './outline.ts'
import type { ParametersCheck } from './parameters.ts'
import { modeFindings, platformFindings } from './platform-rules.ts'
import { abilityFindings, isProvider, optionsChecker, type ProviderChoice, providerOf } from './provider-rules.ts'
import {
  identityFindings,
  isCatalogSource,
  misplacedExtensionFindings,
  shapeFindings,
  versionFindings
} from './rules.ts'
import { checkSchema, type SchemaVerdict } from './schema-check.ts'

/** A catalog that keeps every rule, with what the check found out on the way. */
export interface CheckedCatalog {
  /** A copy of what was given. */
  source: CatalogSource
  /** Of each offering, by its id. */
  providers: ReadonlyMap<string, ServiceProvider>
  /** The compiled check of each schema, by its text. */
  checks: ReadonlyMap<string, ParametersCheck>
}

/**
 * Finds all that is wrong with a catalog in one go. Errors are breaches of the specification and of our own key;
 * warnings are what platforms demand beyond the specification (`docs/catalog.md` lists both).
 */
export function checkCatalog(source: unknown, choice: ProviderChoice): CatalogReport {
  const { errors, warnings } = inspectCatalog(source, choice)
  return { errors, warnings }
}

/** {@link checkCatalog} for the loader: `checked` is there when there are no errors. */
export function inspectCatalog(source: unknown, choice: ProviderChoice): CatalogReport & { checked?: CheckedCatalog } {
  const { catalog, providers, checks, ...found } = findingsOf(source, choice)
  const errors = [...found.errors, ...found.unprovided].sort(byPlan)
  const report = {
    errors: errors.map((finding) => toFault(catalog, finding)),
    warnings: found.warnings.map((finding) => toFault(catalog, finding))
  }
  if (errors.length > 0 || !isCatalogSource(catalog)) return report
  return { ...report, checked: { source: catalog, providers, checks } }
}

/** All that there is to say of a catalog, before the places are written out. */
export interface CatalogFindings extends Omit<CheckedCatalog, 'source'> {
  /** A copy of what was given. */
  catalog: unknown
  services: readonly ServiceOutline[]
  errors: Finding[]
  warnings: Finding[]
  /** Offerings whose provider is unknown here: an error for who serves the catalog, and for nobody else. */
  unprovided: Finding[]
}

/** Finds everything, offering by offering. */
export function findingsOf(source: unknown, choice: ProviderChoice): CatalogFindings {
  const copy = copyJson(source)
  const catalog = copy.value
  const services = outlineOf(catalog)
  const providers = providerFindings(services, choice)
  const schemas = schemaFindings(services)
  const errors = [
    ...copy.findings,
    // After a copy that was given up, the rest would report what was left out.
    ...(copy.findings.length > 0 ? [] : shapeFindings(catalog)),
    ...identityFindings(catalog, services),
    ...versionFindings(services),
    ...misplacedExtensionFindings(catalog),
    ...providers.errors,
    ...schemas.errors
  ]
  const warnings = [...platformFindings(catalog, services), ...providers.warnings, ...schemas.warnings]
  return {
    catalog,
    services,
    errors: errors.sort(byPlan),
    warnings: warnings.sort(byPlan),
    unprovided: providers.unprovided,
    providers: providers.found,
    checks: schemas.checks
  }
}

function providerFindings(services: readonly ServiceOutline[], choice: ProviderChoice) {
  const errors: Finding[] = []
  const warnings: Finding[] = []
  const unprovided: Finding[] = []
  const found = new Map<string, ServiceProvider>()
  const checkers = new Map<ServiceProvider, (plan: PlanOutline) => Finding[]>()
  for (const service of services) {
    const provider = providerOf(service, choice)
    if (!isProvider(provider)) {
      unprovided.push(provider)
      warnings.push(...modeFindings(service))
      continue
    }
    const checkOptions = checkers.get(provider) ?? optionsChecker(provider)
    checkers.set(provider, checkOptions)
    found.set(String(service.source.id), provider)
    errors.push(...abilityFindings(service, provider), ...service.plans.flatMap(checkOptions))
    warnings.push(...modeFindings(service, provider))
  }
  return { errors, warnings, unprovided, found }
}

/** Plans often share a schema, so each text is checked and compiled once. */
function schemaFindings(services: readonly ServiceOutline[]) {
  const errors: Finding[] = []
  const warnings = new Map<string, Finding[]>()
  const checks = new Map<string, ParametersCheck>()
  const verdicts = new Map<string, SchemaVerdict>()
  for (const { at, schema } of services.flatMap((service) => service.plans).flatMap(schemasOf)) {
    const text = JSON.stringify(schema)
    const verdict = verdicts.get(text) ?? checkSchema(schema)
    verdicts.set(text, verdict)
    if (verdict.check !== undefined) checks.set(text, verdict.check)
    errors.push(...verdict.errors.map((finding) => below(at, finding)))
    for (const finding of verdict.warnings) {
      warnings.set(finding.message, [...(warnings.get(finding.message) ?? []), below(at, finding)])
    }
  }
  return { errors, warnings: [...warnings.values()].flatMap(summarize), checks }
}

/** A draft is chosen once for a whole catalog: thirty schemas of it are one warning. */
function summarize([first, ...others]: Finding[]): Finding[] {
  if (first === undefined) return []
  const schemas = others.length === 1 ? '1 other schema' : `${others.length} other schemas`
  return [others.length === 0 ? first : { ...first, message: `${first.message} (the same in ${schemas})` }]
}

function below(at: Finding['at'], finding: Finding): Finding {
  return { ...finding, at: [...at, ...finding.at] }
}

/** Offering by offering and plan by plan, as one works through the file. */
function byPlan(a: Finding, b: Finding): number {
  return indexIn(a, 1) - indexIn(b, 1) || indexIn(a, 3) - indexIn(b, 3)
}

function indexIn({ at }: Finding, depth: number): number {
  const index = at[depth]
  return typeof index === 'number' ? index : -1
}
