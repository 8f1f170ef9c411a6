import type { CatalogSource } from '../../../schemas/catalog.ts'
import { findingsOf } from './check.ts'
import { hasExtension } from './extension.ts'
import { type Finding, type Place, toFault } from './faults.ts'
import type { ServiceOutline } from './outline.ts'
import { parseCatalogText } from './parse.ts'
import { type Position, positionsIn } from './positions.ts'
import type { ProviderChoice } from './provider-rules.ts'
import { isCatalogSource } from './rules.ts'
import { sectionOf } from './sections.ts'

/** One thing to say of a catalog's text. `info`: what was not checked. */
export interface LintFinding {
  level: 'error' | 'warning' | 'info'
  path: string
  message: string
  line?: number
  column?: number
  /** Where to read about it. */
  section: string
}

/** What lint came to. */
export interface CatalogLint {
  /** In the order of the text. */
  findings: LintFinding[]
  /** Present when there are no errors. */
  catalog?: CatalogSource
  /** Finds places of {@link catalog} in the text. */
  positionOf(place: Place): Position
}

/**
 * Checks a catalog's text without being the broker that serves it: a provider may be unknown here, and a catalog without
 * `x-broker` is another broker's, which need not do without what ours cannot do.
 */
export function lintCatalog(text: string, { isJson, ...choice }: ProviderChoice & { isJson: boolean }): CatalogLint {
  const parsed = parseCatalogText(text, isJson)
  if ('problem' in parsed) {
    const { problem, ...place } = parsed
    const finding = { level: 'error' as const, path: '(catalog)', message: problem, ...place }
    return { findings: [{ ...finding, section: sectionOf([]) }], positionOf: () => ({ line: 1, column: 1 }) }
  }
  const positionOf = positionsIn(text)
  const found = findingsOf(parsed.value, choice)
  const isForeign = choice.defaultProvider === undefined && !hasExtension(found.services)
  const levelled = (level: LintFinding['level'], finding: Finding): LintFinding => ({
    level,
    ...toFault(found.catalog, finding),
    ...positionOf(finding.at),
    section: sectionOf(finding.at)
  })
  const findings = [
    ...found.errors.map((finding) => {
      if (!isForeign || finding.ours !== true) return levelled('error', finding)
      return levelled('warning', { ...finding, message: `${finding.message} (by this broker)` })
    }),
    ...found.warnings.map((finding) => levelled('warning', finding)),
    ...uncheckedFindings(found.services, found.unprovided, isForeign).map((finding) => levelled('info', finding))
  ].sort(byPosition)
  const { catalog } = found
  if (findings.some(({ level }) => level === 'error') || !isCatalogSource(catalog)) return { findings, positionOf }
  return { findings, positionOf, catalog }
}

function uncheckedFindings(
  services: readonly ServiceOutline[],
  unprovided: readonly Finding[],
  isForeign: boolean
): Finding[] {
  if (isForeign) {
    if (unprovided.length === 0) return []
    return [{ at: ['services'], message: 'name no provider: nothing of x-broker was checked' }]
  }
  return unprovided.map(({ at }) => {
    const provider = services.find((service) => service.at[1] === at[1])?.extension.provider
    const unchecked = 'its options, and whether it can bind and update, were not checked'
    return typeof provider === 'string'
      ? { at, message: `${JSON.stringify(provider)} is not a built-in provider: ${unchecked}` }
      : { at, message: `is not given, so BROKER_DEFAULT_PROVIDER decides: ${unchecked}` }
  })
}

function byPosition(a: LintFinding, b: LintFinding): number {
  return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0)
}
