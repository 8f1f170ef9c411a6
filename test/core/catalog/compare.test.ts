import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Catalog } from '../../../schemas/catalog.ts'
import { compareVersions } from '../../../src/core/catalog/compare/versions.ts'
import { type CatalogChange, checkCatalog, compareCatalogs } from '../../../src/core/catalog/index.ts'
import { catalogWith, choice, goodCatalog } from './helper.ts'

type Place = readonly (string | number)[]

const service = 'services[0:database]'
const plan = `${service}.plans[0:small]`
const SERVICE: Place = ['services', 0]
const PLAN: Place = ['services', 0, 'plans', 0]

/** The changes when one value of a good catalog becomes another; both catalogs are good. */
function changesOf(at: Place, before: unknown, after: unknown): CatalogChange[] {
  const [old, next] = [catalogWith(at, before), catalogWith(at, after)]
  for (const catalog of [old, next]) assert.deepEqual(checkCatalog(catalog, choice).errors, [])
  return compareCatalogs(old, next)
}

function brief({ severity, kind, path, message }: CatalogChange): string {
  return `${severity} ${kind} ${path} ${message}`
}

/** One value that differs, and the one change that it is. */
const differences: { what: string; at: Place; before: unknown; after: unknown; is: string; consequence: RegExp }[] = [
  {
    what: 'another service name',
    at: [...SERVICE, 'name'],
    before: 'database',
    after: 'databases',
    is: 'changes offering-renamed services[0:databases].name is "databases", and was "database"',
    consequence: /live on under the new name/
  },
  {
    what: 'another plan name',
    at: [...PLAN, 'name'],
    before: 'small',
    after: 'tiny',
    is: `changes plan-renamed ${service}.plans[0:tiny].name is "tiny", and was "small"`,
    consequence: /scripts that write the old one/
  },
  {
    what: 'another service id',
    at: [...SERVICE, 'id'],
    before: 's-1',
    after: 's-9',
    is: `breaks offering-id-changed ${service}.id is "s-9", and was "s-1"`,
    consequence: /it is another offering.*fetched, unbound and deleted, but no longer bound or updated \(400\)/
  },
  {
    what: 'another plan id',
    at: [...PLAN, 'id'],
    before: 'p-1',
    after: 'p-9',
    is: `breaks plan-id-changed ${plan}.id is "p-9", and was "p-1"`,
    consequence: /it is another plan/
  },
  {
    what: 'an offering that is not bindable any more',
    at: [...SERVICE, 'bindable'],
    before: true,
    after: false,
    is: `breaks bindable ${service}.bindable is false, and was true`,
    consequence: /New bindings, rotations too, are refused \(400\)/
  },
  {
    what: 'a plan that is not bindable any more',
    at: [...PLAN, 'bindable'],
    before: undefined,
    after: false,
    is: `breaks bindable ${plan}.bindable is false, and was true`,
    consequence: /can be fetched and deleted/
  },
  {
    what: 'an offering that becomes bindable',
    at: [...SERVICE, 'bindable'],
    before: false,
    after: true,
    is: `adds bindable ${service}.bindable is true, and was false`,
    consequence: /can be bound/
  },
  {
    what: 'instances that cannot be fetched any more',
    at: [...SERVICE, 'instances_retrievable'],
    before: true,
    after: undefined,
    is: `breaks instances_retrievable ${service}.instances_retrievable is false, and was true`,
    consequence: /answered 404/
  },
  {
    what: 'bindings that cannot be fetched any more',
    at: [...SERVICE, 'bindings_retrievable'],
    before: true,
    after: false,
    is: `breaks bindings_retrievable ${service}.bindings_retrievable is false, and was true`,
    consequence: /answered 404.*504/
  },
  {
    what: 'context updates withdrawn',
    at: [...SERVICE, 'allow_context_updates'],
    before: true,
    after: false,
    is: `changes allow_context_updates ${service}.allow_context_updates is false, and was true`,
    consequence: /no longer tell/
  },
  {
    what: 'plan updates of the offering withdrawn',
    at: [...SERVICE, 'plan_updateable'],
    before: true,
    after: undefined,
    is: `breaks plan_updateable ${service}.plan_updateable is false, and was true`,
    consequence: /another plan \(422\)/
  },
  {
    what: 'plan updates of a plan offered',
    at: [...PLAN, 'plan_updateable'],
    before: undefined,
    after: true,
    is: `adds plan_updateable ${plan}.plan_updateable is true, and was false`,
    consequence: /can change to another plan/
  },
  {
    what: 'rotation withdrawn',
    at: [...PLAN, 'binding_rotatable'],
    before: true,
    after: undefined,
    is: `breaks binding_rotatable ${plan}.binding_rotatable is false, and was true`,
    consequence: /Rotations are refused \(400\)/
  },
  {
    what: 'a permission withdrawn',
    at: [...SERVICE, 'requires'],
    before: ['syslog_drain', 'volume_mount'],
    after: ['syslog_drain'],
    is: `breaks requires ${service}.requires no longer has "volume_mount"`,
    consequence: /volume_mounts fails \(500\)/
  },
  {
    what: 'another permission',
    at: [...SERVICE, 'requires'],
    before: undefined,
    after: ['route_forwarding'],
    is: `changes requires ${service}.requires has "route_forwarding" now`,
    consequence: /grant/
  },
  {
    what: 'a tag withdrawn',
    at: [...SERVICE, 'tags'],
    before: ['a', 'b', 'c'],
    after: ['c', 'd'],
    is: `changes tags ${service}.tags no longer have "a", "b"`,
    consequence: /by tag/
  },
  {
    what: 'a dashboard client withdrawn',
    at: [...SERVICE, 'dashboard_client'],
    before: { id: 'client', secret: 'hush' },
    after: undefined,
    is: `changes dashboard_client ${service}.dashboard_client was removed`,
    consequence: /no longer sign in/
  },
  {
    what: 'a plan that costs now',
    at: [...PLAN, 'free'],
    before: undefined,
    after: false,
    is: `changes free ${plan}.free is false, and was true`,
    consequence: /cost from now on/
  },
  {
    what: 'less time',
    at: [...PLAN, 'maximum_polling_duration'],
    before: 600,
    after: 60,
    is: `changes maximum_polling_duration ${plan}.maximum_polling_duration is 60, and was 600`,
    consequence: /longer than 60 seconds/
  },
  {
    what: 'a time where there was none',
    at: [...PLAN, 'maximum_polling_duration'],
    before: undefined,
    after: 7200,
    is: `changes maximum_polling_duration ${plan}.maximum_polling_duration is 7200, and was not set`,
    consequence: /longer than 7200 seconds/
  },
  {
    what: "more time than this broker's own withdrawn",
    at: [...PLAN, 'maximum_polling_duration'],
    before: 7200,
    after: undefined,
    is: `changes maximum_polling_duration ${plan}.maximum_polling_duration was removed, and was 7200`,
    consequence: /longer than 3600 seconds/
  },
  {
    what: 'the first maintenance version',
    at: [...PLAN, 'maintenance_info'],
    before: undefined,
    after: { version: '1.0.0' },
    is: `adds maintenance_info ${plan}.maintenance_info.version is "1.0.0", and was not there`,
    consequence: /offer an update/
  },
  {
    what: 'a newer maintenance version',
    at: [...PLAN, 'maintenance_info'],
    before: { version: '1.9.0' },
    after: { version: '1.10.0' },
    is: `changes maintenance_info ${plan}.maintenance_info.version is "1.10.0", and was "1.9.0"`,
    consequence: /offer an update.*422 MaintenanceInfoConflict/
  },
  {
    what: 'an older maintenance version',
    at: [...PLAN, 'maintenance_info'],
    before: { version: '2.0.0' },
    after: { version: '2.0.0-rc.1' },
    is: `changes maintenance_info ${plan}.maintenance_info.version is "2.0.0-rc.1", and was "2.0.0": it goes backwards`,
    consequence: /the older version as an update/
  },
  {
    what: 'no maintenance version any more',
    at: [...PLAN, 'maintenance_info'],
    before: { version: '1.0.0' },
    after: undefined,
    is: `breaks maintenance_info ${plan}.maintenance_info was removed, and was "1.0.0"`,
    consequence: /422 MaintenanceInfoConflict/
  },
  {
    what: 'another provider',
    at: [...SERVICE, 'x-broker'],
    before: { provider: 'able' },
    after: undefined,
    is: `breaks x-broker ${service}.x-broker.provider is "the default one", and was "able"`,
    consequence: /stay with the provider that made them/
  },
  {
    what: 'asynchronous alone',
    at: [...PLAN, 'x-broker', 'mode'],
    before: 'either',
    after: 'async',
    is: `breaks x-broker ${plan}.x-broker.mode is async, and was either`,
    consequence: /422 AsyncRequired.*deletes/
  },
  {
    what: 'synchronous alone',
    at: [...PLAN, 'x-broker', 'mode'],
    before: undefined,
    after: 'sync',
    is: `changes x-broker ${plan}.x-broker.mode is sync, and was left to the provider`,
    consequence: /504/
  },
  {
    what: 'binds that need an app',
    at: [...PLAN, 'x-broker', 'requires_app'],
    before: undefined,
    after: true,
    is: `breaks x-broker ${plan}.x-broker.requires_app is true, and was false`,
    consequence: /422 RequiresApp/
  },
  {
    what: 'endpoints',
    at: [...PLAN, 'x-broker', 'endpoints'],
    before: undefined,
    after: true,
    is: `changes x-broker ${plan}.x-broker.endpoints is true, and was false`,
    consequence: /Go client/
  },
  {
    what: 'credentials that are kept no more',
    at: [...PLAN, 'x-broker', 'keep_credentials'],
    before: undefined,
    after: false,
    is: `changes x-broker ${plan}.x-broker.keep_credentials is false, and was true`,
    consequence: /answered once/
  },
  {
    what: 'credentials that are kept again',
    at: [...PLAN, 'x-broker', 'keep_credentials'],
    before: false,
    after: true,
    is: `changes x-broker ${plan}.x-broker.keep_credentials is true, and was false`,
    consequence: /can be fetched again/
  },
  {
    what: 'another option',
    at: [...PLAN, 'x-broker', 'options'],
    before: { size: 5, zone: 'a' },
    after: { size: 6, zone: 'a' },
    is: `changes x-broker ${plan}.x-broker.options differ in "size"`,
    consequence: /next update/
  }
]

