import assert from 'node:assert/strict'
import test from 'node:test'
import type { Execution } from '../../src/core/runner.ts'
import { backoffMs } from '../../src/runners/backoff.ts'
import { InProcessRunner } from '../../src/runners/in-process.ts'
import { gate, until } from '../helper/scripted-provider.ts'
import { operationRecord } from '../stores/records.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }

test('backoffMs: doubles from a second, is jittered by half, and ends at 30 s', () => {
  const most = [1, 2, 3, 4, 5, 6, 7, 100].map((failures) => backoffMs(failures, () => 1))
  assert.deepEqual(most, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000])
  assert.equal(
    backoffMs(3, () => 0),
    2_000
  )
})

test('InProcessRunner: what is enqueued before the start is executed after it, once', async (t) => {
  const runner = new InProcessRunner(silent)
  t.after(() => runner.stop())
  const operation = operationRecord('provision')
  await runner.enqueue(operation)
  const executed: string[] = []
  const execute = async (operationId: string): Promise<Execution> => {
    executed.push(operationId)
    return 'done'
  }
  await runner.start(execute, [])
  await until('the execution', () => executed.length > 0)
  assert.deepEqual(executed, [operation.operationId])
})

test('InProcessRunner: a held operation is looked at again soon, a failed or thrown attempt after the backoff', async (t) => {
  const runner = new InProcessRunner(silent)
  t.after(() => runner.stop())
  const answers: (Execution | Error)[] = ['held', 'held', 'retry', 'done']
  const at: number[] = []
  await runner.start(async () => {
    at.push(Date.now())
    const answer = answers.shift() ?? 'done'
    if (answer instanceof Error) throw answer
    return answer
  }, [])
  await runner.enqueue(operationRecord('provision'))
  await until('the end', () => at.length === 4)
  const [first = 0, , third = 0, last = 0] = at
  assert.ok(third - first < last - third, `held ${third - first} ms, retry ${last - third} ms`)
  answers.push(new Error('the store is away'), 'done')
  await runner.enqueue(operationRecord('provision'))
  await until('the end after a throw', () => at.length === 6)
})

test('InProcessRunner: stop aborts what runs and waits until it has let go', async () => {
  const runner = new InProcessRunner(silent)
  const letGo = gate()
  const order: string[] = []
  await runner.start(async (_operationId, signal) => {
    order.push('begun')
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    order.push('aborted')
    await letGo.opened
    return 'handed-back'
  }, [])
  await runner.enqueue(operationRecord('provision'))
  await until('the begin', () => order.length === 1)
  const stopped = runner.stop().then(() => order.push('stopped'))
  await until('the abort', () => order.length === 2)
  letGo.open()
  await stopped
  assert.deepEqual(order, ['begun', 'aborted', 'stopped'])
})
