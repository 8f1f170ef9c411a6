import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from '../chaos/random.ts'
import { attackNames } from './attack-names.ts'
import { Journal } from './journal.ts'

/** A run in which an attack took effect and an honest request was answered. */
async function goodRun(): Promise<Journal> {
  const journal = new Journal()
  journal.attackStarts('flood')
  journal.attackBegins('flood')
  await journal.honestly('bind', 1_000, async () => 'uri')
  journal.attackEnds('flood', { completed: 1, '57P01': 3 })
  return journal
}

test('hostile: a run with attacks and honest requests passes', async () => {
  assert.deepEqual((await goodRun()).verdict(), [])
})

test('hostile: a run without an attack or without an honest request fails', () => {
  assert.deepEqual(new Journal().verdict(), ['There was no attack.', 'There was no honest request.'])
})

test('hostile: a run with an attack that never took effect, or never started, fails', async () => {
  const journal = await goodRun()
  journal.attackStarts('queue')
  journal.attackEnds('queue', { 'login 28P01': 5 })
  assert.deepEqual(
    ['flood', 'queue', 'late'].map((name) => journal.misses(name, 1)),
    [false, false, true]
  )
  assert.equal(journal.misses('queue', 2), true)
  assert.deepEqual(journal.verdict(['flood', 'queue', 'late']), [
    'The attack never took effect, after 1 starts: queue',
    'The attack never took effect, after 0 starts: late'
  ])
})

test('hostile: a request that fails or does not end fails the run and names the attack', async () => {
  const journal = await goodRun()
  journal.attackStarts('queue')
  journal.attackBegins('queue')
  await journal.honestly('unbind', 1_000, async () => {
    throw new Error('busy')
  })
  await journal.honestly('login', 20, () => new Promise(() => undefined))
  const [unbind = '', login = ''] = journal.verdict()
  assert.deepEqual(
    [...journal.errors],
    [
      ['unbind: busy', 1],
      ['login: not ended within 20 ms', 1]
    ]
  )
  assert.match(unbind, /^unbind after \d+ ms: busy \[during: queue\]$/)
  assert.match(login, /^login after \d+ ms: not ended within 20 ms \[during: queue\]$/)
})

test('hostile: every attack has a name of its own', () => {
  const names = attackNames('', new Random(1))
  assert.equal(new Set(names).size, names.length)
  assert.throws(() => attackNames('no such attack', new Random(1)), /no attack has that in its name/)
})
