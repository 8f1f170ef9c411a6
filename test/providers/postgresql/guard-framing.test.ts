import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { codeOf } from '../../../src/postgres/index.ts'
import { Anchor } from '../../../src/providers/postgresql/guard/anchor.ts'
import { Journal } from '../../../src/providers/postgresql/guard/journal.ts'
import { excess } from '../../../src/providers/postgresql/guard/lock-limit.ts'
import { type Holder, look } from '../../../src/providers/postgresql/guard/look.ts'
import { Suspensions } from '../../../src/providers/postgresql/guard/suspensions.ts'
import { AdminServer } from '../../../src/providers/postgresql/server.ts'
import { keptLog } from './failures.ts'
import { acts, eventually, guarded, Tenant } from './guard-scene.ts'
import { OwnServer } from './own-server.ts'
import { adminKinds, cleanUp, connect, instanceOf, setUp } from './support.ts'

const server = new OwnServer({ max_connections: '60', max_locks_per_transaction: '64' })

before(() => server.start())
after(() => server.remove())

/** An anchor of a guard that does not run. */
function anchorOf(t: Parameters<typeof cleanUp>[0], adminUrl: string): Anchor {
  const admins = new AdminServer({ adminUrl })
  const anchor = new Anchor(admins)
  cleanUp(t, () => Promise.all([anchor.close(), admins.close()]))
  return anchor
}

for (const admin of adminKinds) {
  test(`framing: with ${admin}, a session in front of a forbidden statement of another tenant is no offender`, async (t) => {
    const { provider, adminUrl } = await setUp(t, { admin, url: server.adminUrl })
    const [mine, other] = [await instanceOf(t, provider), await instanceOf(t, provider)]
    const [attacker, victim] = [await Tenant.on(t, await mine.uri('b')), await Tenant.on(t, await other.uri('b'))]
    await victim.run(
      'SET ROLE NONE',
      'BEGIN',
      `ALTER ROLE CURRENT_USER IN DATABASE ${other.database} SET work_mem = '5MB'`
    )
    void attacker.wait(`DROP DATABASE ${other.database}`)
    const operator = await connect(t, server.adminUrl)
    await eventually(async () => {
      const waiting = `SELECT FROM pg_locks WHERE NOT granted AND clock_timestamp() - waitstart > interval '1.2 s'`
      return (await operator.query(waiting)).rows.length > 0
    }, 'it waits')
    const { holders } = await look(anchorOf(t, adminUrl).query)
    const offences = holders.map(({ login, offences }) => [login, offences])
    assert.deepEqual(
      offences.filter(([, rules]) => rules?.length !== 0),
      [[attacker.login, ['foreign-database']]]
    )
    await victim.run('ROLLBACK')
  })

  test(`anchor: with ${admin}, it keeps its locks when the lock table has no room for the next transaction`, async (t) => {
    const { provider, adminUrl } = await setUp(t, { admin, url: server.adminUrl })
    const mine = await instanceOf(t, provider)
    const flooder = await Tenant.on(t, await mine.uri('b'))
    const anchor = anchorOf(t, adminUrl)
    await look(anchor.query)
    await eventually(() => anchor.renew(), 'the connection of the next transaction is there')
    const flood = await flooder.wait('SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 200000) AS g')
    assert.equal(codeOf(flood), '53200')
    // Whether the next transaction gets its locks depends on the room that is left: either has them all.
    await anchor.renew()
    const { holders } = await look(anchor.query)
    assert.ok(holders.some(({ login, locks }) => login === flooder.login && locks > 1000))
  })

  test(`suspension: with ${admin}, another login that queues for the catalog does not delay it`, async (t) => {
    const { provider, adminUrl, sql } = await setUp(t, { admin, url: server.adminUrl })
    const mine = await instanceOf(t, provider)
    const [suspect, accomplice] = [await Tenant.on(t, await mine.uri('b')), await Tenant.on(t, await mine.uri('c'))]
    const admins = new AdminServer({ adminUrl })
    const [anchor, journal] = [new Anchor(admins), new Journal()]
    cleanUp(t, () => Promise.all([anchor.close(), admins.close()]))
    journal.begin({ log: keptLog().log, audit: async () => undefined }, [])
    const suspensions = new Suspensions(admins, anchor, journal)
    await look(anchor.query)
    await admins.aside.query('SELECT 1')
    // Waits for the anchor.
    const queued = accomplice.wait('CREATE RULE r AS ON INSERT TO pg_authid DO NOTHING')
    const waiting = 'SELECT FROM pg_lock_status() WHERE relation = 1260 AND NOT granted'
    // The anchor has all the locks that it needs; others would wait behind the accomplice.
    await eventually(async () => (await anchor.query(waiting)).length > 0, 'it waits')
    suspensions.add({ login: suspect.login, token: mine.token, rule: 'shared-catalog' })
    await suspensions.write(1_000_000)
    assert.deepEqual(await sql('SELECT rolcanlogin AS may FROM pg_roles WHERE rolname = $1', [suspect.login]), [
      { may: false }
    ])
    assert.equal(codeOf(await queued), '57P01')
  })

  test(`bind: with ${admin}, a session that uses what another binding has created goes on`, async (t) => {
    const { mine, lines, sql } = await guarded(t, { admin, url: server.adminUrl })
    const [maker, honest] = [await Tenant.on(t, await mine.uri('maker')), await Tenant.on(t, await mine.uri('b'))]
    await maker.run('SET ROLE NONE', 'CREATE TABLE stray (id int)')
    await honest.run('BEGIN', 'SELECT FROM stray')
    await mine.bind('another')
    await honest.assertAlive()
    assert.deepEqual(acts(lines), [])
    await honest.run('COMMIT')
    await mine.bind('yet another')
    const left = await sql(`SELECT FROM pg_shdepend WHERE deptype = 'o' AND refobjid = '${maker.login}'::regrole
      AND classid = 'pg_class'::regclass`)
    assert.deepEqual(left, [])
  })
}

test('anchor: it makes way for an operator, and has its locks again afterwards', async (t) => {
  const { adminUrl } = await setUp(t, { url: server.adminUrl })
  const anchor = anchorOf(t, adminUrl)
  await look(anchor.query)
  const operator = await connect(t, server.adminUrl)
  const locked = operator.query(
    `SET lock_timeout = '20s'; BEGIN; LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE; COMMIT`
  )
  await eventually(async () => (await look(anchor.query)).waitedFor, 'the operator waits')
  await anchor.giveWay()
  await locked
  await look(anchor.query)
  const held = await operator.query(
    `SELECT FROM pg_locks WHERE relation = 'pg_authid'::regclass AND granted AND pid <> pg_backend_pid()`
  )
  assert.equal(held.rows.length, 1)
})

test('excess: many small holders of one instance do not cause the end of the largest holder, which is of another', () => {
  const holder = (token: string, locks: number): Holder => ({
    holder: `${token} ${locks}`,
    pid: 1,
    gid: null,
    userId: '1',
    login: `osb_b_${token}`,
    database: `osb_d_${token}`,
    token,
    startedAt: null,
    transaction: null,
    offences: [],
    shared: false,
    locks,
    lockLimit: null
  })
  const small = Array.from({ length: 39 }, () => holder('many', 100))
  const dump = holder('dump', 1100)
  const { holders, floods } = excess({ holders: [dump, ...small], locks: 5000, capacity: 6400 })
  assert.deepEqual(
    holders.map(({ token }) => token),
    ['many', 'many']
  )
  assert.deepEqual([...floods], [])
})
