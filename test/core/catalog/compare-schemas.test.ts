import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JsonObject } from '../../../schemas/common.ts'
import { checkCatalog, compareCatalogs } from '../../../src/core/catalog/index.ts'
import { catalogWith, choice, DRAFT_IDS, goodCatalog, SCHEMA_AT, SCHEMA_PATH } from './helper.ts'

type Schema = JsonObject | undefined
type Draft = keyof typeof DRAFT_IDS

function withSchema(schema: Schema, draft: Draft) {
  const catalog = catalogWith(SCHEMA_AT, schema && { $schema: DRAFT_IDS[draft], ...schema })
  assert.deepEqual(checkCatalog(catalog, choice).errors, [])
  return catalog
}

/** The change of a schema: how much it matters, and what is said. */
function verdictOf(before: Schema, after: Schema, [draft, next = draft]: [Draft, Draft?] = ['07']) {
  const [change, ...others] = compareCatalogs(withSchema(before, draft), withSchema(after, next))
  assert.deepEqual(others, [])
  if (change === undefined) return undefined
  assert.equal(change.path, SCHEMA_PATH)
  assert.equal(change.kind, 'schemas')
  return change
}

const properties = (of: JsonObject, more: JsonObject = {}) => ({ type: 'object', properties: of, ...more })
const a = (schema: JsonObject) => properties({ a: schema })

/** What is taken no longer, as it is said, and as a user is told. */
const narrower: [what: string, before: Schema, after: Schema, message: RegExp, answer: RegExp][] = [
  ['a schema where there was none', undefined, { required: ['a'] }, /^is new: a is required now$/, /a is required/],
  [
    'a new required property',
    properties({ a: {} }),
    properties({ a: {} }, { required: ['a'] }),
    /a is required now/,
    /a is required/
  ],
  [
    'a property removed where others are refused',
    properties({ a: {}, b: {} }, { additionalProperties: false }),
    properties({ b: {} }, { additionalProperties: false }),
    /: a is no longer allowed$/,
    /a is not known/
  ],
  [
    'unknown properties refused',
    properties({ a: {} }),
    properties({ a: {} }, { additionalProperties: false }),
    /no unknown parameters any more/,
    /sample is not known/
  ],
  [
    'values of a list removed',
    a({ enum: ['x', 'y', 'z'] }),
    a({ enum: ['y'] }),
    /a no longer takes "x", "z"$/,
    /a must be "y"/
  ],
  [
    'a list where there was none',
    a({ type: 'string' }),
    a({ enum: ['x'] }),
    /a must be one of a list now/,
    /a must be "x"/
  ],
  [
    'a narrower type',
    a({ type: 'number' }),
    a({ type: 'integer' }),
    /a no longer takes the type number$/,
    /a must be an integer/
  ],
  ['one type of two', a({ type: ['string', 'null'] }), a({ type: 'string' }), /the type null$/, /a must be a string/],
  [
    'a lower maximum',
    a({ type: 'integer', maximum: 20 }),
    a({ type: 'integer', maximum: 10 }),
    /greatest value is 10, and was 20/,
    /at most 10/
  ],
  [
    'an exclusive minimum',
    a({ type: 'integer', minimum: 1 }),
    a({ type: 'integer', exclusiveMinimum: 1 }),
    /least value is above 1, and was 1/,
    /more than 1/
  ],
  [
    'a shorter text',
    a({ type: 'string', maxLength: 64 }),
    a({ type: 'string', maxLength: 32 }),
    /greatest length is 32, and was 64/,
    /at most 32 characters/
  ],
  [
    'a longer text',
    a({ type: 'string' }),
    a({ type: 'string', minLength: 3 }),
    /least length is 3, and was not limited/,
    /at least 3 characters/
  ],
  [
    'fewer items',
    a({ type: 'array', items: { type: 'string' } }),
    a({ type: 'array', maxItems: 1 }),
    /number of items is 1/,
    /at most 1 item/
  ],
  [
    'items of another type',
    a({ type: 'array', items: { type: 'string' } }),
    a({ type: 'array', items: { type: 'integer' } }),
    /a.items no longer takes the type string/,
    /a\[0\] must be an integer/
  ],
  ['no item twice', a({ type: 'array' }), a({ type: 'array', uniqueItems: true }), /item twice/, /item twice/],
  ['a pattern', a({ type: 'string' }), a({ type: 'string', pattern: '^[a-z]+$' }), /a has a pattern now/, /must match/],
  ['a format', a({ type: 'string' }), a({ type: 'string', format: 'ipv4' }), /a has a format now/, /format ipv4/],
  [
    'multiples',
    a({ type: 'integer', multipleOf: 2 }),
    a({ type: 'integer', multipleOf: 4 }),
    /multiple of 4 now/,
    /multiple of 4/
  ],
  ['fewer properties', {}, { maxProperties: 1 }, /number of properties is 1/, /at most 1 key/],
  [
    'a property within a required one',
    properties({ a: properties({ b: { type: 'integer' } }, { required: ['b'] }) }, { required: ['a'] }),
    properties({ a: properties({ b: { type: 'integer', minimum: 1 } }, { required: ['b'] }) }, { required: ['a'] }),
    /a\.b the least value is 1/,
    /a\.b must be at least 1/
  ],
  [
    'an alternative less',
    a({ anyOf: [{ type: 'string' }, { type: 'integer' }] }),
    a({ anyOf: [{ type: 'string' }] }),
    /a has another anyOf/,
    /a must be a string/
  ],
  [
    'a definition that is referred to',
    { definitions: { x: { type: 'integer' } }, properties: { a: { $ref: '#/definitions/x' } } },
    { definitions: { x: { type: 'string' } }, properties: { a: { $ref: '#/definitions/x' } } },
    /refers to parts of itself/,
    /a must be a string/
  ]
]

