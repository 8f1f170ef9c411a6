import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FailedLogins, MAX_FAILURES } from '../../../plugins/auth/failed-logins.ts'
import { LoginThrottle, MAX_WAITING, PACE_MS } from '../../../plugins/auth/login-throttle.ts'
import { BrokerError } from '../../../src/core/errors.ts'
import { gate } from '../../helper/scripted-provider.ts'

function throttled() {
  const failures = new FailedLogins()
  const throttle = new LoginThrottle(failures)
  let checks = 0
  /** A login that is checked against `right`. */
  const login = (network: string, password: string, until?: Promise<unknown>) =>
    throttle.check({
      network,
      key: `${network} ${password}`,
      check: async () => {
        checks += 1
        await until
        return password.startsWith('right') ? 'cf' : undefined
      }
    })
  const exhaust = async (network: string) => {
    for (let index = 0; index < MAX_FAILURES; index += 1) await login(network, `guess-${index}`)
  }
  return { failures, login, exhaust, checks: () => checks }
}

test('login throttle: after too many failures a network is checked at a pace, and right logins succeed', async () => {
  const { login, exhaust } = throttled()
  await exhaust('a')
  const began = performance.now()
  assert.deepEqual(await login('a', 'right'), { platform: 'cf', failures: MAX_FAILURES })
  assert.deepEqual(await login('a', 'wrong'), { platform: undefined, failures: MAX_FAILURES + 1 })
  // Timers may fire up to a millisecond early.
  assert.ok(performance.now() - began >= 2 * PACE_MS - 2)
})

test('login throttle: another network is not slowed down', async () => {
  const { login, exhaust } = throttled()
  await exhaust('a')
  const slow = login('a', 'right')
  const order: string[] = []
  await Promise.all([slow.then(() => order.push('a')), login('b', 'right').then(() => order.push('b'))])
  assert.deepEqual(order, ['b', 'a'])
})

test('login throttle: concurrent guesses are limited as consecutive ones are', async () => {
  const { login, checks } = throttled()
  const hold = gate()
  const guesses = Array.from({ length: MAX_FAILURES + MAX_WAITING + 5 }, (_, index) =>
    login('a', `guess-${index}`, hold.opened).then(
      ({ failures }) => failures,
      (error: unknown) => (error instanceof BrokerError ? [error.status, error.details.retryAfterSeconds] : error)
    )
  )
  await Promise.resolve()
  assert.equal(checks(), MAX_FAILURES)
  hold.open()
  const outcomes = await Promise.all(guesses)
  // A platform that is refused with a correct password is to try again soon, not when the window ends.
  const refused = outcomes.filter((outcome) => typeof outcome !== 'number')
  assert.deepEqual(refused, Array(5).fill([429, 5]))
  assert.equal(checks(), MAX_FAILURES + MAX_WAITING)
})

test('login throttle: checks that succeed make room for those that wait, without a pause', async () => {
  const { login, failures } = throttled()
  const hold = gate()
  const first = Array.from({ length: MAX_FAILURES }, (_, index) => login('a', `right-${index}`, hold.opened))
  const waiting = login('a', 'right')
  hold.open()
  await Promise.all(first)
  assert.equal((await waiting).platform, 'cf')
  assert.equal(failures.countOf('a'), 0)
})

test('login throttle: equal logins at the same time are one check and one failure', async () => {
  const { login, failures, checks } = throttled()
  await Promise.all(Array.from({ length: MAX_FAILURES * 3 }, () => login('a', 'outdated')))
  assert.deepEqual([checks(), failures.countOf('a')], [1, 1])
})

test('login throttle: a check that throws is no failure and frees its place', async () => {
  const failures = new FailedLogins()
  const throttle = new LoginThrottle(failures)
  for (let index = 0; index < MAX_FAILURES * 2; index += 1) {
    const check = () => Promise.reject(new Error('busy'))
    await assert.rejects(throttle.check({ network: 'a', key: String(index), check }), /busy/)
  }
  assert.equal(failures.countOf('a'), 0)
})
