import assert from 'node:assert/strict'
import test from 'node:test'
import { backoffMs } from '../../src/core/backoff.ts'
import type { Execution } from '../../src/core/runner.ts'
import type { OperationJob } from '../../src/core/store.ts'
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

test('InProcessRunner: a job that was sent before the start is executed after it, once', async (t) => {
  const runner = new InProcessRunner(silent)
  t.after(() => runner.stop())
  const operation = operationRecord('provision')
  await runner.enqueue(operation, undefined)
  const executed: string[] = []
  const execute = async ({ operationId }: OperationJob): Promise<Execution> => {
    executed.push(operationId)
    return 'done'
  }
  await runner.start(execute, [])
  await until('the execution', () => executed.length > 0)
  assert.deepEqual(executed, [operation.operationId])
})

test('InProcessRunner: a job for later comes again soon, one that threw after the backoff', async (t) => {
  const runner = new InProcessRunner(silent)
  t.after(() => runner.stop())
  const answers: (Execution | Error)[] = ['later', 'later', new Error('the store is away'), 'done']
  const at: number[] = []
  await runner.start(async () => {
    at.push(Date.now())
    const answer = answers.shift() ?? 'done'
    if (answer instanceof Error) throw answer
    return answer
  }, [])
  await runner.enqueue(operationRecord('provision'), undefined)
  await until('the end', () => at.length === 4)
  const [first = 0, , third = 0, last = 0] = at
  assert.ok(third - first < last - third, `later ${third - first} ms, backoff ${last - third} ms`)
})

test('InProcessRunner: ensure sends a job unless one waits, and starts a delayed one at once when asked to', async (t) => {
  const runner = new InProcessRunner(silent)
  t.after(() => runner.stop())
  const executed: string[] = []
  await runner.start(async ({ operationId }) => {
    executed.push(operationId)
    return 'done'
  }, [])
  const [missing, delayed] = [operationRecord('provision'), operationRecord('provision')]
  await runner.enqueue(delayed, undefined, 60_000)
  await runner.ensure(delayed)
  await runner.ensure(missing)
  await until('the missing job', () => executed.length === 1)
  assert.deepEqual(executed, [missing.operationId])
  await runner.ensure(delayed, { now: true })
  await until('the delayed job', () => executed.length === 2)
  assert.deepEqual(executed, [missing.operationId, delayed.operationId])
})

test('InProcessRunner: stop aborts what runs and waits until it has stopped', async () => {
  const runner = new InProcessRunner(silent)
  const letGo = gate()
  const order: string[] = []
  await runner.start(async (_job, signal) => {
    order.push('begun')
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    order.push('aborted')
    await letGo.opened
    return 'again'
  }, [])
  await runner.enqueue(operationRecord('provision'), undefined)
  await until('the begin', () => order.length === 1)
  const stopped = runner.stop().then(() => order.push('stopped'))
  await until('the abort', () => order.length === 2)
  letGo.open()
  await stopped
  assert.deepEqual(order, ['begun', 'aborted', 'stopped'])
})
