import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

const derive = promisify(pbkdf2)

/** PostgreSQL's own count; more would slow every login of the tenant. */
const ITERATIONS = 4096

/**
 * A password as PostgreSQL stores it (RFC 5803). It is computed here so that the password itself never travels in a
 * statement, where the server's log and pg_stat_activity would show it.
 */
export async function scramVerifier(password: string): Promise<string> {
  const salt = randomBytes(16)
  // saslprep leaves our passwords of [A-Za-z0-9_-] as they are
  const salted = await derive(password, salt, ITERATIONS, 32, 'sha256')
  const clientKey = createHmac('sha256', salted).update('Client Key').digest()
  const storedKey = createHash('sha256').update(clientKey).digest('base64')
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64')
  return `SCRAM-SHA-256$${ITERATIONS}:${salt.toString('base64')}$${storedKey}:${serverKey}`
}

const VERIFIER = /^SCRAM-SHA-256\$\d+:([A-Za-z0-9+/=]+)\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$/

/** Whether two verifiers are the same, and so those of one password. */
export function isSameVerifier(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}

/** The salt in a verifier, as the server tells it to whoever is about to log in. */
export function saltOf(verifier: string): string | undefined {
  return VERIFIER.exec(verifier)?.[1]
}
