import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadCatalog, type ParametersCheck } from '../../../src/core/catalog/index.ts'
import { catalogWith, catalogWithSchema, choice, DRAFT_IDS, goodCatalog } from './helper.ts'

async function checkOf(
  schema: Record<string, unknown>,
  draft: keyof typeof DRAFT_IDS = '07'
): Promise<ParametersCheck> {
  const loaded = await loadCatalog(catalogWithSchema(schema, draft), choice)
  const entry = loaded.plan('s-1', 'p-1')
  assert.ok(entry)
  return entry.validate.create
}

const seed = { type: 'object', properties: { db_name: { type: 'string', minLength: 1, maxLength: 64 } } }

test('validate parameters: absent parameters are not validated', async () => {
  assert.equal((await checkOf({ ...seed, required: ['db_name'] }))(undefined), undefined)
})

test('validate parameters: good ones are no message', async () => {
  assert.equal((await checkOf(seed))({ db_name: 'x' }), undefined)
})

test('validate parameters: a plan without a schema accepts anything', async () => {
  const { validate } = (await loadCatalog(goodCatalog(), choice)).plan('s-1', 'p-1') ?? {}
  for (const check of [validate?.create, validate?.update, validate?.bind]) {
    assert.ok(check)
    assert.equal(check({ anything: [1, null] }), undefined)
  }
})

test('validate parameters: a schema of $schema alone accepts anything', async () => {
  assert.equal((await checkOf({}))({ a: 1 }), undefined)
})

/** One fault each, in the words that the user reads. */
const faults: { schema: Record<string, unknown>; parameters: Record<string, unknown>; message: string }[] = [
  { schema: seed, parameters: { db_name: '' }, message: 'db_name must not be empty' },
  {
    schema: seed,
    parameters: { db_name: 'x'.repeat(65) },
    message: 'db_name must have at most 64 characters, has 65'
  },
  { schema: seed, parameters: { db_name: 5 }, message: 'db_name must be a string, got a number' },
  { schema: { required: ['a'] }, parameters: {}, message: 'a is required' },
  {
    schema: { properties: { a: {}, b: {} }, additionalProperties: false },
    parameters: { c: 1 },
    message: 'c is not known (known: a, b)'
  },
  { schema: { additionalProperties: false }, parameters: { c: 1 }, message: 'c is not allowed' },
  {
    schema: { properties: { a: { enum: ['x', 'y'] } } },
    parameters: { a: 'secret' },
    message: 'a must be one of "x", "y", got a string'
  },
  {
    schema: { properties: { a: { type: ['string', 'null'] } } },
    parameters: { a: true },
    message: 'a must be a string or null, got a boolean'
  },
  {
    schema: { properties: { a: { anyOf: [{ type: 'string' }, { type: 'integer' }] } } },
    parameters: { a: {} },
    message: 'a must be a string or an integer, got an object'
  },
  {
    schema: { properties: { a: { items: { properties: { b: { minimum: 1 } } } } } },
    parameters: { a: [{ b: 1 }, { b: 0 }] },
    message: 'a[1].b must be at least 1'
  },
  { schema: { properties: { a: { pattern: '^x' } } }, parameters: { a: 'y' }, message: 'a must match ^x' },
  {
    schema: { properties: { a: { format: 'date-time' } } },
    parameters: { a: 'y' },
    message: 'a must have the format date-time'
  },
  { schema: { minProperties: 1 }, parameters: {}, message: 'parameters must have at least 1 key' },
  {
    schema: { propertyNames: { maxLength: 2 } },
    parameters: { abc: 1 },
    message: 'abc as a name must have at most 2 characters, has 3'
  },
  {
    schema: { oneOf: [{ required: ['a'] }, { required: ['b'] }] },
    parameters: { a: 1, b: 1 },
    message: 'parameters must have exactly one of the allowed forms'
  },
  { schema: { not: { required: ['a'] } }, parameters: { a: 1 }, message: 'parameters has a form that is not allowed' },
  {
    schema: { properties: { 'odd key': { type: 'string' } } },
    parameters: { 'odd key': 1 },
    message: '["odd key"] must be a string, got a number'
  },
  {
    schema: { properties: { a: { uniqueItems: true } } },
    parameters: {
      a: [
        { x: 1, y: 2 },
        { y: 2, x: 1 }
      ]
    },
    message: 'a must not have an item twice'
  }
]

for (const { schema, parameters, message } of faults) {
  test(`validate parameters: ${message}`, async () => {
    assert.equal((await checkOf(schema))(parameters), `Invalid parameters: ${message}`)
  })
}

test('validate parameters: several faults are one line', async () => {
  const schema = { properties: { a: { type: 'string' }, b: { minimum: 5 } }, required: ['c'] }
  const message = (await checkOf(schema))({ a: 1, b: 1 })
  assert.deepEqual(
    new Set(message?.replace('Invalid parameters: ', '').split('; ')),
    new Set(['c is required', 'a must be a string, got a number', 'b must be at least 5'])
  )
})

