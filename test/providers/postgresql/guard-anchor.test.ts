import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { codeOf } from '../../../src/postgres/index.ts'
import { Anchor } from '../../../src/providers/postgresql/guard/anchor.ts'
import { look } from '../../../src/providers/postgresql/guard/look.ts'
import { AdminServer } from '../../../src/providers/postgresql/server.ts'
import { OwnServer } from './own-server.ts'
import { adminKinds, cleanUp, connect, instanceOf, setUp } from './support.ts'

const server = new OwnServer()

before(() => server.start())
after(() => server.remove())

function assertFull(error: unknown): false {
  assert.equal(codeOf(error), '53200')
  return false
}

for (const admin of adminKinds) {
  test(`anchor: with ${admin}, no renewal lets a full lock table lock the guard out`, async (t) => {
    const { provider, adminUrl } = await setUp(t, { admin, url: server.adminUrl })
    const mine = await instanceOf(t, provider)
    const tenant = await connect(t, await mine.uri('b'))
    const admins = new AdminServer({ adminUrl })
    const anchor = new Anchor(admins)
    cleanUp(t, () => Promise.all([anchor.close(), admins.close()]))
    /** A lock at a time in the end, because a statement that fails gives its own locks back. */
    const fill = async () => {
      for (const count of [1_000_000, 100, 10, 1, 1]) {
        const more = 'SELECT count(pg_advisory_lock(2, (random() * 1e9)::int)) FROM generate_series(1, $1)'
        while (await tenant.query(more, [count]).then(() => true, assertFull)) {}
      }
    }
    const free = () => tenant.query('SELECT pg_advisory_unlock_all()')
    const assertSeen = async () => {
      const { holders, locks, capacity } = await look(anchor.query)
      assert.ok(locks > capacity / 2)
      assert.deepEqual(
        holders.map(({ token }) => token),
        [mine.token]
      )
    }
    await look(anchor.query)
    await anchor.renew(look)
    await fill()
    await assertSeen()
    await free()
    await anchor.makeWay(look)
    await fill()
    await assertSeen()
    await free()
    await fill()
    // The locks that the new transaction needs exist already, so it may succeed even now.
    await anchor.renew(look).catch(assertFull)
    await assertSeen()
    await free()
    const tooLate = anchor.makeWay(async (query) => {
      await fill()
      await look(query)
    })
    await assert.rejects(tooLate, { code: '53200' })
    await free()
    await look(anchor.query)
  })
}
