import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import type { Call } from './calls.ts'
import { readOptions } from './options.ts'
import { overlapsOf } from './overlaps.ts'
import { Random } from './random.ts'
import { Replica } from './replicas.ts'
import { type Act, stepOf } from './script.ts'
import { Timeline } from './timeline.ts'

function replica(pid: number): Replica {
  const one = new Replica(`replica-${pid}`, 1, { environment: {}, folder: '/nowhere' })
  one.pids.add(pid)
  return one
}

function call(pid: number, [began, ended]: [number, number | undefined], act: Act = 'work'): Call {
  const ids = { id: `${pid}-${began}`, operation: 'o-1', instance: 'i-1', attempt: 1, verb: 'provision' } as const
  return { ...ids, act, pid, began, ...(ended === undefined ? {} : { ended }) }
}

test('overlaps: calls of one instance on two processes at once are a violation', () => {
  const replicas = [replica(1), replica(2)]
  const { violations, longestMs } = overlapsOf([call(1, [0, 20_000]), call(2, [10_000, 30_000])], replicas)
  assert.equal(longestMs, 10_000)
  assert.match(String(violations), /provision o-1 .* and provision o-1 .* of i-1 ran at once for 10000 ms/)
  assert.deepEqual(overlapsOf([call(1, [0, 10_000]), call(2, [10_000, 30_000])], replicas).violations, [])
})

test('overlaps: the time for which a process was stopped does not count, nor what follows its end', () => {
  const [one, other] = [replica(1), replica(2)]
  one.freezes.push({ pid: 1, from: 9_000, to: 29_000 })
  assert.equal(overlapsOf([call(1, [0, 30_000]), call(2, [10_000, 40_000])], [one, other]).longestMs, 1_000)
  one.exits.push({ pid: 1, at: 12_000, killed: true })
  assert.equal(overlapsOf([call(1, [0, undefined]), call(2, [5_000, 40_000])], [one, other]).longestMs, 4_000)
})

test('overlaps: an aborted call may wait for its statement, and no longer', () => {
  const replicas = [replica(1), replica(2)]
  const aborted = { ...call(1, [0, 12_000]), aborted: 8_000 }
  assert.deepEqual(overlapsOf([aborted, call(2, [9_000, 20_000])], replicas), { violations: [], longestMs: 0 })
  const deaf = { ...call(1, [0, 20_000]), aborted: 8_000 }
  assert.match(String(overlapsOf([deaf], replicas).violations), /went on for 12000 ms after its abort/)
})

test('overlaps: calls that ignore their signals are left out', () => {
  const replicas = [replica(1), replica(2)]
  assert.equal(overlapsOf([call(1, [0, 20_000], 'deaf'), call(2, [0, 20_000])], replicas).longestMs, 0)
})

test('timeline: a fault excuses its replica, or all, while it lasts and shortly afterwards', () => {
  const [struck, other] = [replica(1), replica(2)]
  const timeline = new Timeline()
  const began = Date.now()
  timeline.begin(struck).to = began + 1_000
  assert.equal(timeline.isDisturbed(struck, began + 2_000, began + 3_000), true)
  assert.equal(timeline.isDisturbed(struck, began + 60_000, began + 61_000), false)
  assert.equal(timeline.isDisturbed(other, began, began + 1_000), false)
  timeline.begin()
  assert.equal(timeline.isDisturbed(other, began, began + 60_000), true)
})

test('options: a wrong value is named with what is allowed', () => {
  assert.deepEqual([...readOptions(['--only', 'network, skew']).only], ['network', 'skew'])
  assert.throws(() => readOptions(['--only', 'weather']), /--only has "weather": it takes process, network/)
  assert.throws(() => readOptions(['--faults', 'many']), /--faults is many: it must be a number above 0/)
})

test('random: parts of a run get the same decisions for the same seed, whatever the others draw', () => {
  const draw = (random: Random) => Array.from({ length: 5 }, () => random.next())
  const [one, other] = [new Random(7), new Random(7)]
  draw(other)
  assert.deepEqual(draw(one.fork('tenant 1')), draw(other.fork('tenant 1')))
  assert.notDeepEqual(draw(one.fork('tenant 1')), draw(one.fork('tenant 2')))
  assert.notDeepEqual(draw(one.fork('tenant 1')), draw(new Random(8).fork('tenant 1')))
})

test('script: each attempt has its step, the last one repeats, and a verb without steps works', () => {
  const parameters = { bind: [{ act: 'fail' }, { act: 'work', ms: 5 }] }
  const acts = [1, 2, 3].map((attempt) => stepOf(parameters, 'bind', attempt).act)
  assert.deepEqual(acts, ['fail', 'work', 'work'])
  assert.deepEqual(stepOf(parameters, 'unbind', 1), { act: 'work' })
  assert.throws(() => stepOf({ bind: [{ act: 'dance' }] }, 'bind', 1), /bind has the step .*dance/)
})

test('skewed clock: Date is shifted, and explicit dates, timers and the monotonic clock are not', async () => {
  const program = `
    const before = performance.timeOrigin + performance.now()
    setTimeout(() => console.log(JSON.stringify({
      now: Date.now() - before, fresh: new Date().getTime() - before, called: Date.parse(Date()) - before,
      explicit: new Date(0).getTime(), isDate: new Date() instanceof Date, waited: performance.timeOrigin + performance.now() - before
    })), 20)`
  const preload = new URL('./skewed-clock.ts', import.meta.url).href
  const env = { ...process.env, CHAOS_CLOCK_SHIFT_MS: '-7200000' }
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', preload, '-e', program], { env })
  const { now, fresh, called, explicit, isDate, waited } = JSON.parse(stdout)
  for (const shifted of [now, fresh, called]) assert.ok(Math.abs(shifted + 7_200_000) < 60_000, stdout)
  assert.deepEqual([explicit, isDate], [0, true])
  assert.ok(waited >= 15 && waited < 60_000, stdout)
})
