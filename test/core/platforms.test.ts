import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CatalogSource } from '../../schemas/catalog.ts'
import { loadCatalog } from '../../src/core/catalog/index.ts'
import type { PlatformRules } from '../../src/core/platform-rules.ts'
import { Platforms } from '../../src/core/platforms.ts'
import { instanceRecord } from '../stores/records.ts'
import { choice, goodCatalog } from './catalog/helper.ts'

/** Offerings `database` (plans `small`, `large`) and `queue` (plan `small`), and rules that a test may replace. */
async function scene(rules: PlatformRules, source: CatalogSource = goodCatalog()) {
  const state = { catalog: await loadCatalog(source, choice), rules }
  // New objects each time, as a function of a host may well answer.
  const platforms = new Platforms(
    () => state.catalog,
    () => structuredClone(state.rules)
  )
  const shown = () => JSON.parse(platforms.catalogOf('cf').bytes.toString())
  const names = () =>
    shown().services.map(({ name, plans }: { name: string; plans: { name: string }[] }) => [
      name,
      ...plans.map((plan) => plan.name)
    ])
  return { state, platforms, shown, names }
}

test('catalogOf: a platform without rules for the catalog is given the catalog itself', async () => {
  const { state, platforms } = await scene({ quotas: [] })
  assert.equal(platforms.catalogOf('cf'), state.catalog)
  assert.equal(new Platforms(() => state.catalog).catalogOf('cf'), state.catalog)
})

test('catalogOf: offerings and plans are those named, in the order of the catalog, with all their fields', async () => {
  const { state, shown, names } = await scene({})
  const cases: [NonNullable<PlatformRules['catalog']>, string[][]][] = [
    [[{ service: 'database' }], [['database', 'small', 'large']]],
    [[{ service: 'database', plans: ['large'] }], [['database', 'large']]],
    [
      [{ service: 'queue' }, { service: 'database', plans: ['large', 'small'] }],
      [
        ['database', 'small', 'large'],
        ['queue', 'small']
      ]
    ],
    [
      [
        { service: 'database', plans: ['large'] },
        { service: 'database', plans: ['small'] }
      ],
      [['database', 'small', 'large']]
    ],
    [[{ service: 'database', plans: [] }, { service: 'queue' }], [['queue', 'small']]],
    [[{ service: 'database', plans: ['no such plan'] }, { service: 'no such offering' }], []],
    [[], []]
  ]
  for (const [catalog, expected] of cases) {
    state.rules = { catalog }
    assert.deepEqual(names(), expected, JSON.stringify(catalog))
  }
  state.rules = { catalog: [{ service: 'database', plans: ['large'] }] }
  const [whole] = state.catalog.served.services
  assert.deepEqual(shown(), { services: [{ ...whole, plans: whole?.plans.slice(1) }] })
})

test('catalogOf: top-level fields stay, and the whole catalog by names has the bytes and the tag of the catalog', async () => {
  const source = { 'vendor.example/top': 1, ...goodCatalog() }
  const { state, platforms, shown } = await scene({ catalog: [] }, source)
  assert.deepEqual(shown(), { 'vendor.example/top': 1, services: [] })
  state.rules = { catalog: [{ service: 'database' }, { service: 'queue' }] }
  const { bytes, etag, lastModified } = platforms.catalogOf('cf')
  assert.deepEqual([bytes, etag], [state.catalog.bytes, state.catalog.etag])
  // Nothing says since when the rules are these: a date would answer 304 to one who has the catalog of other rules.
  assert.equal(lastModified, undefined)
})

test('catalogOf: a part is made once for a catalog and rules, and again when one of them has changed', async () => {
  const { state, platforms, names } = await scene({ catalog: [{ service: 'queue' }] })
  const first = platforms.catalogOf('cf')
  assert.equal(platforms.catalogOf('cf'), first)
  state.rules = { catalog: [{ service: 'queue', plans: ['small'] }], quotas: [] }
  const second = platforms.catalogOf('cf')
  assert.notEqual(second, first)
  assert.equal(second.etag, first.etag)

  const [database, ...rest] = goodCatalog().services
  const renamed = rest.map((service) => ({ ...service, description: 'Other queues' }))
  assert.ok(database)
  state.catalog = await loadCatalog({ services: [database, ...renamed] }, choice)
  const third = platforms.catalogOf('cf')
  assert.notEqual(third.etag, second.etag)
  assert.match(third.bytes.toString(), /Other queues/)
  assert.deepEqual(names(), [['queue', 'small']])
})

test('known: what is not shown is unknown, but for the plan of an instance and of its unfinished update', async () => {
  const { state, platforms } = await scene({ catalog: [{ service: 'queue' }] })
  const none = platforms.known('cf', undefined)
  assert.equal(none.service('s-1'), undefined)
  assert.equal(none.plan('s-1', 'p-1'), undefined)
  assert.equal(none.plan('s-1', 'p-3'), undefined)
  assert.equal(none.plan('s-2', 'p-3'), state.catalog.plan('s-2', 'p-3'))

  const instance = instanceRecord({ status: 'ready' })
  const own = platforms.known('cf', instance)
  assert.equal(own.service('s-1')?.name, 'database')
  assert.equal(own.plan('s-1', 'p-1'), state.catalog.plan('s-1', 'p-1'))
  assert.equal(own.plan('s-1', 'p-2'), undefined)
  assert.equal(own.plan('s-2', 'p-1'), undefined)
  assert.equal(own.plan('s-2', 'p-3')?.plan.name, 'small')

  const updating = platforms.known('cf', instance, { planId: 'p-2', parameters: {}, context: {} })
  assert.equal(updating.plan('s-1', 'p-2'), state.catalog.plan('s-1', 'p-2'))
  assert.equal(platforms.known('cf', { ...instance, status: 'failed' }).service('s-1'), undefined)
})

test('quotaOf: it is that of the plan in its offering; of several the smallest counts', async () => {
  const { state, platforms } = await scene({
    quotas: [
      { service: 'queue', plan: 'small', instances: 1 },
      { service: 'database', plan: 'small', instances: 5 },
      { service: 'database', plan: 'small', instances: 3 }
    ]
  })
  const quotas = state.catalog.plans.map((entry) => platforms.quotaOf('cf', entry))
  assert.deepEqual(quotas, [{ planId: 'p-1', instances: 3 }, undefined, { planId: 'p-3', instances: 1 }])
})
