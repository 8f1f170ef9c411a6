import type { JsonObject } from '../../schemas/common.ts'
import { compileSchema, draftOf, type SchemaCheck } from '../core/catalog/drafts.ts'
import { isObject } from './exchange.ts'

/** Parameters that a schema refuses, and why. */
export interface ViolatingParameters {
  /** `"size" below its minimum` */
  readonly what: string
  readonly parameters: JsonObject
}

/** What can be made of a schema of the catalog. Every example is confirmed with a validator; what we cannot make is left out. */
export interface ParameterExamples {
  /** The least that the schema accepts; `undefined` when we cannot make any. */
  readonly least: JsonObject | undefined
  /** With every property that we can make a value for. */
  readonly full: JsonObject | undefined
  /** Like `full`, and different from it in one value. */
  readonly other: JsonObject | undefined
  readonly violations: readonly ViolatingParameters[]
}

const NONE: ParameterExamples = { least: undefined, full: undefined, other: undefined, violations: [] }

/** Examples for a schema as a catalog declares it; of its own draft, references within it included. */
export function examplesOf(schema: JsonObject): ParameterExamples {
  const valid = validatorOf(schema)
  if (valid === undefined) return NONE
  const maker = new Maker(schema)
  const confirmed = (value: unknown) => (isObject(value) && valid(value) ? value : undefined)
  const least = confirmed(maker.object(schema, { all: false, variant: 0 }))
  const full = confirmed(maker.object(schema, { all: true, variant: 0 })) ?? least
  const other = confirmed(maker.object(schema, { all: true, variant: 1 }))
  return {
    least,
    full,
    other: JSON.stringify(other) === JSON.stringify(full) ? undefined : other,
    violations: full === undefined ? [] : maker.violations(schema, full).filter(({ parameters }) => !valid(parameters))
  }
}

function validatorOf(schema: JsonObject): SchemaCheck | undefined {
  const draft = draftOf(schema)
  if (draft === undefined) return undefined
  try {
    return compileSchema(draft, schema, false)
  } catch {
    return undefined
  }
}

interface Wish {
  /** Every property, or the required ones alone. */
  readonly all: boolean
  /** Another number, another value. */
  readonly variant: number
}

/** Deeper values are not made: schemas may refer to themselves. */
const MAX_DEPTH = 5

/** Makes values for the keywords that schemas of parameters use. Wrong guesses are weeded out by the validator. */
class Maker {
  readonly #root: JsonObject

  constructor(root: JsonObject) {
    this.#root = root
  }

