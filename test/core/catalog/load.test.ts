import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CatalogError, loadCatalog } from '../../../src/core/catalog/index.ts'
import { able, catalogWith, choice, goodCatalog, plain } from './helper.ts'

test('load catalog: what is served has no x-broker and everything else in order', async () => {
  const source = goodCatalog()
  Object.assign(source, { vendor: { a: [1, null] } })
  Object.assign(source.services[0]?.plans[0] ?? {}, { 'vendor-field': { z: 1, a: 2 } })
  const { served, bytes } = await loadCatalog(source, choice)
  const expected = JSON.stringify(source, (key, value: unknown) => (key === 'x-broker' ? undefined : value))
  assert.equal(JSON.stringify(served), expected)
  assert.equal(bytes.toString(), expected)
})

test('load catalog: the given object is neither changed nor kept', async () => {
  const source = goodCatalog()
  const loaded = await loadCatalog(source, choice)
  assert.deepEqual(source, goodCatalog())
  source.services.length = 0
  assert.equal(loaded.served.services.length, 2)
  assert.ok(Object.isFrozen(loaded.served.services[0]?.plans[0]))
})

test('load catalog: a frozen object loads', async () => {
  const source = Object.freeze(goodCatalog())
  for (const service of source.services) Object.freeze(service)
  assert.equal((await loadCatalog(source, choice)).served.services.length, 2)
})

test('load catalog: the ETag is strong, the same for the same catalog, another for another', async () => {
  const one = await loadCatalog(goodCatalog(), choice)
  const two = await loadCatalog(goodCatalog(), choice)
  const other = await loadCatalog(catalogWith(['services', 0, 'description'], 'Other'), choice)
  assert.match(one.etag, /^"[\w-]{43}"$/)
  assert.equal(one.etag, two.etag)
  assert.notEqual(one.etag, other.etag)
})

test('load catalog: x-broker alone does not change the ETag', async () => {
  const one = await loadCatalog(goodCatalog(), choice)
  const other = await loadCatalog(catalogWith(['services', 0, 'plans', 0, 'x-broker', 'mode'], 'async'), choice)
  assert.equal(one.etag, other.etag)
})

test('load catalog: the time of an object is that of loading, in whole seconds', async () => {
  const now = () => new Date('2026-03-04T05:06:07.891Z')
  assert.equal(
    (await loadCatalog(goodCatalog(), { ...choice, now })).lastModified.toISOString(),
    '2026-03-04T05:06:07.000Z'
  )
})

test('load catalog: lookups find offerings, and plans within their own offering only', async () => {
  const loaded = await loadCatalog(goodCatalog(), choice)
  assert.equal(loaded.service('s-1')?.name, 'database')
  assert.equal(loaded.service('s-9'), undefined)
  assert.equal(loaded.plan('s-1', 'p-2')?.plan.name, 'large')
  assert.equal(loaded.plan('s-2', 'p-2'), undefined)
  assert.equal(loaded.plan('s-1', 'p-9'), undefined)
  assert.equal(loaded.plan('s-1', '__proto__'), undefined)
  assert.deepEqual(
    loaded.plans.map((entry) => entry.plan.id),
    ['p-1', 'p-2', 'p-3']
  )
})

test('load catalog: a plan without a word of its own has the defaults', async () => {
  const { service, plan, provider, validate, ...entry } =
    (await loadCatalog(goodCatalog(), choice)).plan('s-2', 'p-3') ?? {}
  assert.equal(service?.id, 's-2')
  assert.deepEqual(plan, { id: 'p-3', name: 'small', description: 'Small' })
  assert.equal(provider, plain)
  assert.deepEqual(entry, {
    mode: 'async',
    options: {},
    requiresApp: false,
    endpoints: false,
    keepCredentials: true,
    bindable: false,
    planUpdateable: false,
    bindingRotatable: false,
    bindingsRetrievable: false,
    instancesRetrievable: false,
    allowContextUpdates: false,
    requires: []
  })
})

