import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { codeOf } from '../../../src/postgres/index.ts'
import { Anchor } from '../../../src/providers/postgresql/guard/anchor.ts'
import { look } from '../../../src/providers/postgresql/guard/look.ts'
import { relieve } from '../../../src/providers/postgresql/guard/relief.ts'
import { AdminServer } from '../../../src/providers/postgresql/server.ts'
import { canLogIn, eventually, guarded, rulesAgainst, Tenant } from './guard-scene.ts'
import { OwnServer } from './own-server.ts'
import { adminKinds, cleanUp, instanceOf, setUp } from './support.ts'

const server = new OwnServer({ max_connections: '30', max_locks_per_transaction: '256' })

before(() => server.start())
after(() => server.remove())

const TABLES = Array.from({ length: 2_000 }, (_, index) => `t${index}`)

/** So many changes of catalogs at once that PostgreSQL empties the caches of every session that is idle meanwhile. */
async function changeCatalogs(maker: Tenant): Promise<void> {
  for (let from = 0; from < TABLES.length; from += 1_000) {
    const tables = TABLES.slice(from, from + 1_000).map((name) => `CREATE TABLE IF NOT EXISTS ${name} (id int);`)
    await maker.run(`BEGIN; ${tables.join(' ')} COMMIT`)
  }
}

/** Fills the lock table. While strong locks on many relations are held, weak ones on others need entries in it, too. */
async function fill(maker: Tenant, flooder: Tenant): Promise<unknown> {
  await maker.run('BEGIN', `LOCK TABLE ${TABLES.join(', ')} IN ACCESS EXCLUSIVE MODE`)
  return codeOf(await flooder.wait('SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 200000) AS g'))
}

for (const admin of adminKinds) {
  test(`relief: with ${admin}, a full lock table is emptied although the guard has lost its caches`, async (t) => {
    const scene = await setUp(t, { admin, url: server.adminUrl })
    const mine = await instanceOf(t, scene.provider, { connection_limit: 10 })
    const admins = new AdminServer({ adminUrl: scene.adminUrl })
    const anchor = new Anchor(admins)
    cleanUp(t, () => Promise.all([anchor.close(), admins.close()]))
    const [maker, flooder] = [await Tenant.on(t, await mine.uri('b')), await Tenant.on(t, await mine.uri('c'))]
    await look(anchor.query)
    assert.deepEqual(await relieve(anchor.query), [])
    await changeCatalogs(maker)
    assert.equal(await fill(maker, flooder), '53200')
    // The transaction of the flood has failed, and the few locks that it gave back may do for a look.
    const looked = await look(anchor.query).then(() => 'works', codeOf)
    t.diagnostic(`a look while the table is full: ${looked}`)
    assert.deepEqual(await relieve(anchor.query), [flooder.login], 'the largest holder')
    await eventually(
      () =>
        look(anchor.query).then(
          () => true,
          () => false
        ),
      'the guard can look'
    )
    await maker.assertAlive()
  })

  test(`relief: with ${admin}, a guard that cannot look ends the flood, and suspends its login`, async (t) => {
    const { mine, other, lines, sql } = await guarded(t, { admin, url: server.adminUrl })
    const victim = await other.uri('b')
    const [maker, flooder] = [await Tenant.on(t, await mine.uri('b')), await Tenant.on(t, await mine.uri('c'))]
    await changeCatalogs(maker)
    assert.ok(['53200', '57P01'].includes(String(await fill(maker, flooder))))
    await eventually(() => canLogIn(victim), 'the victim gets in')
    await eventually(async () => {
      const rows = await sql('SELECT FROM pg_roles WHERE rolname = $1 AND NOT rolcanlogin', [flooder.login])
      return rows.length > 0
    }, 'the login is suspended')
    assert.equal(rulesAgainst(lines, flooder.login)[0], 'locks')
  })
}
