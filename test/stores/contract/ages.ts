import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OperationRecord, Store } from '../../../src/core/store.ts'
import { type Open, operationRecord, provisionStart, until } from '../records.ts'
import { claimed, opened, readyInstance, started } from './opened.ts'

const HOUR_MS = 3_600_000

/** Waits until an operation is so old by the clock of the store. */
async function aged(store: Store, operationId: string, ms: number): Promise<void> {
  await until(`it is ${ms} ms old`, async () => ((await store.getOperation(operationId))?.ageMs ?? 0) >= ms)
}

/** Times by the clock of the store. */
export function ages(open: Open): void {
  test('ageMs: every read of an operation gives its age, also after its end', async (t) => {
    const store = await opened(t, open)
    await readyInstance(store)
    // Overdue, so that it is abandoned without a wait.
    const update = await started(store, { operation: operationRecord('update', { maximumMs: -1 }) })
    const { operationId, platform, instanceId } = update
    await aged(store, operationId, 50)
    const isOld = (how: string, records: readonly (OperationRecord | undefined)[]) => {
      const record = records.find((one) => one?.operationId === operationId)
      assert.ok(record !== undefined && record.ageMs >= 50 && record.ageMs < HOUR_MS, `${how}: ${record?.ageMs} ms`)
    }
    isOld('unfinishedOperation', [await store.unfinishedOperation(instanceId)])
    isOld('unfinishedOperations', await store.unfinishedOperations(instanceId))
    isOld('latestOperation', [await store.latestOperation({ platform, instanceId })])
    isOld('recentOperations', await store.recentOperations(platform, instanceId, 5))
    isOld('idle', await store.idle(0))
    isOld(
      'abandoned',
      (await store.abandoned()).map(({ operation }) => operation)
    )
    const claim = await store.claim(operationId)
    assert.ok(claim.kind === 'claimed')
    isOld('claim', [claim.operation])
    assert.equal(await store.finish({ operationId, attempt: 1, platform: 'cf' }, { state: 'succeeded' }), true)
    isOld('getOperation', [await store.getOperation(operationId)])
  })

  test('claim: tells the time that is left and the age by the clock of the store', async (t) => {
    const store = await opened(t, open)
    const { operationId } = await started(store, provisionStart({ maximumMs: 60_000 }))
    const result = await store.claim(operationId)
    assert.equal(result.kind, 'claimed')
    if (result.kind !== 'claimed') return
    assert.ok(result.remainingMs > 30_000 && result.remainingMs <= 60_000, String(result.remainingMs))
    const { ageMs } = result.operation
    assert.ok(ageMs >= 0 && ageMs < 30_000, String(ageMs))
    const overdue = await started(store, provisionStart({ instanceId: 'i-2', maximumMs: -5_000 }))
    const late = await store.claim(overdue.operationId)
    assert.ok(late.kind === 'claimed' && late.remainingMs <= -5_000)
  })

  test('claim: the time of a delete that halts another operation starts with its first claim, and only then', async (t) => {
    const store = await opened(t, open)
    const create = await started(store, provisionStart())
    const worker = await claimed(store, create)
    const halting = operationRecord('deprovision', { halts: create.operationId, maximumMs: 60_000 })
    const { operationId } = await started(store, { operation: halting })
    const deadline = async () => (await store.getOperation(operationId))?.deadline.getTime() ?? Number.NaN
    const atStart = await deadline()
    await aged(store, operationId, 50)
    assert.deepEqual(await store.claim(operationId), { kind: 'waiting' })
    assert.equal(await deadline(), atStart)

    await store.release(worker)
    const first = await store.claim(operationId, 'the caller')
    assert.ok(first.kind === 'claimed' && first.remainingMs <= 60_000, JSON.stringify(first))
    const atClaim = first.operation.deadline.getTime()
    assert.ok(atClaim >= atStart + 50, `${atClaim - atStart} ms later`)
    assert.equal(await deadline(), atClaim)
    // The caller may have lost the answer.
    await store.claim(operationId, 'the caller')
    assert.equal(await deadline(), atClaim)
    await store.release({ operationId, attempt: 1, platform: 'cf' })
    assert.equal((await claimed(store, { operationId })).attempt, 2)
    assert.equal(await deadline(), atClaim)
  })

  test('claim: the time of any other operation starts with the operation', async (t) => {
    const store = await opened(t, open)
    const { operationId } = await started(store, provisionStart({ maximumMs: 60_000 }))
    await aged(store, operationId, 50)
    const before = (await store.getOperation(operationId))?.deadline
    const claim = await store.claim(operationId)
    assert.ok(claim.kind === 'claimed' && claim.remainingMs <= 60_000 - 50, JSON.stringify(claim))
    assert.deepEqual(claim.operation.deadline, before)
  })
}
