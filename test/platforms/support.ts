import { randomBytes, scryptSync } from 'node:crypto'

/** A hash in the PHC format of what the file of platforms takes at least, made without the code under test. */
export function phc(password: string, { ln = 15, p = 1 } = {}): string {
  const salt = randomBytes(16)
  const hash = scryptSync(password, salt, 32, { N: 2 ** ln, r: 8, p, maxmem: 2 ** 28 })
  const [saltText, hashText] = [salt, hash].map((bytes) => bytes.toString('base64').replaceAll('=', ''))
  return `$scrypt$ln=${ln},r=8,p=${p}$${saltText}$${hashText}`
}

/** Of no password that anybody knows. */
export const someHash = `$scrypt$ln=15,r=8,p=1$${'c2FsdHNhbHRzYWx0c2FsdA'}$${'A'.repeat(43)}`
