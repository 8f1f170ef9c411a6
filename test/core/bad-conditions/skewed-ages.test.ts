import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Pool } from 'pg'
import { headers, ids, provisionBody } from '../../helper/app.ts'
import { gate, ScriptedProvider } from '../../helper/scripted-provider.ts'
import { readyInstance, started } from '../../stores/contract/opened.ts'
import { operationRecord } from '../../stores/records.ts'
import { oneDatabase, replica, storeAt } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const HOUR_MS = 3_600_000

describe('clock of a replica that is two hours wrong', () => {
  for (const shiftMs of [2 * HOUR_MS, -2 * HOUR_MS]) {
    const direction = shiftMs > 0 ? 'ahead' : 'behind'

    test(`skewed clock ${direction}: the age of an operation comes from the clock of the database`, async (t) => {
      const { url, encryptionKeys } = await oneDatabase()
      // Migrates.
      const { app } = await replica(t, { store: { connectionString: url }, encryptionKeys })
      await app.close()
      const store = storeAt(t, { url, encryptionKeys })
      await readyInstance(store)
      const before = await started(store, { operation: operationRecord('update', { maximumMs: -1 }) })
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() + shiftMs })
      await readyInstance(store, 'i-2')
      const after = await started(store, { operation: operationRecord('update', { instanceId: 'i-2', maximumMs: -1 }) })
      for (const { operationId, platform, instanceId } of [before, after]) {
        const abandoned = await store.abandoned()
        const idle = await store.idle(0)
        const claim = await store.claim(operationId)
        assert.ok(claim.kind === 'claimed')
        const ages = [
          ...abandoned.filter(({ operation }) => operation.instanceId === instanceId).map(({ operation }) => operation),
          ...idle.filter((operation) => operation.instanceId === instanceId),
          claim.operation,
          await store.getOperation(operationId),
          await store.unfinishedOperation(instanceId),
          ...(await store.unfinishedOperations(instanceId)),
          await store.latestOperation({ platform, instanceId }),
          ...(await store.recentOperations(platform, instanceId, 1))
        ].map((operation) => operation?.ageMs ?? Number.NaN)
        assert.equal(ages.length, 8)
        for (const age of ages) assert.ok(age >= 0 && age < HOUR_MS, `${age} ms`)
        assert.ok(Math.abs(claim.remainingMs) < HOUR_MS, `${claim.remainingMs} ms left`)
      }
    })

    test(`GET last_operation: Retry-After of a replica ${direction} fits the age of the operation`, async (t) => {
      const { url, encryptionKeys } = await oneDatabase()
      const blocked = gate()
      const provider = new ScriptedProvider({ provision: () => blocked.opened })
      const { app } = await replica(t, { providers: [provider], store: { connectionString: url }, encryptionKeys })
      const request = { url: `${instance}?accepts_incomplete=true`, headers, payload: provisionBody(ids.plans.async) }
      assert.equal((await app.inject({ method: 'PUT', ...request })).statusCode, 202)
      const pool = new Pool({ connectionString: url, max: 1 })
      t.after(() => pool.end())
      const retryAfter = async (age: string) => {
        await pool.query('UPDATE osb.operations SET created_at = clock_timestamp() - $1::interval', [age])
        return Number((await app.inject({ url: `${instance}/last_operation`, headers })).headers['retry-after'])
      }
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() + shiftMs })
      const [young, old] = [await retryAfter('0 s'), await retryAfter('1 hour')]
      t.mock.timers.reset()
      blocked.open()
      // A tenth of the age, of at least 1 s and at most 30 s.
      assert.ok(young >= 1 && young < 30, `${young} s`)
      assert.equal(old, 30)
    })
  }
})
