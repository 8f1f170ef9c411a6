import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Rejected } from '../../src/core/provider.ts'
import { bindBody, deleteQuery, ids, provisionBody, testStores } from '../helper/app.ts'
import { ScriptedProvider } from '../helper/scripted-provider.ts'
import {
  ALSO_ASYNC,
  ASYNC,
  accepted,
  answered,
  bindingPath,
  catalogOf,
  gateFor,
  instancePath,
  onePlatform,
  planOf,
  refused,
  succeeded
} from './support.ts'

const { plans } = ids
const i1 = instancePath('i-1')
const b1 = bindingPath('i-1', 'b-1')
const neverIssued = '3f0c8d6e-1b1f-4f7e-9f58-0d0a3b7f9f11'

for (const testStore of testStores) {
  test(`GET last_operation: with none, foreign or stale hints, on ${testStore}, answers for the latest operation, never 400`, async (t) => {
    const { open, opened } = gateFor(t)
    const provider = new ScriptedProvider({ update: () => opened })
    const catalog = catalogOf([planOf(plans.sync, { mode: 'either' })])
    const platform = await onePlatform(t, { testStore, catalog, providers: [provider] })
    for (const path of [i1, b1]) {
      for (const hint of ['', `?operation=${neverIssued}`, '?operation=', '?service_id=x&plan_id=y']) {
        refused(await platform.get(`${path}/last_operation${hint}`), 404, /no operation/)
      }
    }
    const create = accepted(await platform.provision('i-1', provisionBody(), ASYNC))
    answered(await platform.ended(i1, create), 200, succeeded)
    const other = accepted(await platform.provision('i-2', provisionBody(), ASYNC))
    answered(await platform.ended(instancePath('i-2'), other), 200, succeeded)
    const update = accepted(await platform.update('i-1', { parameters: { a: 1 } }, ASYNC))

    const hints = [
      '',
      '?operation=',
      `?operation=${update}`,
      `?operation=${neverIssued}`,
      `?operation=${other}`,
      '?operation=task_10',
      `?operation=${encodeURIComponent("'; DROP TABLE operations; --")}`,
      `?operation=${'x'.repeat(9_999)}`,
      '?service_id=stale&plan_id=stale',
      `?service_id=&plan_id=&operation=${update}`,
      `?operation=${update}&unknown=1`
    ]
    for (const hint of hints) {
      assert.equal(answered(await platform.get(`${i1}/last_operation${hint}`), 200).state, 'in progress', hint)
    }
    // A token answers for itself, whatever is running now.
    answered(await platform.poll(i1, create), 200, succeeded)
    refused(await platform.poll(b1, update), 404, /no operation/)
    open()
    answered(await platform.ended(i1, update), 200, succeeded)
    answered(await platform.poll(i1), 200, succeeded)
  })

  for (const deletedLastOperation of ['succeeded', 'gone'] as const) {
    test(`GET last_operation: after a delete, on ${testStore}, answers ${deletedLastOperation}`, async (t) => {
      const platform = await onePlatform(t, { testStore, deletedLastOperation })
      const check = async (path: string, token?: string) => {
        const reply = await platform.ended(path, token)
        if (deletedLastOperation === 'gone') refused(reply, 410, /was deleted/)
        else answered(reply, 200, succeeded)
      }
      const create = accepted(await platform.provision('i-1', provisionBody(plans.either), ASYNC))
      answered(await platform.ended(i1, create), 200, succeeded)
      const bind = accepted(await platform.bind('i-1', 'b-1', bindBody(plans.either), ASYNC))
      answered(await platform.ended(b1, bind), 200, succeeded)
      const query = deleteQuery(plans.either, ALSO_ASYNC)
      const unbind = accepted(await platform.unbind('i-1', 'b-1', query))
      await check(b1, unbind)
      await check(b1)
      answered(await platform.poll(b1, bind), 200, succeeded)
      const remove = accepted(await platform.deprovision('i-1', query))
      await check(i1, remove)
      await check(i1)
      answered(await platform.poll(i1, create), 200, succeeded)
      // The same id again: its create is the latest now.
      answered(await platform.provision('i-1'), 201)
      answered(await platform.poll(i1), 200, succeeded)
      await check(i1, remove)
    })
  }
}

test('GET last_operation: a delete that fails says so, and the instance stays', async (t) => {
  const failing = planOf(plans.failing, { mode: 'either', options: { fail_on: ['deprovision', 'unbind'] } })
  const platform = await onePlatform(t, { catalog: catalogOf([failing]) })
  answered(await platform.provision('i-1', provisionBody(plans.failing)), 201)
  answered(await platform.bind('i-1', 'b-1', bindBody(plans.failing)), 201)
  const query = deleteQuery(plans.failing, ALSO_ASYNC)
  const unbind = answered(await platform.ended(b1, accepted(await platform.unbind('i-1', 'b-1', query))), 200)
  assert.equal(unbind.state, 'failed')
  assert.match(String(unbind.description), /fails on unbind/)
  answered(await platform.fetchBinding('i-1', 'b-1'), 200)
  refused(await platform.deprovision('i-1', deleteQuery(plans.failing)), 500, /fails on (unbind|deprovision)/)
  const remove = answered(await platform.ended(i1, accepted(await platform.deprovision('i-1', query))), 200)
  assert.equal(remove.state, 'failed')
  answered(await platform.fetch('i-1'), 200)
})

test('GET last_operation: running shows the progress of the provider and Retry-After in whole seconds', async (t) => {
  const platform = await onePlatform(t)
  const operation = accepted(await platform.provision('i-1', provisionBody(plans.slow), ASYNC))
  await platform.atWork(i1, operation)
  const reply = await platform.poll(i1, operation)
  answered(reply, 200, { state: 'in progress', description: 'Working for 60000 ms.' })
  assert.match(String(reply.headers['retry-after']), /^[1-9]\d*$/)
})

test('GET last_operation: failed update carries the flags of the refusal, other operations none', async (t) => {
  const reject = async () => {
    throw new Rejected(422, 'It is too full.', { instanceUsable: true, updateRepeatable: false })
  }
  const provider = new ScriptedProvider({ update: reject, bind: reject })
  const catalog = catalogOf([planOf(plans.sync, { mode: 'either' })])
  const platform = await onePlatform(t, { catalog, providers: [provider] })
  answered(await platform.provision('i-1'), 201)
  const flags = { instance_usable: true, update_repeatable: false }
  const update = accepted(await platform.update('i-1', { parameters: { a: 1 } }, ASYNC))
  answered(await platform.ended(i1, update), 200, { state: 'failed', description: 'It is too full.', ...flags })
  answered(await platform.update('i-1', { parameters: { a: 1 } }), 422, { description: 'It is too full.', ...flags })
  const bind = accepted(await platform.bind('i-1', 'b-1', bindBody(), ASYNC))
  answered(await platform.ended(b1, bind), 200, { state: 'failed', description: 'It is too full.' })
})

test('GET last_operation: of a synchronous operation answers 200 succeeded', async (t) => {
  const platform = await onePlatform(t)
  answered(await platform.provision('i-1'), 201)
  const reply = await platform.poll(i1)
  answered(reply, 200, succeeded)
  assert.equal(reply.headers['retry-after'], undefined)
})
