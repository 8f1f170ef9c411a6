import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import type { Catalog } from '../../schemas/catalog.ts'
import { explain } from '../core/catalog/explain.ts'
import { type Fault, type Finding, writePlace } from '../core/catalog/faults.ts'
import { OWN_SCHEMA } from '../core/own-schema.ts'
import type { PlatformRules } from '../core/platform-rules.ts'
import { PlatformsError } from './mistake.ts'
import { Platform, PlatformsFile } from './schema.ts'
import { readWaysIn, type WaysIn, type WrittenPlatform } from './ways-in.ts'

/** All platforms, as they are until a reload. */
export interface Platforms extends WaysIn {
  /** What each may see and have, where that is limited. */
  readonly rules: ReadonlyMap<string, PlatformRules>
}

/** Compiles a schema when it is first needed, and keeps it: a broker has a file of platforms or options, not both. */
const ajv = new Ajv({ ...OWN_SCHEMA, allErrors: true, verbose: true })

/**
 * Checks and reads what a file of platforms says.
 * @param what names it in the message
 * @throws {PlatformsError} with every fault by its path
 */
export function platformsOfFile(what: string, content: unknown): Platforms {
  const isPlatformsFile: ValidateFunction<PlatformsFile> = ajv.compile(PlatformsFile)
  if (!isPlatformsFile(content)) throw refusal(what, shapeFindings(isPlatformsFile.errors ?? []))
  const written = Object.entries(content.platforms).map(([name, platform]) => ({
    at: ['platforms', name],
    name,
    platform
  }))
  return readPlatforms(what, written)
}

/**
 * Checks and reads platforms that were given as options.
 * @throws {PlatformsError} with every fault by its path
 */
export function platformsOfOption(what: string, named: readonly { name: string; platform: unknown; at: number }[]) {
  const findings: Finding[] = []
  const written = named.flatMap(({ name, platform, at }) => {
    const isPlatform: ValidateFunction<Platform> = ajv.compile(Platform)
    if (isPlatform(platform)) return [{ at: [at], name, platform }]
    findings.push(...shapeFindings(isPlatform.errors ?? []).map((found) => ({ ...found, at: [at, ...found.at] })))
    return []
  })
  if (findings.length > 0) throw refusal(what, findings)
  return readPlatforms(what, written)
}

function readPlatforms(what: string, written: readonly WrittenPlatform[]): Platforms {
  const findings: Finding[] = []
  for (const { at, platform } of written) {
    const hasWayIn = [platform.basic, platform.bearer, platform.certificate].some((way) => way !== undefined)
    if (!hasWayIn) findings.push({ at, message: 'has no way in: give basic, bearer or certificate' })
    findings.push(...twice(platform).map((found) => ({ ...found, at: [...at, ...found.at] })))
  }
  const waysIn = readWaysIn(written, findings)
  const rules = new Map<string, PlatformRules>()
  for (const { at, name, platform } of written) {
    if (platform.catalog === undefined && platform.quotas === undefined) continue
    if (rules.has(name)) findings.push({ at, message: `limits the platform ${name}, which is limited already` })
    const { catalog, quotas } = platform
    rules.set(name, { ...(catalog === undefined ? {} : { catalog }), ...(quotas === undefined ? {} : { quotas }) })
  }
  if (findings.length > 0) throw refusal(what, findings)
  return { ...waysIn, rules }
}

/** The second of two rules for one thing would win in silence, or not. */
function twice({ catalog = [], quotas = [] }: Platform): Finding[] {
  const services = catalog.map(({ service }) => service)
  const plans = quotas.map(({ service, plan }) => JSON.stringify([service, plan]))
  return [
    ...repeated(services).map((index) => ({
      at: ['catalog', index],
      message: 'names a service that is named already'
    })),
    ...repeated(plans).map((index) => ({ at: ['quotas', index], message: 'is for a plan that has a quota already' }))
  ]
}

function repeated(values: readonly string[]): number[] {
  return values.flatMap((value, index) => (values.indexOf(value) < index ? [index] : []))
}

/** What a platform may see and have, as it is now. One that is not limited may have everything. */
export function rulesOfPlatform({ current }: { readonly current: Platforms }, platform: string): PlatformRules {
  return current.rules.get(platform) ?? {}
}

/** Names of services and plans that the catalog does not have. They limit nothing, and may be spelled wrong. */
export function unknownNames({ rules }: Platforms, catalog: Catalog): Fault[] {
  const plansOf = new Map(catalog.services.map(({ name, plans }) => [name, plans.map((plan) => plan.name)]))
  return [...rules].flatMap(([platform, { catalog: seen = [], quotas = [] }]) => {
    const entries = [
      ...seen.map(({ service, plans = [] }, index) => ({ at: ['catalog', index], service, plans })),
      ...quotas.map(({ service, plan }, index) => ({ at: ['quotas', index], service, plans: [plan] }))
    ]
    return entries.flatMap(({ at, service, plans }) => {
      const known = plansOf.get(service)
      const path = writePlace(['platforms', platform, ...at])
      if (known === undefined)
        return [{ path, message: `names the service ${service}, which the catalog does not have` }]
      return plans
        .filter((plan) => !known.includes(plan))
        .map((plan) => ({ path, message: `names the plan ${plan}, which ${service} does not have in the catalog` }))
    })
  })
}

/** Short values are repeated, but nothing of what is beside a username. */
function shapeFindings(errors: readonly ErrorObject[]): Finding[] {
  const isSecret = ({ instancePath }: ErrorObject) => instancePath.split('/').includes('basic')
  const { secret = [], open = [] } = Object.groupBy(errors, (error) => (isSecret(error) ? 'secret' : 'open'))
  return [...withoutSplitHashes(explain(secret, false)), ...explain(open, true)]
}

/** Within braces the commas of a hash end it, and the rest becomes keys. */
function withoutSplitHashes(findings: readonly Finding[]): Finding[] {
  const isPiece = ({ at }: Finding) => /[=$]/.test(String(at.at(-1)))
  const split = findings.filter(isPiece).map(({ at }) => [...at.slice(0, -1), 'password_hash'])
  const places = [...new Map(split.map((at) => [writePlace(at), at])).values()]
  const message = 'has commas: within braces it must be in quotes'
  return [...findings.filter((finding) => !isPiece(finding)), ...places.map((at) => ({ at, message }))]
}

function refusal(what: string, findings: readonly Finding[]): PlatformsError {
  const lines = findings.map(({ at, message }) => `\n  ${writePlace(at) || '(all of it)'} ${message}`)
  return new PlatformsError(`${what} has ${lines.length} ${lines.length === 1 ? 'error' : 'errors'}:${lines.join('')}`)
}
