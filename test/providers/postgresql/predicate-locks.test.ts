import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { codeOf } from '../../../src/postgres/index.ts'
import { look } from '../../../src/providers/postgresql/guard/look.ts'
import { AdminServer } from '../../../src/providers/postgresql/server.ts'
import { guarded, rulesAgainst, Tenant } from './guard-scene.ts'
import { OwnServer } from './own-server.ts'
import { adminKinds, cleanUp, connect, scalar } from './support.ts'

/** Locks of rows stay locks of rows, as long as they are fewer than these limits. */
const server = new OwnServer({
  max_pred_locks_per_transaction: '1024',
  max_pred_locks_per_relation: '100000',
  max_pred_locks_per_page: '1000'
})

before(() => server.start())
after(() => server.remove())

const ROWS = 2_000

for (const admin of adminKinds) {
  test(`locks: with ${admin}, the guard does not count predicate locks`, async (t) => {
    const { mine, other, lines, adminUrl } = await guarded(t, {
      admin,
      url: server.adminUrl,
      options: { lock_limit: 300 }
    })
    const tenant = await Tenant.on(t, await mine.uri('b'))
    await readSerializable(tenant)
    const watcher = await connect(t, server.adminUrl)
    const count = `SELECT count(*)::int FROM pg_locks WHERE mode = 'SIReadLock'`
    assert.ok(Number(await scalar(watcher, count)) >= ROWS)
    // The guard ends them in two rounds, of which the first has seen the locks of all sessions and is over.
    const uri = await other.uri('b')
    for (let round = 0; round < 2; round++) {
      const flood = await Tenant.on(t, uri)
      const holding = 'SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 400) AS g; SELECT pg_sleep(60)'
      assert.equal(codeOf(await flood.wait(holding)), '57P01')
    }
    await tenant.assertAlive()
    assert.deepEqual(rulesAgainst(lines, tenant.login), [])
    const admins = new AdminServer({ adminUrl })
    cleanUp(t, () => admins.close())
    const { locks } = await look(admins.aside.query)
    assert.ok(locks < ROWS / 2, `${locks} locks`)
    await tenant.run('COMMIT')
  })
}

/** A transaction that reads rows through an index, and holds a predicate lock on each. */
async function readSerializable(tenant: Tenant): Promise<void> {
  await tenant.run(
    'CREATE TABLE read (id int PRIMARY KEY, body int)',
    `INSERT INTO read SELECT g, g FROM generate_series(1, ${ROWS}) AS g`,
    'SET enable_seqscan = off',
    'SET enable_bitmapscan = off',
    'BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE',
    'SELECT sum(body) FROM read WHERE id > 0'
  )
}
