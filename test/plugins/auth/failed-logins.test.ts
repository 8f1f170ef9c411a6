import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FailedLogins, MAX_FAILURES } from '../../../plugins/auth/failed-logins.ts'

const MINUTE = 60_000

/** A counter with a clock of the test's own. */
function counted() {
  const clock = { now: 1_000_000 }
  const failures = new FailedLogins(() => clock.now)
  const fail = (address: string, username?: string, times = MAX_FAILURES) => {
    const attempt = username === undefined ? { address } : { address, username }
    return Array.from({ length: times }, () => failures.failed(attempt))
  }
  const isOpen = (address: string, username = 'any') => failures.retryAfterSeconds({ address, username }) === undefined
  return { clock, failures, fail, isOpen }
}

test('failed logins: an address is closed after so many, until its window ends', () => {
  const { clock, failures, fail, isOpen } = counted()
  assert.deepEqual(fail('192.0.2.1', undefined, MAX_FAILURES - 1).includes(true), false)
  assert.equal(isOpen('192.0.2.1'), true)
  clock.now += MINUTE
  assert.deepEqual(fail('192.0.2.1', undefined, 1), [true])
  assert.equal(failures.retryAfterSeconds({ address: '192.0.2.1' }), 240)
  assert.equal(isOpen('192.0.2.1'), false)
  assert.equal(isOpen('192.0.2.2'), true)
  clock.now += 4 * MINUTE - 1
  assert.equal(failures.retryAfterSeconds({ address: '192.0.2.1' }), 1)
  clock.now += 1
  assert.equal(isOpen('192.0.2.1'), true)
  assert.deepEqual(fail('192.0.2.1', undefined, 1), [false])
})

test('failed logins: a name is closed for addresses that it has not come in from', () => {
  const { failures, fail, isOpen } = counted()
  failures.succeeded({ address: '192.0.2.1', username: 'cf' })
  for (let index = 0; index < MAX_FAILURES; index += 1) fail(`198.51.100.${index}`, 'cf', 1)
  assert.equal(isOpen('203.0.113.1', 'cf'), false)
  assert.equal(isOpen('203.0.113.1', 'other'), true)
  assert.equal(isOpen('192.0.2.1', 'cf'), true)
})

test('failed logins: an unknown name is closed as a known one is', () => {
  const { fail, isOpen } = counted()
  for (let index = 0; index < MAX_FAILURES; index += 1) fail(`198.51.100.${index}`, 'nobody', 1)
  assert.equal(isOpen('203.0.113.1', 'nobody'), false)
})

test('failed logins: what a platform fails with from its own address does not close its name elsewhere', () => {
  const { failures, fail, isOpen } = counted()
  failures.succeeded({ address: '192.0.2.1', username: 'cf' })
  fail('192.0.2.1', 'cf')
  assert.equal(isOpen('192.0.2.1', 'cf'), false)
  assert.equal(isOpen('203.0.113.1', 'cf'), true)
})

test('failed logins: a name is known at an address for a day after its last login', () => {
  const { clock, failures, fail, isOpen } = counted()
  const day = 24 * 60 * MINUTE
  failures.succeeded({ address: '192.0.2.1', username: 'cf' })
  clock.now += day - 1
  failures.succeeded({ address: '192.0.2.1', username: 'cf' })
  clock.now += day - 1
  const close = () => {
    for (let index = 0; index < MAX_FAILURES; index += 1) fail(`198.51.100.${index}`, 'cf', 1)
  }
  close()
  assert.equal(isOpen('192.0.2.1', 'cf'), true)
  clock.now += 1
  assert.equal(isOpen('192.0.2.1', 'cf'), false)
})

test('failed logins: a success resets nothing', () => {
  const { failures, fail, isOpen } = counted()
  fail('192.0.2.1', 'other', MAX_FAILURES - 1)
  failures.succeeded({ address: '192.0.2.1', username: 'own' })
  fail('192.0.2.1', 'other', 1)
  assert.equal(isOpen('192.0.2.1', 'other'), false)
  assert.equal(isOpen('192.0.2.1', 'own'), false)
})

test('failed logins: IPv6 is counted by the network that one customer gets', () => {
  const { fail, isOpen } = counted()
  fail('2001:db8:0:1::1')
  for (const same of ['2001:db8::1:ffff:0:0:1', '2001:0DB8:0:1:a:b:c:d', '2001:db8:0:1::%eth0']) {
    assert.equal(isOpen(same), false, same)
  }
  for (const other of ['2001:db8:0:2::1', '2001:db8::1', '::1', '192.0.2.1']) assert.equal(isOpen(other), true, other)
  fail('::ffff:192.0.2.1')
  assert.equal(isOpen('192.0.2.1'), false)
})

test('failed logins: memory is bounded, and the oldest goes first', () => {
  const { fail, isOpen } = counted()
  fail('192.0.2.1')
  fail('192.0.2.2')
  for (let index = 0; index < 9_999; index += 1) fail(`10.0.${index >> 8}.${index & 255}`, undefined, 1)
  assert.deepEqual([isOpen('192.0.2.1'), isOpen('192.0.2.2')], [true, false])
})
