import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { CatalogSource } from '../../schemas/catalog.ts'
import { injectTransport, type Transport } from '../../src/client/transport.ts'
import { type ConformanceOptions, runConformance } from '../../src/conformance/index.ts'
import { packageRoot } from '../../src/package-root.ts'
import { buildApp, credentials, headers, type TestAppOptions, type TestStore } from '../helper/app.ts'
import { superuserUrl } from '../providers/postgresql/support.ts'
import { richCatalog } from './mutants/catalog.ts'

/** The catalog and the provider of a run, and which plan it tries. */
interface Subject {
  readonly plan: string
  readonly service: string
  options(): Promise<TestAppOptions>
}

const subjects: Readonly<Record<string, Subject>> = {
  'example, either': { service: 'mutants', plan: 'small', options: async () => ({ catalog: richCatalog() }) },
  'example, async': { service: 'mutants', plan: 'async', options: async () => ({ catalog: richCatalog() }) },
  'example, sync': { service: 'mutants', plan: 'sync', options: async () => ({ catalog: richCatalog() }) },
  'example, hardly anything declared': {
    service: 'mutants-other',
    plan: 'only',
    options: async () => ({ catalog: richCatalog() })
  },
  'example, async, keeps no credentials': {
    service: 'mutants',
    plan: 'async',
    options: async () => ({ catalog: keepingNone(richCatalog()) })
  },
  'example, sync, keeps no credentials': {
    service: 'mutants',
    plan: 'sync',
    options: async () => ({ catalog: keepingNone(richCatalog()) })
  },
  'postgresql, the shipped catalog': {
    service: 'postgres',
    plan: 'free',
    options: async () => ({
      catalog: join(packageRoot(), 'catalog.yaml'),
      postgresql: { adminUrl: await superuserUrl() }
    })
  }
}

/** The two stores differ in what operations do, so what is nearly all operations runs on both. */
const runs: readonly (readonly [TestStore, string])[] = [
  ['memory', 'example, either'],
  ['postgres', 'example, either'],
  ['memory', 'example, async'],
  ['memory', 'example, sync'],
  ['postgres', 'example, sync'],
  ['memory', 'example, hardly anything declared'],
  ['memory', 'example, sync, keeps no credentials'],
  ['memory', 'example, async, keeps no credentials'],
  ['memory', 'postgresql, the shipped catalog'],
  ['postgres', 'postgresql, the shipped catalog']
]

for (const [testStore, name] of runs) {
  test(`conformance: our broker keeps every rule, ${testStore}, ${name}`, async (t) => {
    const { service, plan, options } = subjects[name] ?? assert.fail(name)
    const app = await buildApp(t, { testStore, ...(await options()) })
    await conforms(t, { transport: injectTransport(app), ...credentials, service, plan })
  })
}

/** The catalog with plans that hand credentials over once. */
function keepingNone({ services }: CatalogSource): CatalogSource {
  return {
    services: services.map(({ plans, ...service }) => ({
      ...service,
      plans: plans.map((plan) => ({ ...plan, 'x-broker': { ...plan['x-broker'], keep_credentials: false } }))
    }))
  }
}

/** Every MUST and every SHOULD: ours is the broker that the kit is to be believed with. */
async function conforms(t: TestContext, options: ConformanceOptions): Promise<void> {
  const made = new Set<string>()
  const transport: Transport = (request, signal) => {
    const path = request.path.split('?')[0] ?? ''
    if (request.method === 'PUT' && /^\/v2\/service_instances\/[^/]+$/.test(path)) made.add(path)
    return options.transport(request, signal)
  }
  const { results, conforms } = await runConformance({ ...options, transport })
  const of = (status: string) => results.filter((result) => result.status === status)
  t.diagnostic(`${results.length} checks: ${of('passed').length} passed, ${of('skipped').length} skipped`)
  assert.deepEqual(of('failed'), [])
  assert.equal(conforms, true)
  assert.ok(made.size > 20)
  for (const path of made) {
    const { status, text } = await options.transport({ method: 'GET', path, headers })
    assert.equal(status, 404, `left behind: ${path} ${text}`)
  }
}