for (const { what, at, before, after, is, consequence } of differences) {
  test(`compare catalogs: ${what} is said once, with its consequence`, () => {
    const changes = changesOf(at, before, after)
    assert.deepEqual(changes.map(brief), [is])
    assert.match(changes[0]?.consequence ?? '', consequence)
  })
}

for (const [what, at, before, after] of [
  ['metadata', [...SERVICE, 'metadata'], { displayName: 'A' }, { displayName: 'B' }],
  ['metadata of a plan', [...PLAN, 'metadata'], { bullets: [] }, undefined],
  ['a description', [...PLAN, 'description'], 'One', 'Another'],
  ['a tag more', [...SERVICE, 'tags'], ['a'], ['a', 'b']],
  ['a vendor field', [...SERVICE, 'active'], true, false],
  ['a default that is written out', [...PLAN, 'free'], undefined, true],
  ['a flag of the offering that the plan repeats', [...PLAN, 'bindable'], undefined, true],
  ['more time', [...PLAN, 'maximum_polling_duration'], 60, 600],
  [
    'the description of a maintenance',
    [...PLAN, 'maintenance_info'],
    { version: '1.0.0' },
    { version: '1.0.0', description: 'x' }
  ],
  ["a dashboard client's secret", [...SERVICE, 'dashboard_client'], { id: 'c', secret: 'a' }, { id: 'c', secret: 'b' }]
] satisfies [string, Place, unknown, unknown][]) {
  test(`compare catalogs: ${what} is no change`, () => {
    assert.deepEqual(changesOf(at, before, after), [])
  })
}

