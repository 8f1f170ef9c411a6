import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { noEnqueue, provisionStart } from '../records.ts'
import { freshStore } from './fresh-store.ts'

/** How long the server stays full, in milliseconds: longer than several tries, and shorter than a call may take. */
const FULL_MS = 700

/** Fills the lock table of the server with advisory locks, which end with the session. */
async function fillLockTable(connectionString: string): Promise<pg.Client> {
  const hog = new pg.Client({ connectionString })
  await hog.connect()
  for (let locks = 0; ; locks += 1_000) {
    try {
      await hog.query('SELECT count(pg_advisory_lock($1::int + n)) FROM generate_series(1, 1000) AS n', [locks])
    } catch (error) {
      assert.equal(error instanceof pg.DatabaseError && error.code, '53200')
      return hog
    }
  }
}

test('a full lock table: a write waits until there is room, and keeps its connection', async (t) => {
  const { store, pool, meddler, url } = await freshStore(t)
  await store.getInstance('i-1')
  const { rows: before } = await pool.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
  await meddler.query('SELECT 1')
  const hog = await fillLockTable(url)
  let ended = false
  const writing = store.start(provisionStart(), noEnqueue).finally(() => {
    ended = true
  })
  await sleep(FULL_MS)
  assert.equal(ended, false)
  await hog.end()
  assert.equal(await writing, 'started')
  assert.equal((await store.getInstance('i-1'))?.instanceId, 'i-1')
  const { rows: after } = await pool.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
  assert.deepEqual(after, before)
})

test('a full lock table: a call that waits in vain gives Unavailable', async (t) => {
  const { store, url } = await freshStore(t)
  await store.getInstance('i-1')
  const hog = await fillLockTable(url)
  t.after(() => hog.end())
  const start = provisionStart()
  await assert.rejects(store.start(start, noEnqueue), { name: 'Unavailable' })
  await hog.end()
  assert.equal(await store.getInstance('i-1'), undefined)
  assert.equal(await store.start(start, noEnqueue), 'started')
})