test('validate parameters: values are never repeated and the message stays short', async () => {
  const check = await checkOf({
    properties: { password: { pattern: '^x+$', maxLength: 3 } },
    additionalProperties: false
  })
  const secret = 'hunter2'.repeat(1_000)
  const message = check({ password: secret }) ?? ''
  assert.equal(message.includes('hunter2'), false)
  const keys = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`key-${index}-${'k'.repeat(100)}`, 1]))
  const long = check(keys) ?? ''
  assert.ok(long.length <= 1_000)
  assert.equal(long.includes('\n'), false)
})

test('validate parameters: a huge array of faults is one fault', async () => {
  const check = await checkOf({ properties: { a: { items: { type: 'string' } } } })
  const message = check({ a: Array.from({ length: 200_000 }, () => 1) })
  assert.equal(message, 'Invalid parameters: a[0] must be a string, got a number')
})

test('validate parameters: a pattern that hangs a backtracking engine answers at once', async () => {
  const check = await checkOf({ properties: { a: { pattern: '^(a+)+$' }, b: { pattern: '(x+x+)+y' } } })
  assert.equal(check({ a: 'a'.repeat(100_000) }), undefined)
  assert.match(check({ a: `${'a'.repeat(100_000)}!` }) ?? '', /a must match/)
  assert.match(check({ b: 'x'.repeat(100_000) }) ?? '', /b must match/)
})

test('validate parameters: uniqueItems over 100,000 objects answers at once', async () => {
  const check = await checkOf({ properties: { a: { uniqueItems: true } } })
  const a = Array.from({ length: 100_000 }, (_, index) => ({ index }))
  assert.equal(check({ a }), undefined)
  assert.match(check({ a: [...a, { index: 5 }] }) ?? '', /must not have an item twice/)
})

/** Trees of conditions: `and` and `or` each lead to the same place. */
const branching = {
  definitions: {
    node: {
      type: 'object',
      anyOf: [
        { properties: { a: { $ref: '#/definitions/node' } } },
        { properties: { a: { $ref: '#/definitions/node' } } }
      ]
    }
  },
  properties: { a: { $ref: '#/definitions/node' } }
}

for (const draft of ['04', '06', '07', '2019-09', '2020-12'] as const) {
  test(`validate parameters: branches of ${draft} that lead to one another are followed so far and no further`, async () => {
    const nest = (depth: number, leaf: unknown): Record<string, unknown> =>
      depth === 0 ? { a: leaf } : { a: nest(depth - 1, leaf) }
    const check = await checkOf(branching, draft)
    assert.equal(check(nest(8, {})), undefined)
    assert.match(check(nest(4, 1)) ?? '', /a\.a\.a\.a\.a must be an object, got a number/)
    const began = performance.now()
    assert.equal(check(nest(60, 1)), 'Invalid parameters: they take too long to be checked.')
    assert.ok(performance.now() - began < 5_000)
    // Each check is counted for itself.
    assert.equal(check(nest(8, {})), undefined)
  })
}

test('validate parameters: branches that a reference reaches outside of all keywords count, too', async () => {
  const node = JSON.parse(JSON.stringify(branching.definitions.node).replaceAll('#/definitions/node', '#/x-~1/node'))
  const check = await checkOf({ 'x-/': { node }, properties: { a: { $ref: '#/x-~1/node' } } })
  let parameters: unknown = 1
  for (let depth = 0; depth < 60; depth += 1) parameters = { a: parameters }
  assert.equal(check(Object(parameters)), 'Invalid parameters: they take too long to be checked.')
})

test('validate parameters: of a check that finds one fault soon and all of them never, one is told', async () => {
  const part = { required: ['x'], properties: { a: { $ref: '#' } } }
  const check = await checkOf({ anyOf: [part, { ...part }] })
  let parameters: unknown = {}
  for (let depth = 0; depth < 60; depth += 1) parameters = { a: parameters }
  assert.equal(check(Object(parameters)), 'Invalid parameters: x is required')
})

