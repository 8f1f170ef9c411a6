import type { TSchema } from '@sinclair/typebox'
import fc, { type Arbitrary } from 'fast-check'
import { ids } from '../helper/app.ts'
import { STRICT_PLAN } from './catalog.ts'

/** Stands for the token of the latest operation that was told, since it is not known when a request is made up. */
export const LATEST_OPERATION = '{operation}'

/** JSON of every kind, small: large and broken values are made by the faults. */
const json = fc.jsonValue({ maxDepth: 3, noUnicodeString: false })
const freeObject = fc.dictionary(fc.string({ maxLength: 6 }), json, { maxKeys: 4, noNullPrototype: true })
const strictParameters = fc.record(
  {
    name: fc.constantFrom('a', 'abc', 'A!', `${'a'.repeat(19)}!`),
    since: fc.constantFrom('2026-01-01T00:00:00Z', 'yesterday'),
    link: fc.webUrl(),
    size: fc.integer({ min: 0, max: 10 }),
    tags: fc.array(fc.constantFrom('x', 'y', 'z'), { maxLength: 3 }),
    tree: fc.constantFrom({}, { a: { a: {} } }, JSON.parse(`${'{"a":'.repeat(40)}1${'}'.repeat(40)}`))
  },
  { requiredKeys: [], noNullPrototype: true }
)

const mostly = <Value>(usual: Arbitrary<Value>, odd: Arbitrary<Value>) =>
  fc.oneof({ weight: 9, arbitrary: usual }, { weight: 1, arbitrary: odd })

const planIds = fc.oneof(
  { weight: 6, arbitrary: fc.constant<string>(ids.plans.sync) },
  { weight: 4, arbitrary: fc.constantFrom(ids.plans.async, ids.plans.either, ids.plans.slow, STRICT_PLAN) }
)

/** What the fields mean that a schema knows as strings or objects alone; without it, no request would get far. */
const meanings: Record<string, Arbitrary<unknown>> = {
  service_id: mostly(fc.constant<string>(ids.service), fc.oneof(fc.constant(ids.other), fc.string({ minLength: 1 }))),
  plan_id: mostly(planIds, fc.oneof(fc.constant(ids.plans.other), fc.string())),
  organization_guid: mostly(fc.constant('org'), fc.string({ minLength: 1 })),
  space_guid: mostly(fc.constant('space'), fc.string({ minLength: 1 })),
  parameters: fc.oneof(fc.constant({}), freeObject, strictParameters),
  context: freeObject,
  previous_values: freeObject,
  maintenance_info: mostly(fc.constant({}), fc.record({ version: fc.oneof(fc.constant('1.0.0'), fc.string()) })),
  accepts_incomplete: fc.constantFrom(true, true, true, false),
  predecessor_binding_id: fc.constantFrom('~b1', '~b2'),
  operation: fc.oneof(fc.constant(LATEST_OPERATION), fc.uuid(), fc.string(), fc.constant('x'.repeat(11_000)))
}

/** Values that a schema allows. */
export function valuesOf(schema: TSchema, name = ''): Arbitrary<unknown> {
  const meaning = meanings[name]
  if (meaning !== undefined) return meaning
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map((choice: TSchema) => valuesOf(choice)))
  if (schema.const !== undefined) return fc.constant(schema.const)
  if (schema.type === 'string') return fc.string({ minLength: schema.minLength ?? 0, maxLength: 40 })
  if (schema.type === 'boolean') return fc.boolean()
  if (schema.type === 'array') return fc.array(valuesOf(schema.items), { maxLength: 3 })
  if (schema.type !== 'object') throw new TypeError(`no values are known for the type ${schema.type}`)
  const properties: Record<string, TSchema> = schema.properties
  if (Object.keys(properties).length === 0) return freeObject
  const parts = Object.entries(properties).map(([key, part]) => [key, valuesOf(part, key)] as const)
  return fc.record(Object.fromEntries(parts), { requiredKeys: schema.required ?? [], noNullPrototype: true })
}
