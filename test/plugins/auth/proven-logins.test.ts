import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PROVEN_MS, ProvenLogins } from '../../../plugins/auth/proven-logins.ts'

test('proven logins: a login is found by its whole header and its address, and by nothing else', () => {
  const logins = new ProvenLogins()
  logins.add('Basic abc', '192.0.2.1', 'cf')
  assert.equal(logins.find('Basic abc', '192.0.2.1'), 'cf')
  for (const [header, address] of [
    ['Basic ab', 'c192.0.2.1'],
    ['Basic abd', '192.0.2.1'],
    ['Basic abc', '192.0.2.2'],
    ['basic abc', '192.0.2.1'],
    ['', '192.0.2.1'],
    [undefined, '192.0.2.1']
  ] as const) {
    assert.equal(logins.find(header, address), undefined, `${header} from ${address}`)
  }
})

test('proven logins: a login is forgotten a day after its last use', () => {
  let now = 1_000
  const logins = new ProvenLogins(() => now)
  logins.add('Basic abc', '192.0.2.1', 'cf')
  for (let use = 0; use < 3; use += 1) {
    now += PROVEN_MS - 1
    assert.equal(logins.find('Basic abc', '192.0.2.1'), 'cf')
  }
  now += PROVEN_MS
  assert.equal(logins.find('Basic abc', '192.0.2.1'), undefined)
})
