import assert from 'node:assert/strict'
import { test } from 'node:test'
import { boundedScrypt } from '../../../plugins/auth/bounded-scrypt.ts'
import { BrokerError } from '../../../src/core/errors.ts'
import { unknownHash } from '../../../src/platforms/index.ts'
import { gate } from '../../helper/scripted-provider.ts'

const hash = unknownHash({ ln: 15, p: 1 })

/** scrypt whose runs wait for the test; records the order in which passwords are run. */
function scrypt(failures: Record<string, number>) {
  const hold = gate()
  const order: string[] = []
  const derive = boundedScrypt(
    (network) => failures[network] ?? 0,
    async (password) => {
      order.push(password)
      await hold.opened
      return Buffer.from(password)
    }
  )
  const run = (network: string, password: string) =>
    derive(password, hash, network).then(
      () => 'run' as const,
      (error: unknown) => (error instanceof BrokerError ? error.status : error)
    )
  return { run, order, open: hold.open }
}

test('bounded scrypt: the network with the fewest failures goes first', async () => {
  const { run, order, open } = scrypt({ attacker: 50, other: 1 })
  const runs = ['1', '2', '3', '4'].map((password) => run('attacker', password))
  runs.push(run('other', '5'), run('platform', '6'))
  open()
  await Promise.all(runs)
  assert.deepEqual(order, ['1', '2', '6', '5', '3', '4'])
})

test('bounded scrypt: one network has a bound of its own, and others still get a place', async () => {
  const { run, open } = scrypt({})
  const attacks = Array.from({ length: 30 }, (_, index) => run('attacker', String(index)))
  const platform = run('platform', 'right')
  open()
  assert.equal((await Promise.all(attacks)).filter((outcome) => outcome === 503).length, 12)
  assert.equal(await platform, 'run')
})

test('bounded scrypt: when attackers fill the whole line, a network without failures displaces one of them', async () => {
  const failures = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`attacker-${index}`, 1]))
  const { run, open } = scrypt(failures)
  const attacks = Object.keys(failures).map((network) => run(network, network))
  const platform = run('platform', 'right')
  open()
  const outcomes = await Promise.all(attacks)
  assert.equal(await platform, 'run')
  assert.equal(outcomes.filter((outcome) => outcome === 503).length, 300 - 2 - 256 + 1)
})
