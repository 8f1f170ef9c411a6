import type { JsonObject } from '../../../../schemas/common.ts'
import type { Place } from '../faults.ts'
import type { Narrowing } from './narrowing.ts'

interface Bound {
  keyword: string
  /** The types that the keyword is about; others pass it. */
  types: readonly string[]
  isUpper: boolean
  what: string
}

const NUMBERS = ['number', 'integer']

const BOUNDS: readonly Bound[] = [
  { keyword: 'minimum', types: NUMBERS, isUpper: false, what: 'least value' },
  { keyword: 'maximum', types: NUMBERS, isUpper: true, what: 'greatest value' },
  { keyword: 'minLength', types: ['string'], isUpper: false, what: 'least length' },
  { keyword: 'maxLength', types: ['string'], isUpper: true, what: 'greatest length' },
  { keyword: 'minItems', types: ['array'], isUpper: false, what: 'least number of items' },
  { keyword: 'maxItems', types: ['array'], isUpper: true, what: 'greatest number of items' },
  { keyword: 'minProperties', types: ['object'], isUpper: false, what: 'least number of properties' },
  { keyword: 'maxProperties', types: ['object'], isUpper: true, what: 'greatest number of properties' }
]

/** Limits that are tighter than they were, and other keywords about single values. */
export function boundNarrowings(was: JsonObject, is: JsonObject, at: Place): Narrowing[] {
  return [
    ...BOUNDS.filter(({ types }) => mayBe(was, types)).flatMap((bound) => tighter(was, is, bound)),
    ...(mayBe(was, ['string']) ? [...changed(was, is, 'pattern'), ...changed(was, is, 'format')] : []),
    ...(mayBe(was, NUMBERS) ? multiples(was, is) : []),
    ...(mayBe(was, ['array']) && is.uniqueItems === true && was.uniqueItems !== true
      ? ['must not have an item twice now']
      : [])
  ].map((message) => ({ at, message }))
}

function mayBe({ type }: JsonObject, types: readonly string[]): boolean {
  return type === undefined || [type].flat().some((name) => types.includes(String(name)))
}

function tighter(was: JsonObject, is: JsonObject, bound: Bound): string[] {
  const [old, next] = [limitOf(was, bound), limitOf(is, bound)]
  if (next === undefined) return []
  const text = `the ${bound.what} is ${next.isExclusive ? `${bound.isUpper ? 'below' : 'above'} ` : ''}${next.value}`
  if (old === undefined) return [`${text}, and was not limited`]
  const difference = bound.isUpper ? old.value - next.value : next.value - old.value
  if (difference < 0 || (difference === 0 && (old.isExclusive || !next.isExclusive))) return []
  return [`${text}, and was ${old.value}`]
}

/** Up to draft-04 `exclusiveMinimum` is true or false beside `minimum`; later it is a limit of its own. */
function limitOf(schema: JsonObject, { keyword, isUpper }: Bound): { value: number; isExclusive: boolean } | undefined {
  const value = schema[keyword]
  const plain = typeof value === 'number' ? { value, isExclusive: false } : undefined
  if (keyword !== 'minimum' && keyword !== 'maximum') return plain
  const exclusive = schema[isUpper ? 'exclusiveMaximum' : 'exclusiveMinimum']
  if (typeof exclusive !== 'number') return plain && { ...plain, isExclusive: exclusive === true }
  if (plain === undefined || exclusive === plain.value || exclusive < plain.value === isUpper) {
    return { value: exclusive, isExclusive: true }
  }
  return plain
}

function changed(was: JsonObject, is: JsonObject, keyword: 'pattern' | 'format'): string[] {
  if (is[keyword] === undefined || is[keyword] === was[keyword]) return []
  return [`has ${was[keyword] === undefined ? 'a' : 'another'} ${keyword} now`]
}

function multiples({ multipleOf: was }: JsonObject, { multipleOf: is }: JsonObject): string[] {
  if (typeof is !== 'number' || is === was) return []
  if (typeof was === 'number' && Number.isInteger(was) && Number.isInteger(is) && was % is === 0) return []
  return [`must be a multiple of ${is} now`]
}
