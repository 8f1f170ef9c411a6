import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { StaleAttempt } from '../../../src/core/provider.ts'
import { bindBody, deleteQuery, headers, ids, pollUntilEnded, provisionBody, testStores } from '../../helper/app.ts'
import { type AnyTask, gate, ScriptedProvider, until, untilAborted } from '../../helper/scripted-provider.ts'
import { noEnqueue, operationRecord } from '../../stores/records.ts'
import { catalogWith, oneDatabase, replica, storeAt, storeOf, throughProxy } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const asynchronous = '?accepts_incomplete=true'
const put = (url: string, payload: object) => ({ method: 'PUT', url: url + asynchronous, headers, payload }) as const
const hang = () => new Promise<never>(() => {})

describe('every wait has a bound', { concurrency: true }, () => {
  for (const testStore of testStores) {
    test(`operation on ${testStore}: a provider call that never settles fails after its deadline and a grace`, async (t) => {
      const late = gate()
      const refused = gate()
      const provider = new ScriptedProvider({
        provision: async (task: AnyTask) => {
          if (task.instanceId !== 'i-1') return
          await task.saveState({ name: 'outside-1' })
          await late.opened
          await assert.rejects(task.saveState({ name: 'late' }), StaleAttempt)
          refused.open()
        }
      })
      const catalog = catalogWith([ids.plans.async], { maximum_polling_duration: 1 })
      const { app, lines } = await replica(t, {
        providers: [provider],
        catalog,
        workers: 1,
        ...(await storeOf(testStore))
      })
      const { operation } = (await app.inject(put(instance, provisionBody(ids.plans.async)))).json()
      const end = (await pollUntilEnded(app, `${instance}/last_operation?operation=${operation}`)).json()
      assert.equal(end.state, 'failed')
      assert.match(end.description, /^The provider did not stop in time\. It was given up after 1 attempts in \d+ s\.$/)
      const leak = lines.find(({ level }) => level === 50)
      assert.match(leak?.msg ?? '', /the provider "example" ignored the abort of a provision: its call was given up/)
      assert.equal(leak?.operation, operation)

      // The only slot is free again, and the delete does not wait for the call.
      const other = '/v2/service_instances/i-2'
      await app.inject(put(other, provisionBody(ids.plans.either)))
      assert.equal((await pollUntilEnded(app, `${other}/last_operation`)).json().state, 'succeeded')
      assert.equal(
        (
          await app.inject({
            method: 'DELETE',
            url: instance + deleteQuery(ids.plans.async, '&accepts_incomplete=true'),
            headers
          })
        ).statusCode,
        202
      )
      assert.equal((await pollUntilEnded(app, `${instance}/last_operation`)).json().state, 'succeeded')
      late.open()
      await refused.opened
      assert.equal((await app.inject({ url: instance, headers })).statusCode, 404)
    })
  }

  test('PATCH instance: a request whose provider hangs is answered, and its operation ends', async (t) => {
    const provider = new ScriptedProvider({ update: hang })
    const { app } = await replica(t, { providers: [provider], syncDeadlineMs: 400 })
    await app.inject({ method: 'PUT', url: instance, headers, payload: provisionBody() })
    const payload = { service_id: ids.service, parameters: { a: 1 } }
    const reply = await app.inject({ method: 'PATCH', url: instance, headers, payload })
    assert.equal(reply.statusCode, 504, reply.body)
    await until('the operation has failed', async () => {
      const { state } = (await app.inject({ url: `${instance}/last_operation`, headers })).json()
      return state === 'failed'
    })
  })

  test('DELETE instance: an update that hangs is cancelled and does not block the delete for ever', async (t) => {
    const provider = new ScriptedProvider({ update: hang })
    const catalog = catalogWith([ids.plans.either], { maximum_polling_duration: 1 })
    const { app } = await replica(t, { providers: [provider], catalog })
    await app.inject({ method: 'PUT', url: instance, headers, payload: provisionBody(ids.plans.either) })
    const payload = { service_id: ids.service, parameters: { a: 1 } }
    await app.inject({ method: 'PATCH', url: instance + asynchronous, headers, payload })
    await until('the update runs', () => provider.calls.includes('update'))
    const query = deleteQuery(ids.plans.either, '&accepts_incomplete=true')
    assert.equal((await app.inject({ method: 'DELETE', url: instance + query, headers })).statusCode, 202)
    assert.equal((await pollUntilEnded(app, `${instance}/last_operation`)).json().state, 'succeeded')
    assert.deepEqual(provider.calls, ['provision', 'update', 'deprovision'])
  })

  test('DELETE instance: that waited longer than its time behind the create that it cancels, still deletes', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const ignoring = gate()
    const provider = new ScriptedProvider({ provision: () => ignoring.opened })
    const { app } = await replica(t, { providers: [provider], store: { connectionString: url }, encryptionKeys })
    const { operation: halts } = (await app.inject(put(instance, provisionBody(ids.plans.async)))).json()
    await until('the create runs', () => provider.calls.length === 1)
    const store = storeAt(t, { url, encryptionKeys })
    const plan = { platform: 'default', provider: 'example', serviceId: ids.service, planId: ids.plans.async }
    const operation = operationRecord('deprovision', { ...plan, halts, maximumMs: 2_000 })
    assert.equal(await store.start({ operation }, noEnqueue), 'started')
    const { deadline } = (await store.getOperation(operation.operationId)) ?? assert.fail('It is gone.')
    await until('its time is up', () => Date.now() > deadline.getTime())
    ignoring.open()
    const poll = `${instance}/last_operation?operation=${operation.operationId}`
    assert.deepEqual((await pollUntilEnded(app, poll)).json(), { state: 'succeeded' })
    assert.deepEqual(provider.calls, ['provision', 'deprovision'])
  })

  test('worker: its signal aborts before another worker can take over, when it cannot reach the database', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const { proxy, proxiedUrl } = await throughProxy(t, url)
    let abortedAt = Number.POSITIVE_INFINITY
    let takenOverAt = Number.NEGATIVE_INFINITY
    const cut = new ScriptedProvider({
      provision: async (task: AnyTask) => {
        await untilAborted(task).catch(() => undefined)
        abortedAt = performance.now()
      }
    })
    const heir = new ScriptedProvider({
      provision: async () => {
        takenOverAt = performance.now()
      }
    })
    const first = await replica(t, { providers: [cut], store: { connectionString: proxiedUrl }, encryptionKeys })
    const { operation } = (await first.app.inject(put(instance, provisionBody(ids.plans.async)))).json()
    await until('the worker works', () => cut.calls.length === 1)
    const second = await replica(t, { providers: [heir], store: { connectionString: url }, encryptionKeys })
    proxy.freeze({ all: true })
    await until('the operation is taken over', () => heir.calls.length === 1)
    assert.ok(abortedAt < takenOverAt, `aborted ${abortedAt - takenOverAt} ms after the takeover`)
    const poll = `${instance}/last_operation?operation=${operation}`
    assert.equal((await pollUntilEnded(second.app, poll)).json().state, 'succeeded')
    proxy.thaw()
  })

  test('PUT instance: the answer is in time also when the store hangs at its end', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const { proxy, proxiedUrl } = await throughProxy(t, url)
    const provider = new ScriptedProvider({
      provision: async () => {
        proxy.freeze({ all: true })
      }
    })
    const syncDeadlineMs = 4_000
    const { app } = await replica(t, {
      providers: [provider],
      store: { connectionString: proxiedUrl },
      encryptionKeys,
      syncDeadlineMs
    })
    const began = performance.now()
    const reply = await app.inject({ method: 'PUT', url: instance, headers, payload: provisionBody() })
    // The store alone would take longer: 5 s for each call.
    assert.ok(performance.now() - began < 5_000, `answered after ${performance.now() - began} ms`)
    assert.equal(reply.statusCode, 503, reply.body)
    assert.match(String(reply.headers['retry-after']), /^\d+$/)
    proxy.thaw()
  })

  test('start: a migration that takes longer than an app waits lets the app start, answers 503, then serves', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const { default: pg } = await import('pg')
    const holder = new pg.Client({ connectionString: url })
    await holder.connect()
    t.after(() => holder.end())
    // As another replica does that migrates.
    await holder.query("SELECT pg_advisory_lock(hashtext('osb-migrate'), hashtext('osb'))")
    const { app } = await replica(t, { store: { connectionString: url }, encryptionKeys }, { begun: false })
    const during = await app.inject({ url: instance, headers })
    assert.deepEqual([during.statusCode, during.json()], [503, { description: 'The broker is starting.' }])
    assert.equal((await app.inject({ url: '/v2/catalog', headers })).statusCode, 200)
    assert.equal((await app.inject({ url: '/readyz' })).statusCode, 503)
    await holder.query("SELECT pg_advisory_unlock(hashtext('osb-migrate'), hashtext('osb'))")
    await until('it is ready', async () => (await app.inject({ url: '/readyz' })).statusCode === 200)
    assert.equal(
      (await app.inject({ method: 'PUT', url: instance, headers, payload: provisionBody() })).statusCode,
      201
    )
    assert.equal(
      (await app.inject({ method: 'PUT', url: `${instance}/service_bindings/b-1`, headers, payload: bindBody() }))
        .statusCode,
      201
    )
  })

  test('start: a failure that comes after the app is ready is reported', async (t) => {
    const { url, encryptionKeys } = await oneDatabase()
    const { default: pg } = await import('pg')
    const holder = new pg.Client({ connectionString: url })
    await holder.connect()
    t.after(() => holder.end())
    await holder.query("SELECT pg_advisory_lock(hashtext('osb-migrate'), hashtext('osb'))")
    const failure = Promise.withResolvers<unknown>()
    const options = { store: { connectionString: url }, encryptionKeys, onStartFailure: failure.resolve }
    const { app, lines } = await replica(t, options, { begun: false })
    await holder.query(
      `CREATE SCHEMA osb; CREATE TABLE osb.schema_migrations (version int, name text, checksum text, applied_at timestamptz);
      INSERT INTO osb.schema_migrations VALUES (9999, '9999_later.sql', 'x')`
    )
    await holder.query("SELECT pg_advisory_unlock(hashtext('osb-migrate'), hashtext('osb'))")
    const error = await failure.promise
    assert.match(error instanceof Error ? error.message : '', /A newer program has been here/)
    assert.equal(lines.find(({ level }) => level === 60)?.msg, 'the broker cannot start; requests are answered 503')
    assert.equal((await app.inject({ url: instance, headers })).statusCode, 503)
  })
})