test('load catalog: a plan has its own words before those of the offering', async () => {
  const source = goodCatalog()
  const [first] = source.services
  assert.ok(first)
  Object.assign(first, { plan_updateable: true, allow_context_updates: true, requires: ['syslog_drain'] })
  Object.assign(first.plans[0] ?? {}, {
    bindable: false,
    plan_updateable: false,
    binding_rotatable: true,
    maximum_polling_duration: 60,
    maintenance_info: { version: '1.2.3' },
    'x-broker': { mode: 'either', requires_app: true, endpoints: true, keep_credentials: false, options: { zone: 'z' } }
  })
  const loaded = await loadCatalog(source, choice)
  const { service, plan, provider, validate, ...entry } = loaded.plan('s-1', 'p-1') ?? {}
  assert.equal(provider, able)
  assert.deepEqual(entry, {
    mode: 'either',
    options: { size: 10, zone: 'z' },
    requiresApp: true,
    endpoints: true,
    keepCredentials: false,
    bindable: false,
    planUpdateable: false,
    bindingRotatable: true,
    bindingsRetrievable: true,
    instancesRetrievable: true,
    allowContextUpdates: true,
    maximumPollingSeconds: 60,
    maintenanceVersion: '1.2.3',
    requires: ['syslog_drain']
  })
  const other = loaded.plan('s-1', 'p-2')
  assert.equal(other?.bindable, true)
  assert.equal(other?.planUpdateable, true)
  assert.deepEqual(other?.options, { size: 10 })
})

test('load catalog: options of the provider cannot be changed', async () => {
  const { options } = (await loadCatalog(goodCatalog(), choice)).plan('s-1', 'p-1') ?? {}
  assert.throws(() => Object.assign(options ?? {}, { size: 1 }), TypeError)
})

test('load catalog: an offering without a provider has the default one', async () => {
  const loaded = await loadCatalog(catalogWith(['services', 0, 'x-broker'], undefined), choice)
  assert.equal(loaded.plan('s-1', 'p-1')?.provider, able)
})

test('load catalog: an empty provider name is an error, not the default', async () => {
  await assert.rejects(
    loadCatalog(catalogWith(['services', 0, 'x-broker', 'provider'], ''), choice),
    /must not be empty/
  )
})

test('load catalog: errors are thrown all together, with their faults', async () => {
  const source = catalogWith(['services', 0, 'plans', 1, 'id'], 'p-1')
  Object.assign(source.services[1] ?? {}, { id: '' })
  await assert.rejects(loadCatalog(source, choice), (error: CatalogError) => {
    assert.equal(error.name, 'CatalogError')
    assert.deepEqual(
      error.faults.map((fault) => fault.path),
      ['services[0:database].plans[1:large].id', 'services[1:queue].id']
    )
    assert.deepEqual(error.message.split('\n'), [
      'The catalog has 2 errors:',
      '  services[0:database].plans[1:large].id must be unique in the catalog, but "p-1" is also that of services[0:database].plans[0:small]',
      '  services[1:queue].id must not be empty'
    ])
    return true
  })
})

test('load catalog: warnings are kept and refuse nothing', async () => {
  const { warnings } = await loadCatalog({ services: [] }, choice)
  assert.deepEqual(
    warnings.map((warning) => warning.path),
    ['services']
  )
})

test('load catalog: dropped names the plans in use that are gone', async () => {
  const loaded = await loadCatalog(goodCatalog(), choice)
  const inUse = [
    { serviceId: 's-1', planId: 'p-1' },
    { serviceId: 's-2', planId: 'p-1' },
    { serviceId: 's-1', planId: 'p-9' }
  ]
  assert.deepEqual(loaded.dropped(inUse), inUse.slice(1))
  assert.deepEqual(loaded.dropped([]), [])
})
