import type { ErrorObject } from 'ajv'
import { type Finding, isJsonObject, type Place, shorten } from './faults.ts'
import { phrase } from './phrases.ts'

/** Everything that Ajv reported of one place. */
interface Group {
  at: Place
  /** Alternatives of a union are said as alternatives. */
  isUnion: boolean
  allowed: Set<string>
  types: Set<string>
  got: string
  phrases: Set<string>
  /** What to say when Ajv names no better reason. */
  fallback: string | undefined
}

/** Keywords whose own message only says that one of the others did not hold. */
const SUMMARIES: ReadonlySet<string> = new Set(['anyOf', 'oneOf', 'if', 'propertyNames', '$ref'])

/**
 * Says what Ajv found in words for people: one finding for each place. Needs the option `verbose`.
 * @param echo Whether short values may be repeated. Never those of a request: they may be secrets.
 */
export function explain(errors: readonly ErrorObject[], echo: boolean): Finding[] {
  const groups = new Map<string, Group>()
  for (const error of errors) addTo(groups, error, echo)
  const all = [...groups.values()]
  return all
    .filter((group) => hasReason(group) || !all.some((other) => hasReason(other) && isBelow(other.at, group.at)))
    .map((group) => ({ at: group.at, message: toMessage(group) }))
}

function addTo(groups: Map<string, Group>, error: ErrorObject, echo: boolean): void {
  const at = placeOf(error)
  const key = JSON.stringify(at)
  const group = groups.get(key) ?? newGroup(at)
  groups.set(key, group)
  group.got = describeValue(error.data, echo)
  if (SUMMARIES.has(error.keyword)) {
    group.isUnion ||= error.keyword === 'anyOf' || error.keyword === 'oneOf'
    group.fallback ??= error.keyword === 'oneOf' ? 'must have exactly one of the allowed forms' : error.message
  } else if (error.keyword === 'const') {
    group.allowed.add(literal(error.params.allowedValue))
  } else if (error.keyword === 'enum') {
    for (const value of error.params.allowedValues) group.allowed.add(literal(value))
  } else if (error.keyword === 'type') {
    for (const type of [error.params.type].flat()) group.types.add(withArticle(String(type)))
  } else {
    group.phrases.add(phrase(error))
  }
}

function newGroup(at: Place): Group {
  return {
    at,
    isUnion: false,
    allowed: new Set(),
    types: new Set(),
    got: '',
    phrases: new Set(),
    fallback: undefined
  }
}

/** A missing or surplus key is reported at the object; people look for it at the key. */
function placeOf({ instancePath, params, propertyName }: ErrorObject): Place {
  const at = instancePath.split('/').slice(1).map(toKey)
  const key: unknown = params.missingProperty ?? params.additionalProperty ?? params.unevaluatedProperty ?? propertyName
  return typeof key === 'string' ? [...at, key] : at
}

function toKey(segment: string): string | number {
  return /^\d+$/.test(segment) ? Number(segment) : segment.replaceAll('~1', '/').replaceAll('~0', '~')
}

function hasReason(group: Group): boolean {
  return group.phrases.size > 0 || group.allowed.size > 0 || group.types.size > 0
}

function isBelow(place: Place, above: Place): boolean {
  return above.every((key, index) => place[index] === key)
}

function toMessage(group: Group): string {
  const wanted: string[] = []
  if (group.allowed.size > 0) wanted.push((group.allowed.size > 1 ? 'one of ' : '') + bounded([...group.allowed]))
  // Beside a list of values the type says nothing more, unless it is an alternative of its own.
  if (group.types.size > 0 && (group.isUnion || wanted.length === 0)) wanted.push([...group.types].join(' or '))
  const must = wanted.length > 0 ? [`must be ${wanted.join(' or ')}, got ${group.got}`] : []
  const parts = [...must, ...group.phrases]
  if (parts.length === 0) return group.fallback ?? 'is not valid'
  return parts.join(group.isUnion ? ' or ' : ' and ')
}

function bounded(values: string[]): string {
  const shown = values.slice(0, 10).join(', ')
  return values.length > 10 ? `${shown} and ${values.length - 10} more` : shown
}

function literal(value: unknown): string {
  return shorten(JSON.stringify(value) ?? 'undefined', 60)
}

function withArticle(type: string): string {
  if (type === 'boolean') return 'true or false'
  if (type === 'null') return type
  return /^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`
}

function describeValue(value: unknown, echo: boolean): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  if (isJsonObject(value)) return 'an object'
  if (!echo || value === undefined) return `a ${typeof value}`
  return typeof value === 'string' ? literal(value) : `the ${typeof value} ${String(value)}`
}
