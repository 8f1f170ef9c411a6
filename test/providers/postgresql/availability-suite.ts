import { after, before, test } from 'node:test'
import { Arena } from './arena.ts'
import { availabilityAttacks, namesOnly } from './availability.ts'
import { OwnServer } from './own-server.ts'
import type { AdminKind } from './support.ts'

/** One test for each attack of some groups, on a server of the file's own. */
export function testAvailability(admin: AdminKind, chosen: (group: string) => boolean): void {
  const server = new OwnServer({ max_connections: '80', max_prepared_transactions: '4' })
  let arena: Arena | undefined
  before(async () => {
    arena = await Arena.open(server, admin)
  })
  after(async () => {
    await (arena ?? { close: () => server.remove() }).close()
  })
  for (const [group, attacks] of Object.entries(availabilityAttacks(namesOnly))) {
    if (!chosen(group)) continue
    for (const [index, { name }] of attacks.entries()) {
      test(`availability: with ${admin}, ${group}: ${name}`, async (t) => {
        if (arena === undefined) throw new Error('The server did not start.')
        const judging = arena.judge((targets) => {
          const attack = availabilityAttacks(targets)[group]?.[index]
          if (attack === undefined) throw new Error(`There is no attack ${index} of ${group}.`)
          return attack
        })
        await judging.catch(() => undefined)
        for (const line of arena.guardLines()) t.diagnostic(line)
        const { honest, outcome } = await judging
        const [slowest, ms] = [...honest.steps].reduce((most, step) => (step[1] > most[1] ? step : most))
        t.diagnostic(`slowest: ${slowest}, ${ms} ms; retries: ${honest.retries}; attack: ${JSON.stringify(outcome)}`)
      })
    }
  }
}
