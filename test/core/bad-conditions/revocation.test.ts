import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import { Pool } from 'pg'
import { operations } from '../../../plugins/operations.ts'
import { storage } from '../../../plugins/storage.ts'
import { Operations } from '../../../src/core/operations.ts'
import { ReloadableCatalog } from '../../../src/core/reloadable-catalog.ts'
import { revokeExpired } from '../../../src/core/upkeep.ts'
import { bindBody, provisionBody, testCall, testCatalog } from '../../helper/app.ts'
import { type AnyTask, gate, type Script, ScriptedProvider, until } from '../../helper/scripted-provider.ts'
import { oneDatabase } from './setup.ts'

const call = testCall({ platform: 'default' })

interface Warning {
  readonly fields: object
  readonly message: string | undefined
}

/** Instances with an expired binding `b-1` each, the first one expired first, and an engine that sweeps when a test wants it. */
async function scene(t: TestContext, { instances, unbind }: { instances: string[]; unbind?: Script['unbind'] }) {
  const { url, encryptionKeys } = await oneDatabase()
  const provider = new ScriptedProvider({
    provision: async (task: AnyTask) => task.saveState({ name: task.instanceId }),
    bind: async () => ({
      credentials: { token: 'secret' },
      metadata: { expires_at: new Date(Date.now() + 3_600_000).toISOString() }
    }),
    ...(unbind === undefined ? {} : { unbind })
  })
  const app = Fastify({ logger: false })
  t.after(() => app.close())
  await app.register(storage, { store: { connectionString: url }, encryptionKeys })
  const { store, runner } = app.osbStorage
  const catalog = new ReloadableCatalog(testCatalog())
  await catalog.load({ providers: [provider], store })
  const options = { catalog: () => catalog.current, syncDeadlineMs: 8_000 }
  await app.register(operations, { ...options, providers: [provider], deletedLastOperation: 'succeeded' })
  await app.ready()
  await until('the broker is ready', () => app.osbLifecycle.ready, 60_000)

  const direct = new Pool({ connectionString: url, max: 1 })
  t.after(() => direct.end())
  for (const [index, instanceId] of instances.entries()) {
    await app.osbLifecycle.instances.provision(call, instanceId, provisionBody())
    await app.osbLifecycle.bindings.bind(call, { instance_id: instanceId, binding_id: 'b-1' }, bindBody())
    const hours = instances.length - index
    await direct.query(
      `UPDATE osb.service_bindings SET expires_at = clock_timestamp() - $2 * interval '1 hour' WHERE instance_id = $1`,
      [instanceId, hours]
    )
  }

  const warnings: Warning[] = []
  const warn = (fields: object, message?: string) => void warnings.push({ fields, message })
  const log = { debug() {}, info() {}, warn, error() {} }
  const providers = new Map([[provider.name, provider]])
  const engine = new Operations({ ...options, store, runner, providers, log })
  const revoked = async () => {
    const { rows } = await direct.query<{ instance_id: string }>(
      'SELECT instance_id FROM osb.service_bindings WHERE revoked_at IS NOT NULL ORDER BY instance_id'
    )
    return rows.map((row) => row.instance_id)
  }
  return { engine, sweeps: engine.sweeps, direct, revoked, warnings, provider }
}

describe('revocation of expired bindings', { concurrency: true }, () => {
  test('upkeep: an unreadable state and a provider that throws keep no other binding from being revoked', async (t) => {
    const instances = ['i-unreadable', 'i-failing', 'i-good']
    const { sweeps, direct, revoked, provider } = await scene(t, {
      instances,
      unbind: async ({ instanceId }) => {
        if (instanceId === 'i-failing') throw new Error('no such role')
      }
    })
    const { rows } = await direct.query("SELECT state FROM osb.service_instances WHERE instance_id = 'i-unreadable'")
    const state = String(rows[0].state)
    const setState = (value: string) =>
      direct.query(`UPDATE osb.service_instances SET state = $2 WHERE instance_id = $1`, ['i-unreadable', value])
    await setState('not what the broker has sealed')
    await sweeps.upkeep()
    await until('the good one is revoked', async () => (await revoked()).includes('i-good'))
    await until('the provider was called for the failing one', () =>
      provider.tasks.some((task) => 'bindingId' in task && task.instanceId === 'i-failing' && task.attempt > 1)
    )
    assert.deepEqual(await revoked(), ['i-good'])

    // The revocation is repeated, and succeeds as soon as the state is there.
    await setState(state)
    await until('the repaired one is revoked', async () => (await revoked()).includes('i-unreadable'))
  })

  test('upkeep: a revocation that the database rejects stops no other one, and the next round repeats it', async (t) => {
    const { sweeps, direct, revoked, warnings } = await scene(t, { instances: ['i-rejected', 'i-good'] })
    await direct.query(
      `CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
      CREATE TRIGGER reject BEFORE INSERT ON osb.operations FOR EACH ROW
      WHEN (NEW.instance_id = 'i-rejected' AND NEW.kind = 'unbind') EXECUTE FUNCTION reject()`
    )
    await sweeps.upkeep()
    await until('the good one is revoked', async () => (await revoked()).includes('i-good'))
    assert.deepEqual(await revoked(), ['i-good'])
    assert.deepEqual(
      warnings.map(({ message }) => message),
      ['an expired binding could not be revoked; the next round tries again']
    )
    const [{ fields } = { fields: {} }] = warnings
    assert.ok('instance' in fields && 'binding' in fields && 'err' in fields)
    assert.deepEqual([fields.instance, fields.binding], ['i-rejected', 'b-1'])
    assert.match(String(fields.err), /not this one/)

    await direct.query('DROP TRIGGER reject ON osb.operations')
    await sweeps.upkeep()
    await until('the other one is revoked', async () => (await revoked()).includes('i-rejected'))
  })

  test('upkeep: two rounds at once begin each revocation once, and count only those that they began', async (t) => {
    const unbinding = gate()
    const { engine, revoked, provider } = await scene(t, { instances: ['i-1', 'i-2'], unbind: () => unbinding.opened })
    const [one = 0, two = 0] = await Promise.all([revokeExpired(engine), revokeExpired(engine)])
    assert.equal(one + two, 2)
    unbinding.open()
    await until('both are revoked', async () => (await revoked()).length === 2)
    assert.equal(provider.calls.filter((name) => name === 'unbind b-1').length, 2)
  })
})
