import type { JsonObject } from '../../../../schemas/common.ts'
import { sameJson } from '../../same.ts'
import { compileSchema, type Draft } from '../drafts.ts'
import { isJsonObject, type Place } from '../faults.ts'
import { subschemas } from '../schema-walk.ts'
import { boundNarrowings } from './bounds.ts'
import { quoted } from './change.ts'

/** Where a schema may refuse what an older one took, and how. */
export interface Narrowing {
  at: Place
  message: string
}

/** The drafts by whose rules the two schemas run. */
export interface Drafts {
  before: Draft
  after: Draft
}

/** Keywords that decide nothing. */
const ANNOTATIONS =
  '$comment $async title description default examples readOnly writeOnly deprecated contentEncoding contentMediaType'.split(
    ' '
  )

/** Keywords that decide nothing where nothing refers to anything. */
const TARGETS = ['$schema', '$id', 'id', '$anchor', 'definitions', '$defs']

/** Keywords that are understood one by one below; they mean the same in every draft. */
const UNDERSTOOD: ReadonlySet<string> = new Set(
  (
    'type enum properties required additionalProperties items minimum maximum exclusiveMinimum exclusiveMaximum ' +
    'minLength maxLength minItems maxItems minProperties maxProperties multipleOf pattern format uniqueItems'
  ).split(' ')
)

/** Keywords that refuse, or not, whatever stands beside them: without one, a schema takes as much or more. */
const INDEPENDENT: ReadonlySet<string> = new Set(
  'allOf anyOf oneOf not if const contains propertyNames dependencies dependentRequired dependentSchemas'.split(' ')
)

/** What the meaning of a keyword elsewhere depends on: with any, only the same schema is known to take the same. */
const ENTANGLED = ['$ref', '$dynamicRef', '$recursiveRef', 'unevaluatedProperties', 'unevaluatedItems']

/**
 * Every way in which `after` might refuse what `before` takes. None means that there is none: `after` takes all that
 * `before` takes. Some do not mean that there is one: another keyword may have refused it already.
 */
export function narrowings(before: JsonObject, after: JsonObject, drafts: Drafts): Narrowing[] {
  if (isEntangled(before) || isEntangled(after)) {
    if (sameJson(without(before, ANNOTATIONS), without(after, ANNOTATIONS))) return []
    return [{ at: [], message: 'has changed, and refers to parts of itself' }]
  }
  const [was, is] = [before, after].map((schema) => without(schema, [...ANNOTATIONS, ...TARGETS]))
  if (was === undefined || !takes(was, 'object')) return []
  // Parameters are an object, whether the schema says so or not.
  return compare({ ...was, type: 'object' }, is, { at: [], drafts })
}

function isEntangled(root: JsonObject): boolean {
  return [...subschemas(root)].some(({ schema }) => ENTANGLED.some((keyword) => Object.hasOwn(schema, keyword)))
}

interface Where {
  at: Place
  drafts: Drafts
}

function compare(before: unknown, after: unknown, where: Where): Narrowing[] {
  const { at, drafts } = where
  if (before === false || after === true) return []
  if (after === false) return [{ at, message: 'is no longer allowed' }]
  const [was, is] = [isJsonObject(before) ? before : {}, isJsonObject(after) ? after : {}]
  if (drafts.before === drafts.after && sameJson(was, is)) return []
  if (Array.isArray(was.enum)) return enumNarrowings(was, is, where)
  return [
    ...typeNarrowings(was, is, at),
    ...(is.enum === undefined ? [] : [{ at, message: 'must be one of a list now' }]),
    ...boundNarrowings(was, is, at),
    ...(takes(was, 'object') ? objectNarrowings(was, is, where) : []),
    ...(takes(was, 'array') ? itemNarrowings(was, is, where) : []),
    ...otherNarrowings(was, is, where)
  ]
}

/** Only these values can have been taken, so each is tried. */
function enumNarrowings(was: JsonObject, is: JsonObject, { at, drafts }: Where): Narrowing[] {
  const [took, takesStill] = [compileSchema(drafts.before, was, false), compileSchema(drafts.after, is, false)]
  const values: unknown[] = Array.isArray(was.enum) ? was.enum : []
  const refused = values.filter((value) => took(value) && !takesStill(value))
  if (refused.length === 0) return []
  const shown = refused.slice(0, 5).map(quoted).join(', ')
  return [{ at, message: `no longer takes ${shown}${refused.length > 5 ? ` and ${refused.length - 5} more` : ''}` }]
}

const TYPES = ['string', 'number', 'integer', 'boolean', 'array', 'object', 'null']

