import assert from 'node:assert/strict'
import { test } from 'node:test'
import { positive } from '../../bench/harness/options.ts'

test('options: a number above 0 is taken, anything else is told with its name', () => {
  assert.equal(positive('seconds', '0.5'), 0.5)
  for (const given of ['0', '-1', 'x', '', 'Infinity']) {
    const message = `--seconds must be a number above 0, not "${given}"`
    assert.throws(() => positive('seconds', given), { name: 'TypeError', message })
  }
})
