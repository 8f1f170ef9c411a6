import assert from 'node:assert/strict'
import { test } from 'node:test'
import { injectTransport } from '../../src/client/transport.ts'
import { runConformance } from '../../src/conformance/index.ts'
import { buildApp, credentials, ids } from '../helper/app.ts'

for (const plan of [ids.plans.sync, ids.plans.async, ids.plans.either]) {
  test(`conformance: our broker, memory and example, plan ${plan}`, async (t) => {
    const app = await buildApp(t)
    const { results, conforms } = await runConformance({ transport: injectTransport(app), ...credentials, plan })
    const failed = results.filter(({ status }) => status === 'failed')
    assert.deepEqual(failed, [])
    assert.equal(conforms, true)
  })
}
