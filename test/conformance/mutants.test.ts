import assert from 'node:assert/strict'
import { test } from 'node:test'
import { injectTransport } from '../../src/client/transport.ts'
import { runConformance } from '../../src/conformance/index.ts'
import { buildApp, credentials } from '../helper/app.ts'
import { behaviourMutants } from './mutants/behaviour-mutants.ts'
import { richCatalog } from './mutants/catalog.ts'
import { catalogMutants } from './mutants/catalog-mutants.ts'
import { caughtBy } from './mutants/caught-by.ts'
import { wireMutants } from './mutants/wire-mutants.ts'

const mutants = { ...wireMutants, ...behaviourMutants, ...catalogMutants }
/** Most faults show with a plan that can do both; these need one that is asynchronous only. */
const asyncOnly = ['AsyncRequired: without the code', 'AsyncRequired: 400 for 422']
/** What the rules about every answer, and about refusals, are judged by: a bit of each endpoint. */
const walk = [
  'api-version/missing-is-refused',
  'provision/new-answers-201-or-202',
  'provision/other-plan-answers-409',
  'provision/missing-organization-guid-answers-400',
  'poll-instance/accepted-can-be-polled',
  'fetch-instance/answers-its-plan',
  'update/unknown-plan-is-refused',
  'update/wrong-types-answer-400',
  'bind/new-answers-201-or-202',
  'bind/other-app-answers-409',
  'bind/sync-or-async-required',
  'fetch-binding/succeeded-is-there',
  'deprovision/sync-or-async-required',
  'unbind/unknown-answers-410'
]

test('conformance: each fault has a check that must catch it', () => {
  assert.deepEqual(Object.keys(caughtBy), Object.keys(mutants))
  assert.ok(Object.keys(mutants).length >= 25)
})

test('conformance: a broker with one fault is caught', { concurrency: 4 }, async (t) => {
  const running = Object.entries(mutants).map(([name, fault]) =>
    t.test(name, async (subtest) => {
      const expected = caughtBy[name] ?? ''
      const plan = asyncOnly.includes(name) ? 'async' : 'small'
      const run = async (only: readonly string[], broken: boolean) => {
        const sound = injectTransport(await buildApp(subtest, { catalog: richCatalog() }))
        const transport = broken ? fault(sound) : sound
        const options = { ...credentials, service: 'mutants', plan, pollTimeoutMs: 3_000, only }
        const { results } = await runConformance({ transport, ...options })
        return results.filter(({ status }) => status === 'failed').map(({ id }) => id)
      }
      const only = isCheck(expected) ? [expected] : walk
      assert.ok((await run(only, true)).includes(expected), `${expected} has not failed`)
      assert.deepEqual(await run(only, false), [], 'the sound broker fails too')
    })
  )
  await Promise.all(running)
})

/** The others judge answers, refusals or the catalog as a whole. */
function isCheck(id: string): boolean {
  return !id.startsWith('answers/') && !id.startsWith('errors/') && id !== 'catalog/can-be-read'
}
