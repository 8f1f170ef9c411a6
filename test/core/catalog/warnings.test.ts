import assert from 'node:assert/strict'
import { test } from 'node:test'
import { catalogWith, catalogWithSchema, errorsOf, SCHEMA_PATH, warningsOf } from './helper.ts'

const service = 'services[0:database]'
const plan = `${service}.plans[0:small]`

/** Each breaks one demand of a platform alone, and no rule of the specification. */
const demands: { demand: string; at: (string | number)[]; value: unknown; path: string; message: RegExp }[] = [
  { demand: 'no offering at all', at: ['services'], value: [], path: 'services', message: /at least one offering/ },
  {
    demand: 'a service name with a space',
    at: ['services', 0, 'name'],
    value: 'my db',
    path: 'services[0:my?db].name',
    message: /CLI-friendly/
  },
  {
    demand: 'a plan name with an underscore',
    at: ['services', 0, 'plans', 0, 'name'],
    value: 'a_b',
    path: `${service}.plans[0:a_b].name`,
    message: /CLI-friendly/
  },
  {
    demand: 'a long service id',
    at: ['services', 0, 'id'],
    value: 'x'.repeat(64),
    path: `${service}.id`,
    message: /has 64 characters; Cloud Controller takes at most 63/
  },
  {
    demand: 'a long plan id',
    at: ['services', 0, 'plans', 0, 'id'],
    value: 'x'.repeat(64),
    path: `${plan}.id`,
    message: /at most 63/
  },
  {
    demand: 'a long description',
    at: ['services', 0, 'plans', 0, 'description'],
    value: 'x'.repeat(10_000),
    path: `${plan}.description`,
    message: /has 10000 characters; Cloud Controller takes at most 9999/
  },
  {
    demand: 'a description longer than the specification recommends',
    at: ['services', 0, 'description'],
    value: 'x'.repeat(256),
    path: `${service}.description`,
    message: /^has 256 characters; the specification recommends at most 255$/
  },
  {
    demand: 'a dashboard client that has nowhere to go back to',
    at: ['services', 0, 'dashboard_client'],
    value: { id: 'client', secret: 'hush' },
    path: `${service}.dashboard_client.redirect_uri`,
    message: /^is required by Cloud Controller$/
  },
  {
    demand: 'rotation without bindings',
    at: ['services', 1, 'plans', 0, 'binding_rotatable'],
    value: true,
    path: 'services[1:queue].plans[0:small].binding_rotatable',
    message: /not bindable/
  },
  {
    demand: 'a schema of bindings without bindings',
    at: ['services', 1, 'plans', 0, 'schemas'],
    value: { service_binding: {} },
    path: 'services[1:queue].plans[0:small].schemas.service_binding',
    message: /not bindable/
  },
  {
    demand: 'many tags',
    at: ['services', 0, 'tags'],
    value: Array.from({ length: 300 }, () => 'abcdefg'),
    path: `${service}.tags`,
    message: /Cloud Controller takes 2048/
  },
  {
    demand: 'more in maintenance_info',
    at: ['services', 0, 'plans', 0, 'maintenance_info'],
    value: { version: '1.0.0', public: true },
    path: `${plan}.maintenance_info.public`,
    message: /only version and description/
  },
  {
    demand: 'a long maintenance_info',
    at: ['services', 0, 'plans', 0, 'maintenance_info'],
    value: { version: '1.0.0', description: 'x'.repeat(2_000) },
    path: `${plan}.maintenance_info`,
    message: /at most 1999/
  },
  {
    demand: 'the correct spelling of plan_updateable',
    at: ['services', 0, 'plan_updatable'],
    value: true,
    path: `${service}.plan_updatable`,
    message: /is not a known field; plan_updateable may be meant/
  },
  {
    demand: 'our key misspelt',
    at: ['services', 0, 'plans', 1, 'x_broker'],
    value: {},
    path: `${service}.plans[1:large].x_broker`,
    message: /x-broker may be meant/
  },
  {
    demand: 'a schema for nothing',
    at: ['services', 0, 'plans', 0, 'schemas'],
    value: { service_instance: { delete: {} } },
    path: `${plan}.schemas.service_instance.delete`,
    message: /known: create, update/
  },
  {
    demand: 'asynchronous binds that cannot be fetched',
    at: ['services', 0],
    value: {
      id: 's-1',
      name: 'database',
      description: 'x',
      bindable: true,
      plans: [{ id: 'p', name: 'small', description: 'x', 'x-broker': { mode: 'async' } }]
    },
    path: `${plan}.x-broker.mode`,
    message: /bindings_retrievable: true/
  }
]

