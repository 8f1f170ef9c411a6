import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Figure } from '../../bench/harness/figure.ts'
import { table } from '../../bench/harness/report.ts'
import { compare } from '../../bench/harness/rounds.ts'
import { bearable, type Measured, missedByFar, reached } from '../../bench/harness/verdict.ts'

const much = { goal: { atLeast: 1.2 }, expected: 0.4 }
const little = { goal: { atMost: 4 }, expected: 16 }

test('verdict: a goal that is reached exactly is reached', () => {
  assert.equal(reached(measured(much, 1.2)), true)
  assert.equal(reached(measured(much, 1.19)), false)
  assert.equal(reached(measured(little, 4)), true)
  assert.equal(reached(measured(little, 4.01)), false)
})

test('verdict: missed by far is less than half of what was last measured, or more than twice', () => {
  assert.equal(missedByFar(measured(much, 0.21)), false)
  assert.equal(missedByFar(measured(much, 0.19)), true)
  assert.equal(missedByFar(measured(little, 31)), false)
  assert.equal(missedByFar(measured(little, 33)), true)
})

test('verdict: of a figure better than its goal the goal counts', () => {
  assert.deepEqual(bearable({ goal: { atLeast: 0.6 }, expected: 2 }), { atLeast: 0.3 })
  assert.deepEqual(bearable({ goal: { atMost: 1.2 }, expected: 0.9 }), { atMost: 2.4 })
})

test('compare: the first round does not count, sides take turns, ratios are those within a round', async () => {
  const order: string[] = []
  const side = (name: string, values: number[]) => async () => {
    order.push(name)
    return { value: values.shift() ?? Number.NaN, busy: { server: values.length / 10, load: 0.5 } }
  }
  const ours = side('ours', [1_000, 30, 10, 80])
  const baseline = side('baseline', [1, 10, 20, 40])
  const result = await compare({ ours, baseline, unit: 'ms' }, 3)
  assert.deepEqual(order, ['baseline', 'ours', 'ours', 'baseline', 'baseline', 'ours', 'ours', 'baseline'])
  assert.deepEqual(result.ratio, { median: 2, low: 0.5, high: 3 })
  assert.deepEqual(result.ours, { value: 30, busy: { server: 0.1, load: 0.5 } })
  assert.equal(result.baseline.value, 20)
})

test('table: has the ratio, its spread, both medians, and who was busy', () => {
  const row = table([
    {
      ...measured(much, 0.5),
      result: {
        unit: 'requests/s',
        ours: { value: 1234.5, busy: { server: 0.981, load: 0.4 } },
        baseline: { value: 2469, busy: { server: 0.52, load: 0.99 } },
        ratio: { median: 0.5, low: 0.4321, high: 0.6 },
        rounds: []
      }
    }
  ]).split('\n')[2]
  assert.equal(
    row,
    '| title | baseline | ≥ 1.2 × | 0.5 × | 0.432 to 0.6 | 1235 against 2469 requests/s | server 98 against 52, load 40 against 99 | missed |'
  )
})

function measured(figure: Pick<Figure, 'goal' | 'expected'>, ratio: number): Measured {
  const value = { value: 1 }
  return {
    figure: { name: 'name', title: 'title', baseline: 'baseline', ...figure },
    result: { unit: '', ours: value, baseline: value, ratio: { median: ratio, low: ratio, high: ratio }, rounds: [] }
  }
}