test('compare catalogs: the same catalog in another order has no changes, and neither is touched', () => {
  const [before, after] = [goodCatalog(), goodCatalog()]
  after.services.reverse()
  for (const { plans } of after.services) plans.reverse()
  const copies = structuredClone([before, after])
  assert.deepEqual(compareCatalogs(before, after), [])
  assert.deepEqual([before, after], copies)
})

test('compare catalogs: an offering that went is at its old place, one that came at its new', () => {
  const [before, after] = [goodCatalog(), goodCatalog()]
  before.services = before.services.slice(0, 1)
  after.services = after.services.slice(1)
  const changes = compareCatalogs(before, after)
  assert.deepEqual(changes, [
    {
      severity: 'adds',
      kind: 'offering-added',
      path: 'services[0:queue]',
      at: ['services', 0],
      side: 'after',
      serviceId: 's-2',
      message: 'is new',
      consequence: 'Platforms offer it once they have fetched the catalog, where it is enabled'
    },
    {
      severity: 'breaks',
      kind: 'offering-removed',
      path: 'services[0:database]',
      at: ['services', 0],
      side: 'before',
      serviceId: 's-1',
      message: 'was removed',
      consequence:
        'Instances that live can still be fetched, unbound and deleted, but no longer bound or updated (400); while ' +
        'there are any, this broker does not load such a catalog on SIGHUP. Platforms may restrict more'
    }
  ])
})

