import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PROVEN_MS, ProvenLogins } from '../../../plugins/auth/proven-logins.ts'

const attempt = { address: '192.0.2.1', username: 'cf' }
const proof = { platform: 'cf', attempt }

test('proven logins: one is found by its whole header and its address, and by nothing else', () => {
  const logins = new ProvenLogins()
  logins.add('Basic abc', proof)
  assert.deepEqual(logins.find('Basic abc', '192.0.2.1'), proof)
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
  logins.add(undefined, proof)
  assert.equal(logins.find(undefined, '192.0.2.1'), undefined)
})

test('proven logins: one is looked at again after its time', () => {
  let now = 1_000
  const logins = new ProvenLogins(() => now)
  logins.add('Basic abc', proof)
  now += PROVEN_MS - 1
  assert.deepEqual(logins.find('Basic abc', '192.0.2.1'), proof)
  now += 1
  assert.equal(logins.find('Basic abc', '192.0.2.1'), undefined)
})
