import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from '@sinclair/typebox'
import { checkCatalog } from '../../../src/core/catalog/index.ts'
import { able, catalogWith, choice, errorsOf, goodCatalog, plain } from './helper.ts'

const service = 'services[0:database]'
const plan = `${service}.plans[0:small]`

/** Each breaks one rule alone, and must be reported alone. */
const breaches: { rule: string; at: (string | number)[]; value: unknown; path: string; message: RegExp }[] = [
  { rule: 'no services', at: ['services'], value: undefined, path: 'services', message: /^is required$/ },
  { rule: 'services of another type', at: ['services'], value: {}, path: 'services', message: /must be an array/ },
  {
    rule: 'a service that is null',
    at: ['services', 1],
    value: null,
    path: 'services[1]',
    message: /object, got null/
  },
  {
    rule: 'no service name',
    at: ['services', 0, 'name'],
    value: undefined,
    path: 'services[0].name',
    message: /^is required$/
  },
  {
    rule: 'empty service name',
    at: ['services', 0, 'name'],
    value: '',
    path: 'services[0].name',
    message: /must not be empty/
  },
  { rule: 'no service id', at: ['services', 0, 'id'], value: undefined, path: `${service}.id`, message: /is required/ },
  {
    rule: 'a number as an id',
    at: ['services', 0, 'id'],
    value: 7,
    path: `${service}.id`,
    message: /^must be a string, got the number 7$/
  },
  {
    rule: 'empty description',
    at: ['services', 0, 'description'],
    value: '',
    path: `${service}.description`,
    message: /must not be empty/
  },
  {
    rule: 'no bindable',
    at: ['services', 0, 'bindable'],
    value: undefined,
    path: `${service}.bindable`,
    message: /is required/
  },
  {
    rule: 'a YAML 1.1 boolean',
    at: ['services', 0, 'bindable'],
    value: 'yes',
    path: `${service}.bindable`,
    message: /^must be true or false, got "yes"$/
  },
  {
    rule: 'a tag of another type',
    at: ['services', 0, 'tags'],
    value: ['a', 1],
    path: `${service}.tags[1]`,
    message: /must be a string/
  },
  {
    rule: 'an unknown permission',
    at: ['services', 0, 'requires'],
    value: ['route_forwarding', 'root'],
    path: `${service}.requires[1]`,
    message: /"syslog_drain", "route_forwarding", "volume_mount", got "root"/
  },
  {
    rule: 'metadata that is no object',
    at: ['services', 0, 'metadata'],
    value: null,
    path: `${service}.metadata`,
    message: /must be an object, got null/
  },
  {
    rule: 'a dashboard client without secret',
    at: ['services', 0, 'dashboard_client'],
    value: { id: 'x' },
    path: `${service}.dashboard_client.secret`,
    message: /is required/
  },
  {
    rule: 'no plans',
    at: ['services', 0, 'plans'],
    value: [],
    path: `${service}.plans`,
    message: /at least 1 item$/
  },
  {
    rule: 'no plan id',
    at: ['services', 0, 'plans', 0, 'id'],
    value: undefined,
    path: `${plan}.id`,
    message: /is required/
  },
  {
    rule: 'empty plan name',
    at: ['services', 0, 'plans', 0, 'name'],
    value: '',
    path: `${service}.plans[0].name`,
    message: /must not be empty/
  },
  {
    rule: 'no plan description',
    at: ['services', 0, 'plans', 0, 'description'],
    value: undefined,
    path: `${plan}.description`,
    message: /is required/
  },
  {
    rule: 'a free of another type',
    at: ['services', 0, 'plans', 0, 'free'],
    value: 'no',
    path: `${plan}.free`,
    message: /must be true or false, got "no"/
  },
  {
    rule: 'a polling duration that is no integer',
    at: ['services', 0, 'plans', 0, 'maximum_polling_duration'],
    value: 1.5,
    path: `${plan}.maximum_polling_duration`,
    message: /must be an integer, got the number 1.5/
  },
  {
    rule: 'duplicate service id',
    at: ['services', 1, 'id'],
    value: 's-1',
    path: 'services[1:queue].id',
    message: /must be unique in the catalog, but "s-1" is also that of services\[0:database\]$/
  },
  {
    rule: 'duplicate service name',
    at: ['services', 1, 'name'],
    value: 'database',
    path: 'services[1:database].name',
    message: /must be unique in the catalog/
  },
  {
    rule: 'duplicate plan id',
    at: ['services', 0, 'plans', 1, 'id'],
    value: 'p-1',
    path: `${service}.plans[1:large].id`,
    message: /"p-1" is also that of services\[0:database\]\.plans\[0:small\]$/
  },
  {
    rule: 'duplicate plan id in another offering',
    at: ['services', 1, 'plans', 0, 'id'],
    value: 'p-1',
    path: 'services[1:queue].plans[0:small].id',
    message: /must be unique in the catalog/
  },
  {
    rule: 'duplicate plan name',
    at: ['services', 0, 'plans', 1, 'name'],
    value: 'small',
    path: `${service}.plans[1:small].name`,
    message: /must be unique in its offering/
  },
  {
    rule: 'maintenance_info without version',
    at: ['services', 0, 'plans', 0, 'maintenance_info'],
    value: { description: 'x' },
    path: `${plan}.maintenance_info.version`,
    message: /is required/
  },
  {
    rule: 'a service key that is not ours',
    at: ['services', 0, 'x-broker', 'providr'],
    value: 'able',
    path: `${service}.x-broker.providr`,
    message: /is not known \(known: provider\)/
  },
  {
    rule: 'a plan key that is not ours',
    at: ['services', 0, 'plans', 0, 'x-broker', 'optoins'],
    value: {},
    path: `${plan}.x-broker.optoins`,
    message: /is not known \(known: mode, requires_app, endpoints, keep_credentials, options\)/
  },
  {
    rule: 'a word about credentials that is no flag',
    at: ['services', 0, 'plans', 0, 'x-broker', 'keep_credentials'],
    value: 'never',
    path: `${plan}.x-broker.keep_credentials`,
    message: /must be true or false/
  },
  {
    rule: 'an unknown mode',
    at: ['services', 0, 'plans', 0, 'x-broker', 'mode'],
    value: 'later',
    path: `${plan}.x-broker.mode`,
    message: /^must be one of "sync", "async", "either", got "later"$/
  },
  {
    rule: 'our key at the root',
    at: ['x-broker'],
    value: { provider: 'able' },
    path: 'x-broker',
    message: /belongs to a service offering or a plan/
  },
  {
    rule: 'our key in metadata',
    at: ['services', 0, 'plans', 0, 'metadata', 'x-broker'],
    value: {},
    path: `${plan}.metadata.x-broker`,
    message: /belongs to a service offering or a plan/
  },
  {
    rule: 'an unknown provider',
    at: ['services', 0, 'x-broker', 'provider'],
    value: 'oracle',
    path: `${service}.x-broker.provider`,
    message: /^"oracle" is not a known provider \(known: able, plain\)$/
  },
  {
    rule: 'an option of another type',
    at: ['services', 0, 'plans', 0, 'x-broker', 'options', 'size'],
    value: '5',
    path: `${plan}.x-broker.options.size`,
    message: /must be an integer, got "5" \(by the provider "able"\)/
  },
  {
    rule: 'an option that the provider does not know',
    at: ['services', 0, 'plans', 0, 'x-broker', 'options', 'sizes'],
    value: 5,
    path: `${plan}.x-broker.options.sizes`,
    message: /is not known \(known: size, zone\)/
  },
  {
    rule: 'options that are no object',
    at: ['services', 0, 'plans', 0, 'x-broker', 'options'],
    value: [],
    path: `${plan}.x-broker.options`,
    message: /must be an object, got an array/
  },
  {
    rule: 'a bindable plan whose provider cannot bind',
    at: ['services', 1, 'plans', 0, 'bindable'],
    value: true,
    path: 'services[1:queue].plans[0:small].bindable',
    message: /the provider "plain" has no bind and no unbind/
  },
  {
    rule: 'a bindable offering whose provider cannot bind',
    at: ['services', 1, 'bindable'],
    value: true,
    path: 'services[1:queue].plans[0:small].bindable',
    message: /by itself or from the offering/
  },
  {
    rule: 'an updateable plan whose provider cannot update',
    at: ['services', 1, 'plan_updateable'],
    value: true,
    path: 'services[1:queue].plans[0:small].plan_updateable',
    message: /the provider "plain" has no update/
  },
  {
    rule: 'NUL in a text',
    at: ['services', 0, 'plans', 0, 'id'],
    value: 'a\0b',
    path: `${plan}.id`,
    message: /NUL/
  },
  {
    rule: 'half a surrogate pair',
    at: ['services', 0, 'description'],
    value: 'x\ud800',
    path: `${service}.description`,
    message: /surrogate/
  },
  {
    rule: 'a date',
    at: ['services', 0, 'metadata', 'since'],
    value: new Date(0),
    path: `${service}.metadata.since`,
    message: /must be a JSON value, got an instance of Date/
  },
  {
    rule: 'a number that JSON does not know',
    at: ['services', 0, 'metadata', 'n'],
    value: Number.NaN,
    path: `${service}.metadata.n`,
    message: /NaN/
  },
  {
    rule: 'a function',
    at: ['services', 0, 'metadata', 'f'],
    value: () => 1,
    path: `${service}.metadata.f`,
    message: /got function/
  },
  {
    rule: 'a merge key',
    at: ['services', 0, 'metadata', '<<'],
    value: {},
    path: `${service}.metadata["<<"]`,
    message: /merge key/
  }
]

