import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Arena } from './arena.ts'
import { type AvailabilityPart, availabilityAttacks, namesOnly } from './availability.ts'
import { OwnServer } from './own-server.ts'
import type { AdminKind } from './support.ts'

/** Set by `npm run test:postgresql`: every attack runs with both kinds of admin. */
const ALL = process.env.TEST_AVAILABILITY === 'all'

/**
 * One test for each attack of a part, on a server of the file's own. `npm test` runs each attack with one kind of admin, to
 * save time.
 */
export function testAvailability(admin: AdminKind, part: AvailabilityPart): void {
  // Other majors get the limits of the embedded server. The timeout is shorter, because one attack lasts as long, thrice.
  const limits = { authentication_timeout: '10s', max_locks_per_transaction: '256', temp_file_limit: '5GB' }
  const server = new OwnServer({ max_connections: '80', max_prepared_transactions: '4', ...limits })
  let arena: Arena | undefined
  let judged = 0
  before(async () => {
    arena = await Arena.open(server, admin)
  })
  after(async () => {
    await (arena ?? { close: () => server.remove() }).close()
  })
  const attacks = availabilityAttacks(namesOnly)[part]
  const chosen = [...attacks.entries()].filter(([index]) => ALL || (index % 2 === 0) === (admin === 'superuser'))
  for (const [index, { name }] of chosen) {
    test(`availability: with ${admin}, ${part}: ${name}`, async (t) => {
      if (arena === undefined) throw new Error('The server did not start.')
      const judging = arena.judge((targets) => {
        const attack = availabilityAttacks(targets)[part][index]
        if (attack === undefined) throw new Error(`There is no attack ${index} of ${part}.`)
        return attack
      })
      await judging.catch(() => undefined)
      for (const line of arena.guardLines()) t.diagnostic(line)
      const { honest, outcome } = await judging
      judged += 1
      const [slowest, ms] = [...honest.steps].reduce((most, step) => (step[1] > most[1] ? step : most))
      t.diagnostic(`slowest: ${slowest}, ${ms} ms; retries: ${honest.retries}; attack: ${JSON.stringify(outcome)}`)
    })
  }
  if (chosen.length < attacks.length) {
    const rest = `${attacks.length - chosen.length} attacks`
    test(`availability: with ${admin}, ${part}: ${rest}`, { skip: 'npm run test:postgresql runs these' })
  }
  test(`availability: with ${admin}, ${part}: every attack was judged`, (t) => {
    t.diagnostic(`${judged} attacks on availability (${part}), with ${admin}, on ${arena?.version}`)
    assert.equal(judged, chosen.length)
  })
}
