import assert from 'node:assert/strict'
import { test } from 'node:test'
import { attackNames } from './attack-names.ts'
import { Journal } from './journal.ts'

/** A run in which an attack took effect and an honest request was answered. */
async function goodRun(): Promise<Journal> {
  const journal = new Journal()
  journal.attackBegins('flood')
  await journal.honestly('bind', 1_000, async () => 'uri')
  journal.attackEnds('flood', { completed: 1, '57P01': 3 })
  return journal
}

test('hostile: a run with attacks and honest requests passes', async () => {
  assert.deepEqual((await goodRun()).verdict(), [])
})

test('hostile: a run without an attack or without an honest request fails', () => {
  assert.deepEqual(new Journal().verdict(), [
    'There was no attack.',
    'No attack took effect.',
    'There was no honest request.'
  ])
})

test('hostile: a run whose attacks were all refused fails', async () => {
  const journal = new Journal()
  journal.attackBegins('flood')
  await journal.honestly('bind', 1_000, async () => 'uri')
  journal.attackEnds('flood', { 'login 28P01': 5 })
  assert.deepEqual(journal.verdict(), ['No attack took effect.'])
})

test('hostile: a request that fails or does not end fails the run and names the attack', async () => {
  const journal = await goodRun()
  journal.attackBegins('queue')
  await journal.honestly('unbind', 1_000, async () => {
    throw new Error('busy')
  })
  await journal.honestly('login', 20, () => new Promise(() => undefined))
  const [unbind = '', login = ''] = journal.verdict()
  assert.match(unbind, /^unbind after \d+ ms: busy \[during: queue\]$/)
  assert.match(login, /^login after \d+ ms: not ended within 20 ms \[during: queue\]$/)
})

test('hostile: every attack has a name of its own', () => {
  const names = attackNames('')
  assert.equal(new Set(names).size, names.length)
  assert.throws(() => attackNames('no such attack'), /no attack has that in its name/)
})