test('compare catalogs: a plan that went and one that came name their ids', () => {
  const [before, after] = [goodCatalog(), goodCatalog()]
  const [first] = after.services
  assert.ok(first)
  first.plans = [{ id: 'p-9', name: 'huge', description: 'Huge' }, ...first.plans.slice(1)]
  assert.deepEqual(
    compareCatalogs(before, after).map(({ kind, side, path, serviceId, planId }) => [
      kind,
      side,
      path,
      serviceId,
      planId
    ]),
    [
      ['plan-added', 'after', `${service}.plans[0:huge]`, 's-1', 'p-9'],
      ['plan-removed', 'before', plan, 's-1', 'p-1']
    ]
  )
})

test('compare catalogs: a plan that moved to another offering is a move alone', () => {
  const [before, after] = [goodCatalog(), goodCatalog()]
  const [database, queue] = after.services
  const moved = database?.plans.pop()
  assert.ok(moved && queue)
  queue.plans.push(moved)
  const changes = compareCatalogs(before, after)
  assert.deepEqual(changes.map(brief), [
    'breaks plan-moved services[1:queue].plans[1:large] is a plan of "queue", and was one of "database"'
  ])
  assert.match(changes[0]?.consequence ?? '', /deletes too are refused \(400\)/)
  assert.equal(changes[0]?.planId, 'p-2')
})

test('compare catalogs: plans that swap their names break both', () => {
  const after = goodCatalog()
  const [small, large] = after.services[0]?.plans ?? []
  assert.ok(small && large)
  ;[small.name, large.name] = [large.name, small.name]
  assert.deepEqual(
    compareCatalogs(goodCatalog(), after).map(({ severity, kind, message }) => `${severity} ${kind} ${message}`),
    [
      'breaks plan-id-reused is "large", whose id was "p-2"; "p-1" was the id of "small"',
      'breaks plan-id-reused is "small", whose id was "p-1"; "p-2" was the id of "large"'
    ]
  )
})

test('compare catalogs: a plan that overrides its offering is said at the plan, others at the offering', () => {
  const before = catalogWith(['services', 0, 'plans', 0, 'bindable'], true)
  const after = catalogWith(['services', 0, 'bindable'], false)
  assert.deepEqual(
    compareCatalogs(before, after).map(({ path, planId }) => [path, planId]),
    [
      [`${service}.bindable`, undefined],
      [`${plan}.bindable`, 'p-1']
    ]
  )
})

test('compare catalogs: x-broker is left out where one of them is as served', () => {
  const served: Catalog = JSON.parse(
    JSON.stringify(goodCatalog(), (key, value) => (key === 'x-broker' ? undefined : value))
  )
  const next = catalogWith(['services', 0, 'x-broker', 'provider'], 'plain')
  assert.deepEqual(compareCatalogs(served, next), [])
  assert.deepEqual(compareCatalogs(next, served), [])
  assert.equal(compareCatalogs(goodCatalog(), next)[0]?.kind, 'x-broker')
})

test('compare catalogs: from nothing everything is new, to nothing everything is gone', () => {
  const kinds = (changes: CatalogChange[]) => changes.map(({ kind }) => kind)
  assert.deepEqual(kinds(compareCatalogs({ services: [] }, goodCatalog())), ['offering-added', 'offering-added'])
  assert.deepEqual(kinds(compareCatalogs(goodCatalog(), { services: [] })), ['offering-removed', 'offering-removed'])
})

test('compare versions: precedence is that of semantic versions', () => {
  const ordered = [
    '1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta',
    '1.0.0-beta.2',
    '1.0.0-beta.11',
    '1.0.0-rc.1',
    '1.0.0',
    '1.2.0',
    '1.10.0',
    '2.0.0',
    '99999999999999999999.0.0'
  ]
  for (const [index, version] of ordered.entries()) {
    for (const [other, later] of ordered.entries()) {
      assert.equal(Math.sign(compareVersions(version, later)), Math.sign(index - other), `${version} ${later}`)
    }
  }
  assert.equal(compareVersions('1.0.0+a', '1.0.0+b'), 0)
})
