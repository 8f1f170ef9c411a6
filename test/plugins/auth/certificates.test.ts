import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TLSSocket } from 'node:tls'
import { platformsOfCertificate } from '../../../plugins/auth/certificates.ts'
import { fixedPlatforms } from '../../../src/platforms/index.ts'

const { certificate } = fixedPlatforms([{ name: 'cf', certificate: [{ subject: 'CN=cf' }] }]).current

/** A connection that was verified when it began, with a certificate that ends when it is said. */
function connection(validTo: Date): TLSSocket {
  const shown = { subject: { CN: 'cf' }, valid_to: validTo.toUTCString() }
  return Object.create(TLSSocket.prototype, { authorized: { value: true }, getPeerCertificate: { value: () => shown } })
}

test('client certificate: on a connection that outlives it, it lets nobody in any more', () => {
  assert.deepEqual(platformsOfCertificate(connection(new Date(Date.now() + 60_000)), certificate), ['cf'])
  assert.deepEqual(platformsOfCertificate(connection(new Date(Date.now() - 60_000)), certificate), [])
})
