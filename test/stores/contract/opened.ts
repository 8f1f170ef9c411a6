import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { Claim, OperationStart, Start, Store } from '../../../src/core/store.ts'
import { bindStart, noEnqueue, type Open, provisionStart } from '../records.ts'

/** A store that the test closes when it ends. */
export async function opened(t: TestContext, open: Open, options?: { leaseMs?: number }): Promise<Store> {
  const store = await open(options)
  t.after(() => store.close())
  return store
}

export async function started(store: Store, start: Start): Promise<OperationStart> {
  assert.equal(await store.start(start, noEnqueue), 'started')
  return start.operation
}

export async function claimed(store: Store, { operationId }: { operationId: string }): Promise<Claim> {
  const result = await store.claim(operationId)
  if (result.kind !== 'claimed') assert.fail(`the operation ${operationId} is ${result.kind}`)
  const { attempt, platform } = result.operation
  return { operationId, attempt, platform }
}

/** An instance that is `ready`, with `i-1` as its id unless told. */
export async function readyInstance(store: Store, instanceId = 'i-1', fields = {}): Promise<void> {
  const claim = await claimed(store, await started(store, provisionStart({ instanceId }, fields)))
  assert.equal(await store.finish(claim, { state: 'succeeded', instance: { status: 'ready' } }), true)
}

/** A binding of `i-1` that is `ready`. */
export async function readyBinding(store: Store, bindingId = 'b-1'): Promise<void> {
  const claim = await claimed(store, await started(store, bindStart(bindingId)))
  assert.equal(await store.finish(claim, { state: 'succeeded', binding: { status: 'ready' } }), true)
}

/** Ends the newest attempt of an operation, claiming it first. */
export async function failed(store: Store, operation: OperationStart, fields = {}): Promise<void> {
  assert.equal(await store.finish(await claimed(store, operation), { state: 'failed', ...fields }), true)
}