test('validate parameters: every format answers at once, whatever the text', async () => {
  const million = 1_000_000
  const texts = {
    date: ['1'.repeat(million)],
    time: [`12:00:00.${'1'.repeat(million)}`],
    'date-time': [' '.repeat(million), `2020-01-01T00:00:00.${'0'.repeat(million)}`],
    duration: [`P${'1'.repeat(million)}`, `PT${'1S'.repeat(million / 2)}`],
    uri: [`a:${'a'.repeat(million)}^`, `a://${'a@'.repeat(million / 2)}^`, `a://[${'0:'.repeat(million / 2)}`],
    'uri-reference': [`${'/'.repeat(million)}^`, `//${'a:'.repeat(million / 2)}^`, `${'%aa'.repeat(million / 4)}^`],
    'uri-template': ['{'.repeat(million), `{a${',a'.repeat(million / 2)}`, `{a:${'1'.repeat(million)}`],
    email: ['a.'.repeat(million / 2), `a@${'a-'.repeat(million / 2)}`, `a@${`${'a'.repeat(60)}.`.repeat(16_000)}!`],
    hostname: [`${'a.'.repeat(million / 2)}!`, 'a-'.repeat(million / 2), `${`${'a'.repeat(60)}.`.repeat(16_000)}!`],
    ipv4: ['1.'.repeat(million / 2)],
    ipv6: ['1:'.repeat(million / 2), ':'.repeat(million)],
    regex: ['('.repeat(million), '['.repeat(million), `${'(a'.repeat(5_000)}${')'.repeat(5_000)}[`],
    uuid: ['a'.repeat(million)],
    'json-pointer': [`${'/a'.repeat(million / 2)}~`, `/${'~0'.repeat(million / 2)}~`],
    'relative-json-pointer': [`${'1'.repeat(million)}!`, `1/${'~0'.repeat(million / 2)}~`]
  }
  for (const [format, those] of Object.entries(texts)) {
    const check = await checkOf({ properties: { a: { format } } })
    for (const text of those) {
      const began = performance.now()
      assert.match(check({ a: text }) ?? '', new RegExp(`a must have the format ${format}`), text.slice(0, 20))
      // Quadratic would be a trillion steps.
      assert.ok(performance.now() - began < 5_000, `${format} ${text.slice(0, 20)}`)
    }
  }
})

test('validate parameters: escapes of ECMA 262 work in patterns', async () => {
  const pattern = '^\\u0041\\d{2}[\\w-]+\\/\\p{L}$'
  const check = await checkOf({ properties: { a: { pattern } } })
  assert.equal(check({ a: 'A12x-y/é' }), undefined)
  assert.match(check({ a: 'B12x-y/é' }) ?? '', /must match/)
})

test('validate parameters: references within the schema work, $id or not', async () => {
  const definitions = { name: { type: 'string' } }
  const properties = { a: { $ref: '#/definitions/name' }, b: { $ref: 'https://example.com/s#/definitions/name' } }
  const check = await checkOf({ $id: 'https://example.com/s', definitions, properties })
  assert.equal(check({ a: 'x', b: 'x' }), undefined)
  assert.equal(check({ b: 1 }), 'Invalid parameters: b must be a string, got a number')
})

test('validate parameters: a recursive schema ends with a message on the deepest parameters', async () => {
  const check = await checkOf({ properties: { next: { $ref: '#' } } })
  let parameters: Record<string, unknown> = {}
  for (let depth = 0; depth < 200_000; depth += 1) parameters = { next: parameters }
  assert.equal(check(parameters), 'Invalid parameters: they are nested too deeply to be checked.')
})

test('validate parameters: the same $id, inside and out, in two plans does not clash', async () => {
  const schemaOf = (type: string) => ({
    parameters: {
      $schema: DRAFT_IDS['07'],
      $id: 'https://example.com/params',
      definitions: { a: { $id: 'https://example.com/a', type } },
      properties: { a: { $ref: 'https://example.com/a' } }
    }
  })
  const catalog = catalogWith(['services', 0, 'plans', 0, 'schemas'], {
    service_instance: { create: schemaOf('string') }
  })
  Object.assign(catalog.services[0]?.plans[1] ?? {}, { schemas: { service_instance: { create: schemaOf('number') } } })
  const loaded = await loadCatalog(catalog, choice)
  assert.equal(loaded.plan('s-1', 'p-1')?.validate.create({ a: 'x' }), undefined)
  assert.equal(loaded.plan('s-1', 'p-2')?.validate.create({ a: 1 }), undefined)
  assert.notEqual(loaded.plan('s-1', 'p-2')?.validate.create({ a: 'x' }), undefined)
})

test('validate parameters: create, update and bind have each their own schema', async () => {
  const part = (name: string) => ({ parameters: { $schema: DRAFT_IDS['04'], required: [name] } })
  const schemas = { service_instance: { create: part('a'), update: part('b') }, service_binding: { create: part('c') } }
  const loaded = await loadCatalog(catalogWith(['services', 0, 'plans', 0, 'schemas'], schemas), choice)
  const { create, update, bind } = loaded.plan('s-1', 'p-1')?.validate ?? {}
  assert.deepEqual(
    [create?.({}), update?.({}), bind?.({})],
    ['a', 'b', 'c'].map((name) => `Invalid parameters: ${name} is required`)
  )
})

test('validate parameters: $async, a keyword of Ajv alone, is ignored', async () => {
  assert.equal((await checkOf({ $async: true, required: ['a'] }))({}), 'Invalid parameters: a is required')
})

test('validate parameters: values are not coerced and defaults are not filled in', async () => {
  const check = await checkOf({ properties: { n: { type: 'integer', default: 1 } } })
  const parameters = {}
  assert.equal(check(parameters), undefined)
  assert.deepEqual(parameters, {})
  assert.match(check({ n: '5' }) ?? '', /must be an integer/)
})
