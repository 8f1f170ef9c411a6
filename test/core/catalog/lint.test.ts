import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stringify } from 'yaml'
import { lintCatalog } from '../../../src/core/catalog/index.ts'
import { able, catalogWith, catalogWithSchema, goodCatalog, SCHEMA_PATH } from './helper.ts'

const providers = [able]

/** Findings in one line each: `LINE:COLUMN LEVEL PATH`. */
function findingsIn(
  text: string,
  { isJson = false, defaultProvider }: { isJson?: boolean; defaultProvider?: string } = {}
) {
  const choice = defaultProvider === undefined ? { providers } : { providers, defaultProvider }
  return lintCatalog(text, { ...choice, isJson }).findings
}

function brief(text: string, options = {}): string[] {
  return findingsIn(text, options).map(({ line, column, level, path }) => `${line}:${column} ${level} ${path}`)
}

const good = `services:
  - id: s
    name: db
    description: Databases
    bindable: true
    x-broker: { provider: able }
    plans:
      - &plan
        id: p
        name: small
        description: Small
`

test('lint catalog: a good one has no findings and is handed back', () => {
  const { findings, catalog } = lintCatalog(good, { providers, isJson: false })
  assert.deepEqual(findings, [])
  assert.equal(catalog?.services[0]?.plans[0]?.name, 'small')
})

for (const [what, text, place] of [
  ['a value of another type, at its key', good.replace('true', '"yes"'), '5:5 error services[0:db].bindable'],
  [
    'a missing key, where its object begins',
    good.replace('        name: small\n', ''),
    '9:9 error services[0:db].plans[0].name'
  ],
  ['a fault in flow style', good.replace('able }', 'able, pool: 1 }'), '6:33 error services[0:db].x-broker.pool'],
  [
    'a duplicate by an alias, where it is written',
    `${good}      - *plan\n`,
    '9:9 error services[0:db].plans[1:small].id'
  ],
  ['a syntax error', good.replace('plans:', 'plans: ['), '9:13 error (catalog)'],
  ['an empty text', '', 'undefined:undefined error (catalog)'],
  ['a list', '- a\n', '1:1 error (catalog)']
] as const) {
  test(`lint catalog: ${what} is found`, () => {
    assert.equal(brief(text)[0], place)
    assert.equal(lintCatalog(text, { providers, isJson: false }).catalog, undefined)
  })
}

test('lint catalog: JSON with tabs has lines and columns too', () => {
  const text = JSON.stringify(catalogWith(['services', 0, 'plans', 1, 'free'], 'no'), null, '\t')
  const line = text.split('\n').findIndex((row) => row.includes('"no"')) + 1
  assert.deepEqual(brief(text, { isJson: true }).slice(0, 1), [
    `${line}:6 error services[0:database].plans[1:large].free`
  ])
})

test('lint catalog: a syntax error of JSON has its place', () => {
  assert.deepEqual(brief('{\n  "services": [,]\n}', { isJson: true }), ['2:16 error (catalog)'])
})

test('lint catalog: each finding says where to read about it', () => {
  const faults: [(string | number)[], unknown, string][] = [
    [['services', 0, 'bindable'], 1, 'spec: Service Offering Object'],
    [['services', 0, 'plans', 0, 'id'], '', 'spec: Service Plan Object'],
    [['services', 0, 'plans', 0, 'maintenance_info'], {}, 'spec: Maintenance Info Object'],
    [['services', 0, 'plans', 0, 'schemas'], 1, 'spec: Schemas Object'],
    [['services', 0, 'plans', 0, 'schemas'], { service_binding: { create: 1 } }, 'spec: Service Binding Schema Object'],
    [
      ['services', 0, 'plans', 0, 'schemas'],
      { service_instance: { create: 1 } },
      'spec: Service Instance Schema Object'
    ],
    [['services', 0, 'plans', 0, 'x-broker', 'mode'], 'later', 'docs/catalog.md: x-broker'],
    [['services', 0, 'dashboard_client'], { id: 'a', redirect_uri: 'b' }, 'profile: Dashboard Client Object']
  ]
  for (const [at, value, section] of faults) {
    const found = findingsIn(stringify(catalogWith(at, value))).find(({ level }) => level === 'error')
    assert.equal(found?.section, section)
  }
  const schema = findingsIn(stringify(catalogWithSchema({ type: 'objekt' })))
  assert.equal(schema.find(({ path }) => path.startsWith(SCHEMA_PATH))?.section, 'spec: Input Parameters Schema Object')
})

test('lint catalog: an unknown provider is no error, and what it leaves unchecked is said', () => {
  const text = good.replace('provider: able', 'provider: mine')
  const { findings, catalog } = lintCatalog(text, { providers, isJson: false })
  assert.deepEqual(findings, [
    {
      level: 'info',
      path: 'services[0:db].x-broker.provider',
      message: '"mine" is not a built-in provider: its options, and whether it can bind and update, were not checked',
      line: 6,
      column: 17,
      section: 'docs/catalog.md: x-broker'
    }
  ])
  assert.ok(catalog)
})

test('lint catalog: options of a known provider are checked, the default one too', () => {
  const options = '\n        x-broker: { options: { size: 0 } }\n'
  const text = good.replace('Small\n', `Small${options}`)
  assert.deepEqual(brief(text), ['12:32 error services[0:db].plans[0:small].x-broker.options.size'])
  const unnamed = text.replace('    x-broker: { provider: able }\n', '')
  assert.deepEqual(brief(unnamed, { defaultProvider: 'able' }), [
    '11:32 error services[0:db].plans[0:small].x-broker.options.size'
  ])
  const [info, ...others] = findingsIn(unnamed)
  assert.deepEqual(others, [])
  assert.match(info?.message ?? '', /^is not given, so BROKER_DEFAULT_PROVIDER decides/)
})

test("lint catalog: another broker's need not do without what this one cannot do", () => {
  const served = JSON.stringify(
    catalogWithSchema({ properties: { a: { type: 'string', pattern: '(?=x)' } } }),
    (key, value) => (key === 'x-broker' ? undefined : value)
  )
  const { findings, catalog } = lintCatalog(served, { providers, isJson: true })
  assert.ok(catalog)
  assert.deepEqual(
    findings.map(({ level, message }) => `${level} ${message}`),
    [
      'info name no provider: nothing of x-broker was checked',
      'warning the pattern (?=x) cannot be used: lookahead and lookbehind cannot be matched in linear time (by this broker)'
    ]
  )
  assert.equal(findingsIn(stringify(catalogWithSchema({ pattern: '(?=x)' })))[0]?.level, 'error')
})

test('lint catalog: a schema without $schema is an error for any broker', () => {
  const catalog = goodCatalog()
  for (const service of catalog.services) delete service['x-broker']
  const [plan] = catalog.services[0]?.plans ?? []
  assert.ok(plan)
  delete plan['x-broker']
  plan.schemas = { service_binding: { create: { parameters: {} } } }
  const errors = findingsIn(JSON.stringify(catalog), { isJson: true }).filter(({ level }) => level === 'error')
  assert.equal(errors.length, 1)
  assert.match(errors[0]?.message ?? '', /^is required; known are/)
})
