import assert from 'node:assert/strict'
import { test } from 'node:test'
import { median, slope, spread } from '../../bench/harness/statistics.ts'

test('median: of an odd number of values the one in the middle, of an even one between two', () => {
  assert.equal(median([9, 1, 10]), 9)
  assert.equal(median([4, 1, 10, 2]), 3)
  assert.throws(() => median([]), { name: 'RangeError', message: 'no values have no median' })
})

test('spread: has the median, the least and the greatest', () => {
  assert.deepEqual(spread([3, 1, 2]), { median: 2, low: 1, high: 3 })
})

test('slope: is that of the line through the points', () => {
  const at = (time: number, value: number) => ({ at: time, value })
  assert.equal(slope([at(10, 5), at(20, 25), at(30, 45)]), 2)
  // One that stands out counts for little: the ends of these points alone would say 0.5
  assert.ok(Math.abs(slope([at(0, 7), at(1, 7), at(2, 7), at(3, 7), at(4, 7), at(5, 9.5)]) - 0.357) < 0.001)
  assert.equal(slope([at(0, 7), at(5, 7)]), 0)
})

test('slope: points of one time have none', () => {
  for (const points of [[], [{ at: 1, value: 2 }], [1, 2].map((value) => ({ at: 1, value }))]) {
    assert.throws(() => slope(points), { name: 'RangeError', message: 'a slope takes points of two times at least' })
  }
})
