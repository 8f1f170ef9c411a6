import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { alternativeNamesOf, subjectOf, type TrustedCertificate } from '../../src/platforms/index.ts'

/**
 * The platforms whose certificate the client has shown; none unless the server has verified its chain. A session of TLS
 * 1.3 that is resumed counts as authorized without any certificate: then there is no subject, and nothing fits.
 */
export function platformsOfCertificate(socket: Socket, trusted: readonly TrustedCertificate[]): string[] {
  if (trusted.length === 0 || !(socket instanceof TLSSocket) || !socket.authorized) return []
  const { subject, subjectaltname, valid_to } = socket.getPeerCertificate()
  // A connection may live longer than the certificate that it began with.
  if (subject === undefined || Date.parse(valid_to) < Date.now()) return []
  const name = subjectOf({ ...subject })
  const alternatives = alternativeNamesOf(subjectaltname)
  const fitting = trusted.filter((entry) =>
    'subject' in entry ? entry.subject === name : alternatives.includes(entry.alternativeName)
  )
  return [...new Set(fitting.map(({ platform }) => platform))]
}
