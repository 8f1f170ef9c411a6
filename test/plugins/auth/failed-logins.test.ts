import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FailedLogins } from '../../../plugins/auth/failed-logins.ts'

const MINUTE = 60_000

/** A counter with a clock of the test. */
function counted() {
  const clock = { now: 1_000_000 }
  return { clock, failures: new FailedLogins(() => clock.now) }
}

test('failed logins: they are counted by network, in a window that begins with the first', () => {
  const { clock, failures } = counted()
  assert.equal(failures.add('192.0.2.1'), 1)
  clock.now += MINUTE
  assert.equal(failures.add('192.0.2.1'), 2)
  assert.deepEqual([failures.countOf('192.0.2.1'), failures.countOf('192.0.2.2')], [2, 0])
  assert.equal(failures.retryAfterSeconds('192.0.2.1'), 240)
  clock.now += 4 * MINUTE - 1
  assert.deepEqual([failures.countOf('192.0.2.1'), failures.retryAfterSeconds('192.0.2.1')], [2, 1])
  clock.now += 1
  assert.deepEqual([failures.countOf('192.0.2.1'), failures.retryAfterSeconds('192.0.2.1')], [0, 1])
  assert.equal(failures.add('192.0.2.1'), 1)
})

test('failed logins: memory is bounded, and the oldest count is forgotten first', () => {
  const { failures } = counted()
  failures.add('192.0.2.1')
  failures.add('192.0.2.2')
  for (let index = 0; index < 9_999; index += 1) failures.add(`10.0.${index >> 8}.${index & 255}`)
  assert.deepEqual([failures.countOf('192.0.2.1'), failures.countOf('192.0.2.2')], [0, 1])
})
