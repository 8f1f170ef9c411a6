import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'pg'
import { codeOf } from '../../../src/postgres/index.ts'
import { Anchor } from '../../../src/providers/postgresql/guard/anchor.ts'
import { look } from '../../../src/providers/postgresql/guard/look.ts'
import { AdminServer } from '../../../src/providers/postgresql/server.ts'
import { eventually, guarded, Tenant } from './guard-scene.ts'
import { OwnServer } from './own-server.ts'
import { adminKinds, cleanUp, connect, instanceOf, type Scene, setUp } from './support.ts'

const server = new OwnServer({ max_connections: '60', max_prepared_transactions: '2' })

before(() => server.start())
after(() => server.remove())

for (const admin of adminKinds) {
  test(`anchor: with ${admin}, a tenant that waits for a catalog keeps the next transaction from it, not the guard`, async (t) => {
    const scene = await setUp(t, { admin, url: server.adminUrl })
    const mine = await instanceOf(t, scene.provider)
    const [holder, attacker] = [await Tenant.on(t, await mine.uri('b')), await Tenant.on(t, await mine.uri('c'))]
    const anchor = anchorOf(t, scene)
    await anchor.query('SELECT')
    await eventually(() => anchor.renew(), 'the second connection is there, and the first transaction renewed')
    await holder.run('BEGIN', 'SELECT FROM pg_roles LIMIT 1')
    const attack = attacker.wait('CREATE RULE r AS ON INSERT TO pg_catalog.pg_authid DO NOTHING')
    const waiting = async () => {
      const { holders } = await look(anchor.query)
      return holders.find(({ offences }) => offences.includes('shared-catalog'))
    }
    await eventually(async () => (await waiting()) !== undefined, 'it waits for the anchor')
    assert.equal(await anchor.renew(), false)
    const found = await waiting()
    assert.equal(found?.login, attacker.login)
    await anchor.query('SELECT pg_terminate_backend($1)', [found?.pid])
    assert.equal(codeOf(await attack), '57P01')
    await eventually(() => anchor.renew(), 'the transaction is renewed after the attack')
  })

  test(`anchor: with ${admin}, a transaction that gets no locks can be begun again on the same connection`, async (t) => {
    const scene = await setUp(t, { admin, url: server.adminUrl })
    const anchor = anchorOf(t, scene)
    await anchor.query('SELECT')
    const before = await pidOf(anchor)
    const operator = await connect(t, server.adminUrl)
    await anchor.giveWay()
    await operator.query('BEGIN; LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE')
    await assert.rejects(anchor.query('SELECT'), { code: '55P03' })
    await operator.query('ROLLBACK')
    assert.equal(await pidOf(anchor), before)
    assert.equal((await look(anchor.query)).waitedFor, false)
  })

  test(`look: with ${admin}, a session that waits for a prepared transaction is found while the lock table is full`, async (t) => {
    const scene = await setUp(t, { admin, url: server.adminUrl })
    const mine = await instanceOf(t, scene.provider)
    const [preparing, waiting] = [await Tenant.on(t, await mine.uri('b')), await Tenant.on(t, await mine.uri('c'))]
    const anchor = anchorOf(t, scene)
    await anchor.query('SELECT')
    await preparing.run(
      'SET ROLE NONE',
      'BEGIN',
      'SELECT count(pg_advisory_xact_lock(g)) FROM generate_series(1, 3000) AS g',
      `PREPARE TRANSACTION 'many'`
    )
    cleanUp(t, async () => {
      await preparing.client.query('SELECT pg_advisory_unlock_all()')
      await preparing.client.query(`ROLLBACK PREPARED 'many'`)
    })
    const wait = waiting.wait('SELECT pg_advisory_xact_lock(1)')
    const flood = preparing.run('SELECT count(pg_advisory_lock(2, g)) FROM generate_series(1, 100000) AS g')
    await assert.rejects(flood, { code: '53200' })
    const locksOf = async () => {
      const { holders } = await look(anchor.query)
      return holders.find(({ pid }) => pid === null)
    }
    // A waiter is looked at after a second.
    await sleep(1_500)
    const prepared = await locksOf()
    assert.equal(prepared?.gid, 'many')
    assert.ok(prepared.locks >= 3000)
    const [own] = await anchor.query('SELECT pid FROM pg_stat_get_activity(NULL) WHERE wait_event = $1', ['advisory'])
    await anchor.query('SELECT pg_terminate_backend($1)', [own?.pid])
    assert.equal(codeOf(await wait), '57P01')
  })

  test(`anchor: with ${admin}, a closed one leaves no connection, not even of a statement that runs`, async (t) => {
    const scene = await setUp(t, { admin, url: server.adminUrl })
    const others = await guardSessions(scene.sql)
    const anchor = anchorOf(t, scene)
    await anchor.query('SELECT')
    await eventually(() => anchor.renew(), 'the second connection is there')
    assert.equal(await guardSessions(scene.sql), others + 2)
    const running = anchor.query('SELECT pg_sleep(60)')
    running.catch(() => undefined)
    await anchor.close()
    await assert.rejects(running)
    await assert.rejects(anchor.query('SELECT'), /The guard has stopped/)
    await eventually(async () => (await guardSessions(scene.sql)) === others, 'its sessions have gone')
  })

  test(`anchor: with ${admin}, an operator waits for the guard no longer than for a moment, without an attack`, async (t) => {
    const { other } = await guarded(t, { admin, url: server.adminUrl })
    const operator = await connect(t, server.adminUrl)
    for (let tries = 0; tries < 3; tries++) await lockRoles(operator)
    assert.match(await other.uri('b'), /^postgresql:/)
  })
}

function anchorOf(t: TestContext, { adminUrl }: Pick<Scene, 'adminUrl'>): Anchor {
  const admins = new AdminServer({ adminUrl })
  const anchor = new Anchor(admins)
  cleanUp(t, () => Promise.all([anchor.close(), admins.close()]))
  return anchor
}

async function pidOf(anchor: Anchor): Promise<unknown> {
  const [row] = await anchor.query('SELECT pg_backend_pid() AS pid')
  return row?.pid
}

async function guardSessions(sql: Scene['sql']): Promise<number> {
  const [row] = await sql(`SELECT count(*)::int AS count FROM pg_stat_activity WHERE application_name = 'osb:guard'`)
  return Number(row?.count)
}

async function lockRoles(operator: Client): Promise<void> {
  await operator.query(`SET lock_timeout = '20s'; BEGIN; LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE; COMMIT`)
}