function typesOf({ type }: JsonObject): string[] {
  const types = type === undefined ? TYPES : [type].flat().map(String)
  return types.includes('number') ? [...types, 'integer'] : types
}

/** Whether a schema can take values of a type at all: keywords for others do not matter. */
function takes(schema: JsonObject, type: string): boolean {
  return typesOf(schema).includes(type)
}

function typeNarrowings(was: JsonObject, is: JsonObject, at: Place): Narrowing[] {
  const allowed = typesOf(is)
  const refused = typesOf(was).filter((type) => !allowed.includes(type))
  if (refused.length === 0) return []
  const shown = [...new Set(refused)].filter((type) => type !== 'integer' || !refused.includes('number'))
  return [{ at, message: `no longer takes the type ${shown.join(', ')}` }]
}

function objectNarrowings(was: JsonObject, is: JsonObject, where: Where): Narrowing[] {
  const required = (schema: JsonObject) => (Array.isArray(schema.required) ? schema.required.map(String) : [])
  const missing = required(is).filter((key) => !required(was).includes(key))
  return [
    ...missing.map((key) => ({ at: [...where.at, key], message: 'is required now' })),
    ...propertyNarrowings(was, is, where)
  ]
}

const PROPERTY_KEYWORDS = ['properties', 'patternProperties', 'additionalProperties']

function propertyNarrowings(was: JsonObject, is: JsonObject, where: Where): Narrowing[] {
  if (was.patternProperties !== undefined || is.patternProperties !== undefined) {
    return sameIn(was, is, PROPERTY_KEYWORDS) && where.drafts.before === where.drafts.after
      ? []
      : [{ at: where.at, message: 'has other properties, some by a pattern of their name' }]
  }
  const { properties: old, additionalProperties: oldRest = true } = was
  const { properties: next, additionalProperties: nextRest = true } = is
  const [oldKeys, nextKeys] = [isJsonObject(old) ? old : {}, isJsonObject(next) ? next : {}]
  const of = (keys: JsonObject, key: string, rest: unknown) => (Object.hasOwn(keys, key) ? keys[key] : rest)
  const rest = compare(oldRest, nextRest, where)
  return [
    ...[...new Set([...Object.keys(oldKeys), ...Object.keys(nextKeys)])].flatMap((key) =>
      compare(of(oldKeys, key, oldRest), of(nextKeys, key, nextRest), { ...where, at: [...where.at, key] })
    ),
    ...(rest.length === 0
      ? []
      : [
          {
            at: where.at,
            message: nextRest === false ? 'takes no unknown parameters any more' : 'takes fewer unknown parameters'
          }
        ])
  ]
}

const ITEM_KEYWORDS = ['items', 'additionalItems', 'prefixItems']

function itemNarrowings(was: JsonObject, is: JsonObject, where: Where): Narrowing[] {
  const isList = [was, is].some(
    ({ items, additionalItems, prefixItems }) =>
      Array.isArray(items) || additionalItems !== undefined || prefixItems !== undefined
  )
  if (!isList) return compare(was.items ?? true, is.items ?? true, { ...where, at: [...where.at, 'items'] })
  if (sameIn(was, is, ITEM_KEYWORDS) && where.drafts.before === where.drafts.after) return []
  return [{ at: where.at, message: 'has other rules for its items' }]
}

/** Whatever is not understood must be the same, or be gone where that can only allow more. */
function otherNarrowings(was: JsonObject, is: JsonObject, { at, drafts }: Where): Narrowing[] {
  const grouped = new Set([...PROPERTY_KEYWORDS, ...ITEM_KEYWORDS])
  const keywords = [...new Set([...Object.keys(was), ...Object.keys(is)])].filter(
    (keyword) => !UNDERSTOOD.has(keyword) && !grouped.has(keyword)
  )
  return keywords
    .filter((keyword) => {
      if (INDEPENDENT.has(keyword) && is[keyword] === undefined) return false
      return drafts.before !== drafts.after || !sameJson(was[keyword], is[keyword])
    })
    .map((keyword) => ({ at, message: `has another ${keyword}` }))
}

function sameIn(a: JsonObject, b: JsonObject, keywords: readonly string[]): boolean {
  return keywords.every((keyword) => sameJson(a[keyword], b[keyword]))
}

/** A copy without some keywords, and without those of vendors. */
function without(schema: JsonObject, keywords: readonly string[]): JsonObject {
  const copy = structuredClone(schema)
  for (const { schema: part } of [...subschemas(copy)]) {
    for (const keyword of Object.keys(part)) {
      if (keywords.includes(keyword) || keyword.startsWith('x-')) delete part[keyword]
    }
  }
  return copy
}
