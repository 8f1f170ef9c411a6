import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JsonObject } from '../../../schemas/common.ts'
import {
  bindingRecord,
  bindStart,
  fieldsOf,
  instanceRecord,
  type Open,
  operationRecord,
  provisionStart,
  startedFields
} from '../records.ts'
import { claimed, opened, readyBinding, readyInstance, started } from './opened.ts'

/** What goes in comes out. */
export function recordsKept(open: Open): void {
  test('getInstance: a new instance gives every field that was written', async (t) => {
    const store = await opened(t, open)
    const record = instanceRecord({
      maintenanceVersion: '1.2.3',
      dashboardUrl: 'https://example.com/?a=1',
      metadata: { labels: { a: 'b' } },
      state: { database: 'db_1', password: 'secret' }
    })
    await started(store, provisionStart({}, record))
    assert.deepEqual(await store.getInstance('i-1'), record)
  })

  test('getInstance: absent fields stay absent', async (t) => {
    const store = await opened(t, open)
    await started(store, provisionStart())
    assert.deepEqual(await store.getInstance('i-1'), instanceRecord())
    assert.equal(await store.getInstance('i-2'), undefined)
  })

  test('getBinding: a new binding gives every field that was written', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const record = bindingRecord({
      appGuid: 'app',
      route: 'https://r.example.com',
      predecessorBindingId: 'b-0',
      reply: { credentials: { uri: 'postgres://u:p@h/d' }, endpoints: [{ host: 'h', ports: ['5432'] }] },
      state: { role: 'r' },
      expiresAt: new Date('2027-01-01T00:00:00.001Z')
    })
    await started(store, bindStart('b-1', record))
    assert.deepEqual(await store.getBinding('i-1', 'b-1'), record)
    assert.equal(await store.getBinding('i-1', 'b-2'), undefined)
    assert.equal(await store.getBinding('i-2', 'b-1'), undefined)
  })

  test('getOperation: a new operation gives every field that was written', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    const operation = operationRecord('update', {
      internal: true,
      target: { planId: 'p-2', parameters: { a: [1, null] }, context: {}, maintenanceVersion: '2.0.0' },
      provider: 'example',
      serviceId: 's-1',
      planId: 'p-2',
      originatingIdentity: { platform: 'cloudfoundry', value: { user_id: 'u' } },
      requestIdentity: 'r-1',
      traceContext: '00-11111111111111111111111111111111-2222222222222222-01'
    })
    await started(store, { operation })
    assert.deepEqual(startedFields(await store.getOperation(operation.operationId)), fieldsOf(operation))
  })

  test('getOperation: an id of any form that does not exist gives nothing', async (t) => {
    const store = await opened(t, open)
    for (const id of ['', 'x', "'; DROP TABLE operations; --", '00000000-0000-0000-0000-000000000000']) {
      assert.equal(await store.getOperation(id), undefined)
      assert.deepEqual(await store.claim(id), { kind: 'finished' })
      assert.equal(await store.keepAlive({ operationId: id, attempt: 1, platform: 'cf' }), 'lost')
    }
  })

  test('start: strange JSON and ids come back as they went in', async (t) => {
    const store = await opened(t, open)
    const instanceId = 'ид/../"\'\\%_ \u{1f418}.a.b'
    const parameters = strangeJson()
    const record = instanceRecord({ instanceId, parameters, context: parameters, state: parameters })
    await started(store, provisionStart({ instanceId }, record))
    const kept = await store.getInstance(instanceId)
    // jsonb keeps neither the order of keys nor the sign of zero; both mean the same in JSON.
    for (const object of [kept?.parameters, kept?.context, kept?.state])
      assert.deepEqual(normal(object), normal(parameters))
    assert.equal((await store.latestOperation({ platform: 'cf', instanceId }))?.instanceId, instanceId)
  })

  test('getInstance: a record that is changed by its reader stays as it was', async (t) => {
    const store = await opened(t, open)
    const start = provisionStart()
    await started(store, start)
    const expected = instanceRecord()
    for (const record of [start.insertInstance, await store.getInstance('i-1')]) {
      assert.ok(record)
      record.parameters.size = 2
      record.status = 'failed'
      record.createdAt.setFullYear(1999)
    }
    start.operation.kind = 'update'
    assert.deepEqual(await store.getInstance('i-1'), expected)
    assert.equal((await store.latestOperation({ platform: 'cf', instanceId: 'i-1' }))?.kind, 'provision')
    await claimed(store, start.operation)
  })

  test('listBindings: several bindings come oldest first', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    for (const id of ['b-3', 'b-1', 'b-2']) await readyBinding(store, id)
    const ids = (await store.listBindings('i-1')).map(({ bindingId }) => bindingId)
    assert.deepEqual(ids, ['b-3', 'b-1', 'b-2'])
    assert.deepEqual(await store.listBindings('i-2'), [])
  })

  test('health: a working store gives no error', async (t) => {
    const store = await opened(t, open)
    await store.health()
  })
}

function strangeJson(): JsonObject {
  let deep: unknown = 'bottom'
  for (let level = 0; level < 200; level += 1) deep = level % 2 === 0 ? [deep] : { d: deep }
  return JSON.parse(
    `{"__proto__":{"polluted":true},"constructor":{"prototype":1},"a.b":{"c.d":1},"":"empty","$ref":"#/x","n":[-0,1e300,1e-300,0.1,9007199254740991,null,true],
      "u":"\u{1f418} \\u202e \\ud7ff \\uffff \\u0001 ' \\" \\\\ $1 %s {} --","deep":${JSON.stringify(deep)}}`
  )
}

function normal(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_key, inner) => (isPlain(inner) ? Object.entries(inner).sort() : inner)))
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