test('check catalog: a good catalog has neither errors nor warnings', () => {
  assert.deepEqual(checkCatalog(goodCatalog(), choice), { errors: [], warnings: [] })
})

for (const { rule, at, value, path, message } of breaches) {
  test(`check catalog: ${rule} is an error at its path`, () => {
    const errors = errorsOf(catalogWith(at, value))
    assert.deepEqual(
      errors.map((error) => error.path),
      [path]
    )
    assert.match(errors[0]?.message ?? '', message)
  })
}

for (const version of ['1', '1.0', 'v1.0.0', '01.0.0', '1.0.0-', '1.0.0+', '1.0.0-01', ' 1.0.0', '1.0.0\n']) {
  test(`check catalog: maintenance_info.version ${JSON.stringify(version)} is an error`, () => {
    const errors = errorsOf(catalogWith(['services', 0, 'plans', 0, 'maintenance_info'], { version }))
    assert.deepEqual(errors, [
      {
        path: `${plan}.maintenance_info.version`,
        message: `must be a semantic version 2.0 such as 1.0.0, got ${JSON.stringify(version)}`
      }
    ])
  })
}

for (const version of ['0.0.0', '1.2.3', '2.1.1+abcdef', '1.0.0-rc.1+build.5', '1.0.0--']) {
  test(`check catalog: maintenance_info.version ${version} is good`, () => {
    assert.deepEqual(errorsOf(catalogWith(['services', 0, 'plans', 0, 'maintenance_info'], { version })), [])
  })
}