for (const [what, before, after, message, answer] of narrower) {
  test(`compare schemas: ${what} breaks, and shows a refusal`, () => {
    const change = verdictOf(before, after)
    assert.equal(change?.severity, 'breaks')
    assert.match(change?.message ?? '', message)
    assert.match(
      change?.consequence ?? '',
      /^Provisions that were accepted are refused \(400\), for example: Invalid parameters: /
    )
    assert.match(change?.consequence ?? '', answer)
  })
}

/** What takes as much as before, and more. */
const wider: [what: string, before: Schema, after: Schema][] = [
  ['a schema that goes', { required: ['a'] }, undefined],
  ['a property that need not be there', properties({ a: {} }, { required: ['a'] }), properties({ a: {} })],
  ['a value more', a({ enum: ['x'] }), a({ enum: ['x', 'y'] })],
  ['a list that becomes a type', a({ enum: ['x', 'y'] }), a({ type: 'string', maxLength: 1 })],
  ['a wider type', a({ type: 'integer' }), a({ type: 'number' })],
  ['a type more', a({ type: 'integer' }), a({ type: ['integer', 'null'] })],
  ['a bound that goes', a({ type: 'integer', minimum: 1 }), a({ type: 'integer' })],
  ['an inclusive bound', a({ type: 'integer', exclusiveMinimum: 1 }), a({ type: 'integer', minimum: 1 })],
  [
    'a property more where others are refused',
    properties({}, { additionalProperties: false }),
    properties({ a: { type: 'string' } }, { additionalProperties: false })
  ],
  [
    'a list that is one value long, as the other was refused already',
    a({ enum: ['x', 'y'], not: { const: 'x' } }),
    a({ type: 'string', not: { const: 'x' }, pattern: '^y' })
  ],
  ['a condition that goes', a({ not: { const: 1 } }), a({})]
]

for (const [what, before, after] of wider) {
  test(`compare schemas: ${what} adds; the other way round it does not`, () => {
    assert.equal(verdictOf(before, after)?.severity, 'adds')
    assert.notEqual(verdictOf(after, before)?.severity, 'adds')
  })
}

