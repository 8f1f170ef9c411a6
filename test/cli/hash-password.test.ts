import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { askTwice } from '../../src/cli/hash-password.ts'
import { derive, isOf } from '../../src/platforms/index.ts'
import { parseScryptHash } from '../../src/platforms/scrypt.ts'
import { osb, plainEnvironment } from '../server/broker-process.ts'

function hashPassword(input: string) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [osb, 'hash-password'], {
    input,
    encoding: 'utf8',
    env: plainEnvironment()
  })
  return { status, stdout, stderr }
}

test('osb hash-password: prints the hash of what it reads, without the line end', async () => {
  const { status, stdout, stderr } = hashPassword('pass w√ord \n')
  assert.deepEqual([status, stderr], [0, ''])
  const hash = parseScryptHash(stdout.trimEnd())
  assert.equal(isOf(hash, await derive('pass w√ord ', hash)), true)
})

test('osb hash-password: no password, or one of several lines, ends with 1 and says why', () => {
  const none = { status: 1, stdout: '', stderr: 'There is no password: give it on standard input, in one line.\n' }
  assert.deepEqual(hashPassword(''), none)
  assert.deepEqual(hashPassword('\n'), none)
  assert.deepEqual(hashPassword('hunter2\nhunter3\n'), {
    status: 1,
    stdout: '',
    stderr: 'The password has a line end or another control character, which basic authentication forbids.\n'
  })
})

/** A terminal that somebody types at, and what it shows. */
function terminal(t: TestContext) {
  const input = new PassThrough()
  const output = new PassThrough().setEncoding('utf8')
  t.after(() => input.destroy())
  let shown = ''
  output.on('data', (text: string) => {
    shown += text
  })
  const answer = async (question: string, keys: string) => {
    while (!shown.endsWith(question)) await once(output, 'data')
    input.write(keys)
  }
  return { input, output, answer, shown: () => shown }
}

test('osb hash-password: on a terminal it asks twice and shows nothing', async (t) => {
  const { input, output, answer, shown } = terminal(t)
  const asked = askTwice(input, output)
  await answer('Password: ', 'hunterx\u007f2\r')
  await answer('Again: ', 'hunter2\r')
  assert.equal(await asked, 'hunter2')
  assert.equal(shown(), 'Password: \nAgain: \n')
})

test('osb hash-password: two that differ, Ctrl-C and Ctrl-D end it', async (t) => {
  const different = terminal(t)
  const asked = askTwice(different.input, different.output)
  await different.answer('Password: ', 'one\r')
  await different.answer('Again: ', 'two\r')
  await assert.rejects(asked, { name: 'UsageError', message: 'The two passwords differ.' })
  for (const [key, name] of [
    ['\u0003', 'Interrupted'],
    ['\u0004', 'UsageError']
  ]) {
    const { input, output, answer } = terminal(t)
    const ended = assert.rejects(askTwice(input, output), { name })
    await answer('Password: ', String(key))
    await ended
  }
})
