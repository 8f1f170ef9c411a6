import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CatalogSource } from '../../schemas/catalog.ts'
import { bindBody, deleteQuery, ids, provisionBody, testStores } from '../helper/app.ts'
import { ScriptedProvider } from '../helper/scripted-provider.ts'
import {
  ALSO_ASYNC,
  ASYNC,
  accepted,
  answered,
  bindingPath,
  catalogOf,
  credentialsOf,
  gateFor,
  onePlatform,
  planOf,
  refused,
  succeeded
} from './support.ts'

const { plans } = ids
const b1 = bindingPath('i-1', 'b-1')
const parameters = { role: 'reader' }

/** Plans that keep no credentials, of an offering whose bindings can be fetched. */
function catalog(): CatalogSource {
  const once = (id: string, mode: string) => planOf(id, { mode, keep_credentials: false }, { binding_rotatable: true })
  return catalogOf([once(plans.sync, 'sync'), once(plans.async, 'async'), once(plans.either, 'either')])
}

for (const testStore of testStores) {
  test(`PUT binding: a plan that keeps no credentials, on ${testStore}, answers them with 201 alone`, async (t) => {
    const platform = await onePlatform(t, { testStore, catalog: catalog() })
    answered(await platform.provision('i-1'), 201)
    const body = bindBody(plans.sync, { parameters })
    const bound = await platform.bind('i-1', 'b-1', body)
    credentialsOf(bound, 201)
    assert.equal(bound.headers['cache-control'], 'no-store')
    answered(await platform.bind('i-1', 'b-1', body), 200, {})
    answered(await platform.fetchBinding('i-1', 'b-1'), 200, { parameters })
    answered(await platform.unbind('i-1', 'b-1'), 200, {})
  })

  test(`GET binding: a plan that keeps no credentials, on ${testStore}, answers them to one fetch alone`, async (t) => {
    const platform = await onePlatform(t, { testStore, catalog: catalog() })
    accepted(await platform.provision('i-1', provisionBody(plans.async), ASYNC))
    assert.equal((await platform.ended('/v2/service_instances/i-1')).json().state, 'succeeded')
    accepted(await platform.bind('i-1', 'b-1', bindBody(plans.async), ASYNC))
    assert.deepEqual((await platform.ended(b1)).json(), succeeded)

    answered(await platform.bind('i-1', 'b-1', bindBody(plans.async), ASYNC), 200, {})
    const head = await platform.app.inject({ method: 'HEAD', url: b1, headers: platform.headers })
    assert.equal(head.statusCode, 404)
    const fetched = await Promise.all(Array.from({ length: 5 }, () => platform.fetchBinding('i-1', 'b-1')))
    const bodies = fetched.map((reply) => answered(reply, 200))
    const [given, ...others] = bodies.sort((a, b) => Object.keys(b).length - Object.keys(a).length)
    assert.match(String(Object(given?.credentials).password), /^[\w-]{32}$/)
    assert.deepEqual(others, [{}, {}, {}, {}])
    assert.ok(fetched.every(({ headers }) => headers['cache-control'] === 'no-store'))
    answered(await platform.fetchBinding('i-1', 'b-1'), 200, {})
    accepted(await platform.unbind('i-1', 'b-1', deleteQuery(plans.async, ALSO_ASYNC)))
  })

  test(`PUT binding: one that outlasts its request and keeps none, on ${testStore}, is fetched once`, async (t) => {
    const { opened, open } = gateFor(t)
    const provider = new ScriptedProvider({ bind: () => opened })
    const options = { catalog: catalog(), providers: [provider], syncDeadlineMs: 1_000 }
    const platform = await onePlatform(t, { testStore, ...options })
    answered(await platform.provision('i-1'), 201)
    accepted(await platform.bind('i-1', 'b-1', bindBody(), ASYNC))
    open()
    assert.deepEqual((await platform.ended(b1)).json(), succeeded)
    answered(await platform.fetchBinding('i-1', 'b-1'), 200, { credentials: { token: 'b-1' } })
    answered(await platform.fetchBinding('i-1', 'b-1'), 200, {})
  })
}

test('PUT binding: a rotation where no credentials are kept answers those of the successor once', async (t) => {
  const provider = new ScriptedProvider()
  const platform = await onePlatform(t, { catalog: catalog(), providers: [provider] })
  answered(await platform.provision('i-1'), 201)
  answered(await platform.bind('i-1', 'b-1', bindBody(plans.sync, { parameters })), 201)
  const rotation = { predecessor_binding_id: 'b-1' }
  answered(await platform.bind('i-1', 'b-2', rotation), 201, { credentials: { token: 'b-2' } })
  answered(await platform.bind('i-1', 'b-2', rotation), 200, {})
  answered(await platform.fetchBinding('i-1', 'b-2'), 200, { parameters })
  const binds = provider.tasks.filter((task) => 'keepCredentials' in task)
  assert.deepEqual(
    binds.map((task) => 'keepCredentials' in task && task.keepCredentials),
    [false, false]
  )
})

test('PUT binding: a provider whose state has what the plan does not keep answers 500, and it is undone', async (t) => {
  const password = 'a password that nobody may keep'
  const credentials = { uri: `https://user:${encodeURIComponent(password)}@example.com` }
  const provider = new ScriptedProvider({
    bind: async (task) => {
      await task.saveState({ name: 'n', password })
      return { credentials }
    }
  })
  const platform = await onePlatform(t, { catalog: catalog(), providers: [provider] })
  answered(await platform.provision('i-1'), 201)
  refused(await platform.bind('i-1', 'b-1'), 500, /keeps credentials, which the plan does not allow/)
  const unbound = await platform.unbind('i-1', 'b-1')
  assert.ok([200, 410].includes(unbound.statusCode), unbound.body)
  assert.ok(provider.calls.includes('unbind b-1'))
})