for (const { demand, at, value, path, message } of demands) {
  test(`check catalog: ${demand} is a warning at its path`, () => {
    const catalog = catalogWith(at, value)
    const warnings = warningsOf(catalog)
    assert.deepEqual(
      warnings.map((warning) => warning.path),
      [path]
    )
    assert.match(warnings[0]?.message ?? '', message)
    assert.deepEqual(errorsOf(catalog), [])
  })
}

for (const draft of ['07', '2019-09', '2020-12'] as const) {
  test(`check catalog: draft ${draft} is a warning that names it and Cloud Controller`, () => {
    const warnings = warningsOf(catalogWithSchema({ type: 'object' }, draft))
    assert.deepEqual(warnings, [
      {
        path: `${SCHEMA_PATH}.$schema`,
        message: `is ${draft === '07' ? 'draft-07' : draft}: Cloud Controller takes draft-04 and draft-06 only`
      }
    ])
  })
}

test('check catalog: draft-06 that is good draft-04 as well is no warning', () => {
  assert.deepEqual(warningsOf(catalogWithSchema({ type: 'object', properties: { a: { const: 1 } } }, '06')), [])
})

test('check catalog: draft-06 that is no draft-04 is a warning at the keyword', () => {
  const warnings = warningsOf(catalogWithSchema({ properties: { a: { minimum: 1, exclusiveMinimum: 5 } } }, '06'))
  assert.equal(warnings.length, 1)
  assert.equal(warnings[0]?.path, `${SCHEMA_PATH}.properties.a.exclusiveMinimum`)
  assert.match(
    warnings[0]?.message ?? '',
    /must be true or false, got the number 5 by draft-04, which Cloud Controller/
  )
})

test('check catalog: one draft in many schemas is one warning that counts them', () => {
  const parameters = { $schema: 'http://json-schema.org/draft-07/schema#' }
  const part = { parameters }
  const schemas = { service_instance: { create: part, update: part }, service_binding: { create: part } }
  const warnings = warningsOf(catalogWith(['services', 0, 'plans', 0, 'schemas'], schemas))
  assert.equal(warnings.length, 1)
  assert.match(warnings[0]?.message ?? '', /\(the same in 2 other schemas\)$/)
})

test('check catalog: vendor fields are no warning', () => {
  assert.deepEqual(warningsOf(catalogWith(['services', 0, 'active'], true)), [])
})

test('check catalog: credentials that are not kept are a warning where nothing can be bound, or fetched', () => {
  const planWith = (extension: object, more: object = {}) => ({
    id: 's-1',
    name: 'database',
    description: 'x',
    bindable: true,
    plans: [{ id: 'p', name: 'small', description: 'x', 'x-broker': { keep_credentials: false, ...extension } }],
    ...more
  })
  const of = (extension: object, more?: object) =>
    warningsOf(catalogWith(['services', 0], planWith(extension, more))).filter(({ path }) =>
      path.endsWith('credentials')
    )
  assert.match(of({ mode: 'sync' }, { bindable: false })[0]?.message ?? '', /no effect: the plan is not bindable/)
  assert.match(of({ mode: 'async' })[0]?.message ?? '', /nothing can be fetched.*bindings_retrievable: true/)
  assert.deepEqual(of({ mode: 'sync' }), [])
  assert.deepEqual(of({ mode: 'async' }, { bindings_retrievable: true }), [])
})

test('check catalog: ids that are no GUIDs and plans of mode either are no warning', () => {
  assert.deepEqual(warningsOf(catalogWith(['services', 0, 'plans', 0, 'x-broker', 'mode'], 'either')), [])
})
