import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { openStatePool } from '../../../src/stores/postgres/index.ts'
import { inTransaction, read } from '../../../src/stores/postgres/transactions.ts'
import { OwnServer } from '../../providers/postgresql/own-server.ts'
import { cleanUp, connect } from '../../providers/postgresql/support.ts'

const server = new OwnServer({ max_connections: '20', max_locks_per_transaction: '10' })

before(() => server.start())
after(() => server.remove())

/** Takes every entry of the lock table; the result gives them back. */
async function fillLockTable(t: TestContext): Promise<() => Promise<unknown>> {
  const tenant = await connect(t, server.adminUrl)
  await tenant.query(`DO $$ BEGIN FOR i IN 1..200000 LOOP PERFORM pg_advisory_lock(i); END LOOP;
    EXCEPTION WHEN out_of_memory THEN NULL; END $$`)
  const { rows } = await tenant.query(`SELECT count(*)::int AS count FROM pg_locks WHERE locktype = 'advisory'`)
  assert.ok(rows[0]?.count > 100)
  return () => tenant.query('SELECT pg_advisory_unlock_all()')
}

/** Needs entries of the lock table, because locks on shared catalogs have no other place. */
const LOCKING = 'SELECT count(*)::int AS roles FROM pg_roles, pg_auth_members'

test('store: a transaction is repeated until the lock table has room, on the same connection', async (t) => {
  const pool = statePool(t)
  const before = await pidOf(pool)
  const release = await fillLockTable(t)
  let tries = 0
  const rows = await inTransaction(pool, async (sql) => {
    tries += 1
    if (tries === 3) await release()
    return await sql.query(LOCKING)
  })
  assert.equal(rows.length, 1)
  assert.equal(tries, 3)
  assert.equal(await pidOf(pool), before)
})

test('store: a read is repeated until the lock table has room', async (t) => {
  const pool = statePool(t)
  await pidOf(pool)
  const release = await fillLockTable(t)
  let done = false
  const reading = read(pool, LOCKING).finally(() => {
    done = true
  })
  await sleep(300)
  assert.equal(done, false)
  await release()
  assert.equal((await reading).length, 1)
})

test('store: a lock table that stays full is Unavailable', async (t) => {
  const pool = statePool(t)
  await pidOf(pool)
  const release = await fillLockTable(t)
  await assert.rejects(
    inTransaction(pool, (sql) => sql.query(LOCKING)),
    Unavailable
  )
  await release()
  assert.equal((await read(pool, LOCKING)).length, 1)
})

function statePool(t: TestContext): Pool {
  const pool = openStatePool({ text: server.adminUrl, name: 'DATABASE_URL' }, { max: 1 })
  cleanUp(t, () => pool.end())
  return pool
}

async function pidOf(pool: Pool): Promise<number | undefined> {
  const [row] = await read<{ pid: number }>(pool, 'SELECT pg_backend_pid() AS pid')
  return row?.pid
}
