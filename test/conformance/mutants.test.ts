import assert from 'node:assert/strict'
import { test } from 'node:test'
import { injectTransport } from '../../src/client/transport.ts'
import { runConformance } from '../../src/conformance/index.ts'
import { buildApp, credentials } from '../helper/app.ts'
import { behaviourMutants } from './mutants/behaviour-mutants.ts'
import { richCatalog } from './mutants/catalog.ts'
import { catalogMutants } from './mutants/catalog-mutants.ts'
import { wireMutants } from './mutants/wire-mutants.ts'

const mutants = { ...wireMutants, ...behaviourMutants, ...catalogMutants }

for (const [name, fault] of Object.entries(mutants)) {
  test(`conformance: a broker with one fault is caught, ${name}`, async (t) => {
    const app = await buildApp(t, { catalog: richCatalog() })
    const transport = fault(injectTransport(app))
    const { results } = await runConformance({
      transport,
      ...credentials,
      service: 'mutants',
      plan: 'small',
      pollTimeoutMs: 2_000
    })
    const failed = results.filter(({ status }) => status === 'failed').map(({ id }) => id)
    t.diagnostic(failed.join(' '))
    assert.notDeepEqual(failed, [])
  })
}
