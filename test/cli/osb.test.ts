import assert from 'node:assert/strict'
import { test } from 'node:test'
import { scene } from '../server/broker-process.ts'

test('osb --help: prints every command and ends with 0', async (t) => {
  const { run } = scene(t)
  for (const args of [['--help'], ['-h']]) {
    const program = run(args)
    assert.deepEqual(await program.ended, { code: 0, signal: null })
    assert.match(program.stdout, /^usage: osb COMMAND\n\n(?: {2}[a-z-]+ +\S.*\n)+\nosb COMMAND --help says more\.\n$/)
    for (const command of ['serve', 'migrate', 'hash-password'])
      assert.match(program.stdout, new RegExp(`^  ${command} `, 'm'))
    assert.equal(program.stderr, '')
  }
})

test('osb COMMAND --help: prints what it does and ends with 0', async (t) => {
  const { run } = scene(t)
  const program = run(['serve', '--help'])
  assert.deepEqual(await program.ended, { code: 0, signal: null })
  assert.match(program.stdout, /^usage: osb serve\n\n {2}run the broker/)
})

test('osb COMMAND: one word too many prints its usage and ends with 1', async (t) => {
  const { run } = scene(t)
  const program = run(['serve', 'now'])
  assert.deepEqual(await program.ended, { code: 1, signal: null })
  assert.match(program.stderr, /^usage: osb serve\n/)
  assert.equal(program.stdout, '')
})

test('osb: no command or an unknown one prints the usage and ends with 1', async (t) => {
  const { run } = scene(t)
  for (const args of [[], ['start'], ['constructor'], ['--version-of-nothing']]) {
    const program = run(args)
    assert.deepEqual(await program.ended, { code: 1, signal: null }, args.join(' '))
    assert.match(program.stderr, /^usage: osb COMMAND\n/)
    assert.equal(program.stdout, '')
  }
})

test('osb: an unknown option ends with 1 and one line that names it', async (t) => {
  const { run } = scene(t)
  const program = run(['serve', '--port', '80'])
  assert.deepEqual(await program.ended, { code: 1, signal: null })
  assert.match(program.stderr, /^Unknown option '--port'.*\n$/)
})