  object(schema: JsonObject, wish: Wish, depth = 0): JsonObject {
    const { properties, required } = this.#resolved(schema)
    const known = isObject(properties) ? properties : {}
    const names = new Set(Array.isArray(required) ? required.filter((name) => typeof name === 'string') : [])
    if (wish.all) for (const name of Object.keys(known)) names.add(name)
    const made = [...names].map((name) => [name, this.#value(known[name], wish, depth + 1)] as const)
    return Object.fromEntries(made.filter(([, value]) => value !== undefined))
  }

  /** One change each to parameters that are valid. */
  violations(schema: JsonObject, full: JsonObject): ViolatingParameters[] {
    const { properties, required, additionalProperties } = this.#resolved(schema)
    const known = isObject(properties) ? properties : {}
    const missing = (Array.isArray(required) ? required : []).map((name) => {
      const { [String(name)]: _, ...rest } = full
      return { what: `the required "${name}" missing`, parameters: rest }
    })
    const extra =
      additionalProperties === false
        ? [{ what: 'a property that is not allowed', parameters: { ...full, 'conformance-unknown': 1 } }]
        : []
    const wrong = Object.entries(known).flatMap(([name, property]) =>
      this.#wrongValues(this.#resolved(property)).map(([what, value]) => ({
        what: `"${name}" ${what}`,
        parameters: { ...full, [name]: value }
      }))
    )
    return [...missing, ...extra, ...wrong]
  }

  #wrongValues(schema: JsonObject): [string, unknown][] {
    const { minimum, maximum, maxLength, minLength, pattern, enum: values, maxItems, minItems } = schema
    const number = (value: unknown): value is number => typeof value === 'number'
    return [
      ['of another type', schema.type === 'string' ? 5 : 'conformance'],
      ['null', null],
      ...(Array.isArray(values) ? [['outside its values', 'conformance-none'] as [string, unknown]] : []),
      ...(number(minimum) ? [['below its minimum', minimum - 1] as [string, unknown]] : []),
      ...(number(maximum) ? [['above its maximum', maximum + 1] as [string, unknown]] : []),
      ...(number(maxLength) && maxLength < 10_000
        ? [['longer than allowed', 'x'.repeat(maxLength + 1)] as [string, unknown]]
        : []),
      ...(number(minLength) && minLength > 0 ? [['empty', ''] as [string, unknown]] : []),
      ...(typeof pattern === 'string' ? [['not of its pattern', '\u2603 ~'] as [string, unknown]] : []),
      ...(number(maxItems) && maxItems < 1_000
        ? [['with too many items', Array.from({ length: maxItems + 1 }, () => 'x')] as [string, unknown]]
        : []),
      ...(number(minItems) && minItems > 0 ? [['without items', []] as [string, unknown]] : [])
    ]
  }

  #value(property: unknown, wish: Wish, depth: number): unknown {
    if (depth > MAX_DEPTH) return undefined
    const schema = this.#resolved(property)
    const { enum: values, const: constant, default: preset, examples } = schema
    if (constant !== undefined) return constant
    if (Array.isArray(values)) return values[wish.variant % Math.max(values.length, 1)]
    if (wish.variant === 0 && preset !== undefined) return preset
    if (Array.isArray(examples) && examples.length > wish.variant) return examples[wish.variant]
    const branch = [schema.oneOf, schema.anyOf].find(Array.isArray)?.[0]
    if (branch !== undefined) return this.#value(branch, wish, depth + 1)
    const type = Array.isArray(schema.type) ? schema.type[0] : schema.type
    if (type === 'string') return textFor(schema, wish.variant)
    if (type === 'integer' || type === 'number') return numberFor(schema, wish.variant)
    if (type === 'boolean') return wish.variant === 0
    if (type === 'object' || schema.properties !== undefined) return this.object(schema, wish, depth)
    if (type === 'array') return this.#items(schema, wish, depth)
    return undefined
  }

  #items({ minItems, items }: JsonObject, wish: Wish, depth: number): unknown[] {
    const count = Math.max(typeof minItems === 'number' ? minItems : 0, wish.all ? 1 : 0)
    return Array.from({ length: Math.min(count, 100) }, (_, index) =>
      this.#value(items, { ...wish, variant: wish.variant + index }, depth + 1)
    ).filter((value) => value !== undefined)
  }

  /** Follows references within the schema. */
  #resolved(schema: unknown, hops = 0): JsonObject {
    if (!isObject(schema)) return {}
    const { $ref: reference } = schema
    if (typeof reference !== 'string' || !reference.startsWith('#/') || hops > MAX_DEPTH) return schema
    const steps = reference.slice(2).split('/')
    const found = steps.reduce<unknown>(
      (at, step) => (isObject(at) ? at[step.replaceAll('~1', '/').replaceAll('~0', '~')] : undefined),
      this.#root
    )
    return this.#resolved(found, hops + 1)
  }
}

const FORMATS: Readonly<Record<string, string>> = {
  date: '2030-01-01',
  'date-time': '2030-01-01T00:00:00Z',
  email: 'conformance@example.com',
  hostname: 'conformance.example.com',
  ipv4: '192.0.2.1',
  ipv6: '2001:db8::1',
  uri: 'https://conformance.example.com/',
  uuid: '9f0e5a3c-2b1d-4c6e-8a7f-0d1c2b3a4e5f'
}

/** Guesses for patterns; the validator takes the first that fits, or none. */
const TEXTS = ['conformance', 'conf', 'a1', 'A1', '1', '1.0.0', '10', '1GB', 'x', 'conformance-1', 'conformance_1']

function textFor({ format, pattern, minLength, maxLength }: JsonObject, variant: number): string | undefined {
  if (typeof format === 'string' && FORMATS[format] !== undefined) return FORMATS[format]
  const least = typeof minLength === 'number' ? minLength : 0
  const most = typeof maxLength === 'number' ? maxLength : 10_000
  const fits = TEXTS.map((text) => text.padEnd(least, 'x'))
    .filter((text) => text.length <= most)
    .filter((text) => typeof pattern !== 'string' || matches(pattern, text))
  return fits[variant] ?? fits[0]
}

function matches(pattern: string, text: string): boolean {
  try {
    // At most some dozen characters are tried: a pattern that backtracks has nothing to hang on.
    return new RegExp(pattern, 'u').test(text)
  } catch {
    return false
  }
}

function numberFor({ minimum, maximum, exclusiveMinimum, multipleOf }: JsonObject, variant: number): number {
  const step = typeof multipleOf === 'number' ? multipleOf : 1
  const bounds = [minimum, exclusiveMinimum].filter((bound) => typeof bound === 'number')
  const least = Math.max(...bounds, Number.NEGATIVE_INFINITY)
  const first = Number.isFinite(least) ? Math.ceil(least / step) * step : step
  const above = exclusiveMinimum !== undefined && exclusiveMinimum !== false && first === least ? first + step : first
  const value = above + variant * step
  return typeof maximum === 'number' && value > maximum ? Math.floor(maximum / step) * step : value
}
