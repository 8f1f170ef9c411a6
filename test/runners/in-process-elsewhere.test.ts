import assert from 'node:assert/strict'
import test from 'node:test'
import { InProcessRunner } from '../../src/runners/in-process.ts'
import { operationRecord } from '../stores/records.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }

test('InProcessRunner: a job that lacks its plan comes again every second until the plan is there', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const runner = new InProcessRunner(silent)
  t.after(() => runner.stop())
  let executions = 0
  await runner.start(async () => {
    executions += 1
    return executions <= 4 ? 'elsewhere' : 'done'
  }, [])
  await runner.enqueue(operationRecord('provision'), undefined)
  const after = async (ms: number) => {
    t.mock.timers.tick(ms)
    // The runner schedules the job again when the execution has settled.
    await new Promise(setImmediate)
    return executions
  }
  assert.equal(await after(0), 1)
  for (const execution of [2, 3, 4, 5]) {
    assert.equal(await after(999), execution - 1)
    assert.equal(await after(1), execution)
  }
  assert.equal(await after(60_000), 5)
})