/** What takes the same. */
const same: [what: string, before: Schema, after: Schema, drafts?: [Draft, Draft]][] = [
  [
    'another title and default',
    a({ type: 'string', title: 'A', default: 'x' }),
    a({ type: 'string', description: 'B' })
  ],
  [
    'another title, with a reference',
    { title: 'A', definitions: { x: {} }, properties: { a: { $ref: '#/definitions/x' } } },
    { definitions: { x: {} }, properties: { a: { $ref: '#/definitions/x' } } }
  ],
  ['a key of a vendor', a({ type: 'string' }), a({ type: 'string', 'x-order': 1 })],
  ['the type that parameters have', {}, { type: 'object' }],
  [
    'another order',
    properties({ a: {}, b: {} }, { required: ['a', 'b'] }),
    properties({ b: {}, a: {} }, { required: ['b', 'a'] })
  ],
  [
    'a property called title',
    properties({ title: { type: 'string' } }),
    properties({ title: { type: 'string', title: 'T' } })
  ],
  ['a keyword for another type', a({ type: 'string' }), a({ type: 'string', minimum: 5 })],
  ['another draft', a({ type: 'integer', minimum: 1 }), a({ type: 'integer', minimum: 1 }), ['04', '2020-12']],
  [
    'an exclusive bound in the words of another draft',
    a({ type: 'integer', minimum: 1, exclusiveMinimum: true }),
    a({ type: 'integer', exclusiveMinimum: 1 }),
    ['04', '07']
  ]
]

for (const [what, before, after, drafts] of same) {
  test(`compare schemas: ${what} is no change`, () => {
    assert.equal(verdictOf(before, after, drafts), undefined)
  })
}

/** What cannot be decided, and is not claimed. */
const unsure: [what: string, before: Schema, after: Schema, drafts?: [Draft, Draft]][] = [
  [
    'a pattern in place of another',
    a({ type: 'string', pattern: '^x{1,5}q$' }),
    a({ type: 'string', pattern: '^x{1,4}q$' })
  ],
  [
    'a bound that another keyword makes idle',
    properties({ a: { type: 'integer', maximum: 9 } }, { not: { required: ['a'] } }),
    properties({ a: { type: 'integer', maximum: 5 } }, { not: { required: ['a'] } })
  ],
  ['a condition in another draft', a({ not: { type: 'string' } }), a({ not: { type: 'string' } }), ['06', '07']]
]

for (const [what, before, after, drafts] of unsure) {
  test(`compare schemas: ${what} is not said to break`, () => {
    const change = verdictOf(before, after, drafts)
    assert.equal(change?.severity, 'changes')
    assert.equal(change?.consequence, 'Provisions that were accepted may be refused (400)')
  })
}

test('compare schemas: those of updates and binds say whose requests they are', () => {
  for (const [resource, verb, requests] of [
    ['service_instance', 'update', 'Updates of instances that live'],
    ['service_binding', 'create', 'Binds']
  ] as const) {
    const at = ['services', 0, 'plans', 0, 'schemas', resource, verb, 'parameters']
    const [change] = compareCatalogs(goodCatalog(), catalogWith(at, { $schema: DRAFT_IDS['04'], required: ['a'] }))
    assert.equal(change?.severity, 'breaks')
    assert.ok(change?.consequence.startsWith(`${requests} that were accepted are refused (400)`))
  }
})

test('compare schemas: one that plans share is said once', () => {
  const [before, after] = [goodCatalog(), goodCatalog()]
  for (const plan of after.services[0]?.plans ?? []) {
    plan.schemas = { service_instance: { create: { parameters: { $schema: DRAFT_IDS['04'], required: ['a'] } } } }
  }
  const changes = compareCatalogs(before, after)
  assert.equal(changes.length, 1)
  assert.match(changes[0]?.message ?? '', /\(the same in 1 other plan\)$/)
})

test('compare schemas: what another broker serves and this one cannot run is not said to break', () => {
  const before = catalogWith(SCHEMA_AT, { $schema: DRAFT_IDS['07'], ...a({ type: 'string', pattern: '(?=x)x' }) })
  const after = catalogWith(SCHEMA_AT, { $schema: DRAFT_IDS['07'], ...a({ type: 'string', pattern: 'x' }) })
  assert.deepEqual(
    compareCatalogs(before, after).map(({ severity }) => severity),
    ['changes']
  )
})