for (const value of [null, 'x', 5, [], undefined]) {
  test(`check catalog: ${JSON.stringify(value)} in the place of a catalog is one error`, () => {
    const errors = errorsOf(value)
    assert.equal(errors.length, 1)
    assert.equal(errors[0]?.path, '(catalog)')
  })
}

test('check catalog: the same plan name in two offerings is good', () => {
  assert.deepEqual(errorsOf(catalogWith(['services', 1, 'plans', 0, 'name'], 'large')), [])
})

test('check catalog: an empty list of services is good by the specification', () => {
  assert.deepEqual(errorsOf({ services: [] }), [])
})

test('check catalog: a plan that is not bindable needs no bind', () => {
  const catalog = catalogWith(['services', 1, 'bindable'], true)
  const planSource = catalog.services[1]?.plans[0]
  assert.ok(planSource)
  planSource.bindable = false
  assert.deepEqual(errorsOf(catalog), [])
})

test('check catalog: no provider and no default says what to set', () => {
  const catalog = catalogWith(['services', 0, 'x-broker'], undefined)
  assert.deepEqual(checkCatalog(catalog, { providers: [able, plain] }).errors, [
    {
      path: `${service}.x-broker.provider`,
      message: 'is required where BROKER_DEFAULT_PROVIDER is not set (known: able, plain)'
    }
  ])
  assert.deepEqual(checkCatalog(catalog, choice).errors, [])
})

test('check catalog: options that TypeBox has not made are held to the metaschema', () => {
  const written = Type.Unsafe({ type: 'object', minProperties: -1 })
  const providers = [{ ...able, options: written }, plain]
  assert.throws(() => checkCatalog(goodCatalog(), { ...choice, providers }), /schema is invalid: .*minProperties/)
})

test('check catalog: an unknown default provider is named as the default', () => {
  const catalog = catalogWith(['services', 0, 'x-broker'], undefined)
  const { errors } = checkCatalog(catalog, { ...choice, defaultProvider: 'oracle' })
  assert.deepEqual(
    errors.map((error) => error.message),
    ['"oracle", given by BROKER_DEFAULT_PROVIDER, is not a known provider (known: able, plain)']
  )
})

test('check catalog: faults of every kind are reported in one go, in the order of the file', () => {
  const catalog = catalogWith(['services', 0, 'plans', 1, 'id'], 'p-1')
  const [first, second] = catalog.services
  assert.ok(first && second)
  Object.assign(first, { description: 5, 'x-broker': { provider: 'oracle' } })
  Object.assign(first.plans[0] ?? {}, { schemas: { service_binding: { create: { parameters: {} } } } })
  Object.assign(second, { plan_updateable: true, name: '' })
  assert.deepEqual(
    errorsOf(catalog).map((error) => error.path),
    [
      `${service}.description`,
      `${service}.x-broker.provider`,
      `${plan}.schemas.service_binding.create.parameters.$schema`,
      `${service}.plans[1:large].id`,
      'services[1].name',
      'services[1].plans[0:small].plan_updateable'
    ]
  )
})

test('check catalog: an object that contains itself is an error, not a crash', () => {
  const catalog = catalogWith(['services', 0, 'metadata'], {})
  const metadata = catalog.services[0]?.metadata
  assert.ok(metadata)
  metadata.self = metadata
  const [error] = errorsOf(catalog)
  assert.match(error?.message ?? '', /nested more than 64 levels deep, or contains itself/)
})

test('check catalog: a key __proto__ is an error and pollutes nothing', () => {
  const catalog: unknown = JSON.parse('{"services": [], "__proto__": {"polluted": true}}')
  assert.deepEqual(errorsOf(catalog), [{ path: '__proto__', message: 'is not allowed as a key' }])
  assert.equal('polluted' in {}, false)
})

test('check catalog: the given object is not changed', () => {
  const catalog = goodCatalog()
  checkCatalog(catalog, choice)
  assert.deepEqual(catalog, goodCatalog())
})
