import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { childrenOf, processorSeconds } from '../../bench/harness/busy.ts'

const linux = process.platform === 'linux'

test('processor time: counts what a process and its children have used, those that are gone too', async () => {
  const before = processorSeconds(process.pid)
  const child = spawn(process.execPath, ['-e', 'while (process.cpuUsage().user < 300_000);'])
  const meanwhile = childrenOf(process.pid)
  await once(child, 'close')
  const after = processorSeconds(process.pid)
  if (!linux) return assert.deepEqual([before, meanwhile, after], [undefined, [], undefined])
  assert.deepEqual(meanwhile, [child.pid])
  // In ticks of 10 ms, of the child and of this process
  assert.ok(after !== undefined && before !== undefined && after - before >= 0.28, `${before} to ${after}`)
})

test('processor time: of no process there is none', () => {
  assert.equal(processorSeconds(2 ** 30), undefined)
})
