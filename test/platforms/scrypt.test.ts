import assert from 'node:assert/strict'
import { test } from 'node:test'
import { derive, hashPassword, isOf } from '../../src/platforms/index.ts'
import { parseScryptHash } from '../../src/platforms/scrypt.ts'
import { phc, someHash } from './support.ts'

test('hashPassword: what it makes is read again, and only of that password', async () => {
  const text = await hashPassword('pass:w√ord')
  assert.match(text, /^\$scrypt\$ln=15,r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
  assert.notEqual(text, await hashPassword('pass:w√ord'))
  const hash = parseScryptHash(text)
  assert.equal(isOf(hash, await derive('pass:w√ord', hash)), true)
  assert.equal(isOf(hash, await derive('pass:w√or', hash)), false)
})

test('parseScryptHash: the cost is read from the text', async () => {
  const hash = parseScryptHash(phc('secret', { ln: 16, p: 2 }))
  assert.deepEqual([hash.ln, hash.p], [16, 2])
  assert.equal(isOf(hash, await derive('secret', hash)), true)
})

const refused: [string, string, RegExp][] = [
  ['a password', 'hunter2', /^must be \$scrypt\$ln=…,r=…,p=…\$salt\$hash; make one with: osb hash-password$/],
  ['another algorithm', '$argon2id$v=19$m=65536,t=2,p=1$c2FsdHNhbHQ$aGFzaA', /^must be \$scrypt\$/],
  ['no hash', '$scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0', /^must be \$scrypt\$/],
  ['too little work', someHash.replace('ln=15', 'ln=14'), /^must have ln from 15 to 17, has 14$/],
  ['too much memory', someHash.replace('ln=15', 'ln=18'), /^must have ln from 15 to 17, has 18$/],
  ['another block size', someHash.replace('r=8', 'r=64'), /^must have r=8, has 64$/],
  ['no round', someHash.replace('p=1', 'p=0'), /^must have p from 1 to 4, has 0$/],
  ['too many rounds', someHash.replace('p=1', 'p=99'), /^must have p from 1 to 4, has 99$/],
  ['a short salt', someHash.replace('c2FsdHNhbHRzYWx0c2FsdA', 'c2FsdA'), /^must have a salt of 8 to 64 bytes, has 4$/],
  ['a short hash', someHash.replace('A'.repeat(43), 'AAAA'), /^must have a hash of 16 to 64 bytes, has 3$/],
  ['a long hash', someHash.replace('A'.repeat(43), 'A'.repeat(200)), /^must have a hash of 16 to 64 bytes, has 150$/]
]
for (const [what, text, message] of refused) {
  test(`parseScryptHash: ${what} is refused, and not repeated`, () => {
    assert.throws(
      () => parseScryptHash(text),
      (error) => {
        assert.ok(error instanceof Error)
        assert.match(error.message, message)
        assert.ok(!error.message.includes('hunter2'))
        return true
      }
    )
  })
}
