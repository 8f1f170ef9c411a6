import type { JsonObject } from '../../../../schemas/common.ts'
import { compileSchema } from '../drafts.ts'
import { isJsonObject } from '../faults.ts'
import type { Drafts } from './narrowing.ts'

/** Of one value; of the whole more are tried. */
const MAX_SAMPLES = 40
const MAX_WHOLE = 1_000
const MAX_DEPTH = 6
/** Longer texts and lists are not tried. */
const MAX_LENGTH = 70_000

/** Texts of the formats that schemas ask for. */
const TEXTS = [
  'a',
  'A1',
  '1',
  'a-b',
  'a b',
  '2026-01-02',
  '2026-01-02T03:04:05Z',
  'a@example.com',
  'a.example.com',
  'https://example.com/a',
  '192.0.2.1',
  '2001:db8::1',
  '8f1f8a8e-3f0c-4d2a-9a55-0f6f6f1c7d01'
]

/**
 * Values that `before` may take and `after` may refuse: those at the limits of both. A guess, to be tried on both; with
 * luck one shows that what was accepted is refused.
 */
export function samplesOf(before: unknown, after: unknown, drafts: Drafts, depth = 0): unknown[] {
  if (before === false || depth > MAX_DEPTH) return []
  const [was, is] = [isJsonObject(before) ? before : {}, isJsonObject(after) ? after : {}]
  const samples = [
    ...[was.enum, was.examples].flatMap((list) => (Array.isArray(list) ? list : [])),
    ...[was.const, was.default].filter((value) => value !== undefined),
    ...[was.type ?? ANY].flat().flatMap((type) => samplesOfType(String(type), { was, is, drafts, depth }))
  ]
  return taken(was, samples, drafts).slice(0, depth === 0 ? MAX_WHOLE : MAX_SAMPLES)
}

const ANY = ['string', 'integer', 'boolean', 'null', 'array', 'object']

interface Both {
  was: JsonObject
  is: JsonObject
  drafts: Drafts
  depth: number
}

function samplesOfType(type: string, both: Both): unknown[] {
  const { was, is } = both
  if (type === 'object') return says(both, OF_OBJECTS) ? objects(both) : [{}, { sample: 1 }]
  if (type === 'array') return says(both, OF_ARRAYS) ? arrays(both) : [[], [1]]
  if (type === 'string') {
    const lengths = limits(was, is, 'Length').filter((length) => length >= 0 && length <= MAX_LENGTH)
    return [...TEXTS, ...lengths.map((length) => 'a'.repeat(length))]
  }
  if (type === 'number' || type === 'integer') return numbers(both)
  return type === 'boolean' ? [true, false] : [null]
}

const OF_OBJECTS = ['properties', 'required', 'additionalProperties', 'minProperties', 'maxProperties']
const OF_ARRAYS = ['items', 'minItems', 'maxItems', 'uniqueItems', 'contains']

/** Without a word about what is inside, one value is as good as another. */
function says({ was, is }: Both, keywords: readonly string[]): boolean {
  return keywords.some((keyword) => was[keyword] !== undefined || is[keyword] !== undefined)
}

function numbers({ was, is }: Both): number[] {
  const named = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf']
    .flatMap((keyword) => [was[keyword], is[keyword]])
    .filter((value) => typeof value === 'number')
  return [0, 1, -1, 0.5, ...named.flatMap((value) => [value, value - 1, value + 1, value + 0.5])]
}

function arrays({ was, is, drafts, depth }: Both): unknown[][] {
  const items = Array.isArray(was.items) ? [] : samplesOf(was.items ?? true, is.items ?? true, drafts, depth + 1)
  const lengths = limits(was, is, 'Items').filter((length) => length >= 0 && length <= MAX_LENGTH)
  return [
    [],
    ...items.slice(0, 1).map((item) => [item, item]),
    ...items.map((item) => [item]),
    ...lengths.flatMap((length) => [
      Array.from({ length }, () => items[0] ?? null),
      // For lists that must not have an item twice
      Array.from({ length }, (_, index) => items[index] ?? index)
    ])
  ]
}

function objects({ was, is, drafts, depth }: Both): JsonObject[] {
  const schemaOf = (schema: JsonObject, key: string) => {
    const { properties, additionalProperties = true } = schema
    return isJsonObject(properties) && Object.hasOwn(properties, key) ? properties[key] : additionalProperties
  }
  const pool = (key: string) => samplesOf(schemaOf(was, key), schemaOf(is, key), drafts, depth + 1)
  const required = Array.isArray(was.required) ? was.required.map(String) : []
  const keys = new Set([...required, ...keysOf(was.properties), ...keysOf(is.properties), 'sample'])
  const pools = new Map([...keys].map((key) => [key, pool(key)]))
  const firstOf = (wanted: Iterable<string>) => Object.fromEntries([...wanted].map((key) => [key, pools.get(key)?.[0]]))
  const base = firstOf(required)
  const counts = limits(was, is, 'Properties').filter((count) => count >= 0 && count <= 100)
  return [
    base,
    firstOf([...keys].filter((key) => pools.get(key)?.length !== 0)),
    ...counts.map((count) => ({
      ...Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, i])),
      ...base
    })),
    ...[...pools].flatMap(([key, values]) => values.map((value) => ({ ...base, [key]: value })))
  ]
}

function keysOf(value: unknown): string[] {
  return isJsonObject(value) ? Object.keys(value) : []
}

/** What the older schema takes at its limits, and what lies one beyond those of the newer. */
function limits(was: JsonObject, is: JsonObject, noun: 'Length' | 'Items' | 'Properties'): number[] {
  const all = [was[`min${noun}`], was[`max${noun}`], is[`min${noun}`], is[`max${noun}`]]
  return all.filter((limit) => typeof limit === 'number').flatMap((limit) => [limit, limit - 1, limit + 1])
}

/** Only what the older schema takes is worth building on. */
function taken(was: JsonObject, samples: unknown[], drafts: Drafts): unknown[] {
  try {
    const takes = compileSchema(drafts.before, was, false)
    return samples.filter((sample) => takes(sample))
  } catch {
    // A part that refers to another part cannot be run alone: its samples are tried as they are.
    return samples
  }
}
