import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadCatalog } from '../../../src/core/catalog/index.ts'
import { catalogWith, catalogWithSchema, choice, DRAFT_IDS, errorsOf, SCHEMA_AT, SCHEMA_PATH } from './helper.ts'

/** A schema of each draft by which the first parameters are good and the others are not, by a keyword of the draft. */
const drafts = [
  { draft: '04', schema: { properties: { n: { minimum: 5, exclusiveMinimum: true } } }, good: { n: 6 }, bad: { n: 5 } },
  { draft: '06', schema: { properties: { n: { exclusiveMinimum: 5 } } }, good: { n: 6 }, bad: { n: 5 } },
  {
    draft: '07',
    schema: { if: { required: ['a'] }, else: false },
    good: { a: 1 },
    bad: { b: 1 }
  },
  { draft: '2019-09', schema: { dependentRequired: { a: ['b'] } }, good: { a: 1, b: 1 }, bad: { a: 1 } },
  {
    draft: '2020-12',
    schema: { properties: { a: { prefixItems: [{ type: 'string' }] } }, unevaluatedProperties: false },
    good: { a: ['x'] },
    bad: { a: [1] }
  }
] as const

/** Refers to the next definition twice; the last one to nothing. */
const doubled = (next: number) =>
  next === 30 ? {} : { allOf: [{ $ref: `#/definitions/d${next}` }, { $ref: `#/definitions/d${next}` }] }

for (const { draft, schema, good, bad } of drafts) {
  test(`check catalog: draft ${draft} is compiled by its own rules`, async () => {
    const loaded = await loadCatalog(catalogWithSchema(schema, draft), choice)
    const check = loaded.plan('s-1', 'p-1')?.validate.create
    assert.equal(check?.(good), undefined)
    assert.match(check?.(bad) ?? '', /^Invalid parameters: /)
  })

  test(`check catalog: a schema that draft ${draft} refuses is an error at the keyword`, () => {
    const errors = errorsOf(catalogWithSchema({ properties: { a: { minLength: -1 } } }, draft))
    assert.deepEqual(
      errors.map((error) => error.path),
      [`${SCHEMA_PATH}.properties.a.minLength`]
    )
  })
}

/** Schemas that break a rule of the specification, or that we cannot run. */
const breaches: { rule: string; schema: Record<string, unknown>; path: string; message: RegExp }[] = [
  { rule: 'an unknown type', schema: { type: 'strin' }, path: '.type', message: /one of "array", .* got "strin"/ },
  {
    rule: 'an external reference',
    schema: { $ref: 'https://example.com/schema.json' },
    path: '.$ref',
    message: /outside the schema, got "https:\/\/example.com\/schema.json"/
  },
  {
    rule: 'a reference to another file',
    schema: { properties: { a: { $ref: 'other.json#/definitions/a' } } },
    path: '.properties.a.$ref',
    message: /outside the schema/
  },
  {
    rule: 'a reference that leads nowhere',
    schema: { properties: { a: { $ref: '#/definitions/a' } } },
    path: '',
    message: /cannot be used: can't resolve reference #\/definitions\/a/
  },
  {
    rule: 'a reference round in circles',
    schema: { $ref: '#' },
    path: '',
    message: /cannot be used: it refers to itself without end/
  },
  {
    rule: 'references that multiply',
    schema: {
      definitions: Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`d${index}`, doubled(index + 1)])),
      allOf: [{ $ref: '#/definitions/d0' }]
    },
    path: '',
    message: /cannot be used: its references multiply without end/
  },
  {
    rule: 'a lookahead',
    schema: { properties: { a: { pattern: '^(?=x)y' } } },
    path: '.properties.a.pattern',
    message: /\^\(\?=x\)y cannot be used: lookahead and lookbehind cannot be matched in linear time/
  },
  {
    rule: 'a lookbehind',
    schema: { pattern: '(?<!x)y' },
    path: '.pattern',
    message: /lookahead and lookbehind/
  },
  { rule: 'a backreference', schema: { pattern: '(a)\\1' }, path: '.pattern', message: /backreferences/ },
  { rule: 'a named backreference', schema: { pattern: '(?<n>a)\\k<n>' }, path: '.pattern', message: /\\k is not/ },
  { rule: 'an escape of RE2 alone', schema: { pattern: '^a\\z' }, path: '.pattern', message: /\\z is not supported/ },
  {
    rule: 'a lookahead in patternProperties',
    schema: { patternProperties: { '(?!x)': {} } },
    path: '.patternProperties["(?!x)"]',
    message: /lookahead/
  },
  {
    rule: 'a schema of more than 64 kB',
    schema: { description: 'x'.repeat(65_536) },
    path: '',
    message: /must have at most 65536 bytes, has 65\d\d\d/
  }
]

for (const { rule, schema, path, message } of breaches) {
  test(`check catalog: ${rule} in a schema is an error at its path`, () => {
    const errors = errorsOf(catalogWithSchema(schema))
    assert.deepEqual(
      errors.map((error) => error.path),
      [`${SCHEMA_PATH}${path}`]
    )
    assert.match(errors[0]?.message ?? '', message)
  })
}

test('check catalog: a pattern that is no pattern is an error', () => {
  const [error] = errorsOf(catalogWithSchema({ pattern: '[' }))
  assert.equal(error?.path, `${SCHEMA_PATH}.pattern`)
})

test('check catalog: a schema of exactly 64 kB is good', () => {
  const room = 65_536 - JSON.stringify({ $schema: DRAFT_IDS['04'], description: '' }).length
  assert.deepEqual(errorsOf(catalogWithSchema({ description: 'x'.repeat(room) })), [])
})

for (const [value, message] of [
  [{ type: 'object' }, /^is required; known are http:\/\/json-schema.org\/draft-04\/schema#, /],
  [{ $schema: 'http://json-schema.org/draft-03/schema#' }, /is not a known draft: "http:\/\/json-schema.org\/draft-03/],
  [{ $schema: 5 }, /is not a known draft: 5;/]
] as const) {
  test(`check catalog: $schema of ${JSON.stringify(value)} is an error`, () => {
    const errors = errorsOf(catalogWith(SCHEMA_AT, value))
    assert.equal(errors.length, 1)
    assert.equal(errors[0]?.path, `${SCHEMA_PATH}.$schema`)
    assert.match(errors[0]?.message ?? '', message)
  })
}

test('check catalog: a schema that is no object is an error', () => {
  assert.deepEqual(errorsOf(catalogWith(SCHEMA_AT, true)), [
    { path: SCHEMA_PATH, message: 'must be an object, got the boolean true' }
  ])
})

test('check catalog: properties called like keywords are properties', () => {
  const properties = { pattern: { type: 'string' }, $ref: { type: 'string' }, if: { type: 'string' } }
  assert.deepEqual(errorsOf(catalogWithSchema({ properties })), [])
})

for (const place of [
  ['service_instance', 'create'],
  ['service_instance', 'update'],
  ['service_binding', 'create']
]) {
  test(`check catalog: the schema at ${place.join('.')} is checked`, () => {
    const [resource = '', verb = ''] = place
    const at = ['services', 0, 'plans', 0, 'schemas', resource, verb, 'parameters']
    const [error] = errorsOf(catalogWith(at, { $schema: DRAFT_IDS['04'], type: 5 }))
    assert.equal(error?.path, `services[0:database].plans[0:small].schemas.${resource}.${verb}.parameters.type`)
  })
}
