import assert from 'node:assert/strict'
import { test } from 'node:test'
import { networkOf } from '../../plugins/network-of.ts'

test('networkOf: an IPv6 address stands for its /64, however it is written', () => {
  for (const same of ['2001:db8:0:1::1', '2001:db8::1:ffff:0:0:1', '2001:0DB8:0:1:a:b:c:d', '2001:db8:0:1::%eth0']) {
    assert.equal(networkOf(same), '2001:db8:0:1', same)
  }
  const others = ['2001:db8:0:2::1', '2001:db8::1', '::1', '192.0.2.1', ''].map(networkOf)
  assert.equal(new Set([...others, '2001:db8:0:1']).size, 6)
})

test('networkOf: an IPv4-mapped address stands for its IPv4 address', () => {
  assert.equal(networkOf('::ffff:192.0.2.1'), '192.0.2.1')
  assert.notEqual(networkOf('192.0.2.2'), '192.0.2.1')
})
