import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Rejected } from '../../../src/core/provider.ts'
import { stepFor } from '../../../src/providers/postgresql/storage/steps.ts'
import { fill, growsAnyway } from './storage.ts'
import { adminKinds, connect, Instance, instanceOf, leftovers, type Scene, scalar, setUp } from './support.ts'

const MB = 1024 ** 2
/** An empty database has about 8 MB. */
const small = { storage_quota: '12MB', connection_limit: 10 }

async function sizeOf(sql: Scene['sql'], { database }: Instance): Promise<number> {
  const [row] = await sql('SELECT pg_database_size($1)::int AS bytes', [database])
  return Number(row?.bytes)
}

for (const admin of adminKinds) {
  test(`quota: with ${admin}, used up means read and delete, whatever a session does, until there is room [row 29]`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, small)
    const uri = await instance.uri('writer')
    const readerUri = await instance.uri('reader', { role: 'reader' })
    const first = await connect(t, uri)
    await fill(first, 'big', 1)
    await instance.watch()
    assert.equal(await scalar(first, 'SELECT current_user'), `osb_o_${instance.token}`)
    await fill(first, 'big', 8)
    // Made without the role: its own, so that no right would have to be withheld
    await first.query('SET ROLE NONE; CREATE SCHEMA mine; CREATE TABLE mine.own (id int); RESET ROLE')
    await instance.watch()

    await assert.rejects(first.query('SELECT 1'), 'the session that could write has ended')
    const locked = await connect(t, uri)
    assert.equal(await scalar(locked, 'SELECT count(*)::int FROM big'), 18)
    const attempts = [
      'INSERT INTO big SELECT * FROM big',
      'UPDATE big SET body = body',
      'CREATE TABLE more (id int)',
      'CREATE TEMPORARY TABLE more (id int)',
      'CREATE SCHEMA more',
      'INSERT INTO mine.own VALUES (1)',
      `SET ROLE osb_o_${instance.token}`,
      `GRANT osb_o_${instance.token} TO CURRENT_USER`,
      `ALTER ROLE osb_o_${instance.token} CONNECTION LIMIT -1`,
      // A plain admin cannot prevent these, so that the database is closed when it grows by them
      ...(admin === 'superuser' ? ['SELECT lo_create(0)', "SELECT lo_from_bytea(0, 'more')"] : [])
    ]
    for (const state of ['SELECT 1', 'SET default_transaction_read_only = off', 'SET ROLE NONE', 'DISCARD ALL']) {
      await locked.query(state)
      for (const attempt of attempts) await assert.rejects(locked.query(attempt), { code: '42501' }, attempt)
    }
    const late = await connect(t, await instance.uri('late'))
    await assert.rejects(late.query('INSERT INTO big SELECT * FROM big'), { code: '42501' })
    assert.match((await instance.describe())?.notice ?? '', /^The storage quota is used up: bindings can only read/)
    const before = await sizeOf(sql, instance)
    assert.ok(before > 12 * MB)

    await instance.watch()
    assert.equal(await scalar(locked, 'SELECT 1'), 1, 'another round ends nobody')
    await locked.query('TRUNCATE big')
    await instance.watch()
    const lifted = await connect(t, uri)
    assert.equal(await scalar(lifted, 'SELECT current_user'), `osb_o_${instance.token}`)
    await lifted.query('CREATE TABLE more (id int); INSERT INTO mine.own VALUES (1); DROP TABLE big')
    assert.equal(
      await scalar(await connect(t, await instance.uri('late')), 'SELECT current_user'),
      `osb_o_${instance.token}`
    )
    const reader = await connect(t, readerUri)
    await reader.query('SET default_transaction_read_only = off')
    await assert.rejects(reader.query('TRUNCATE more'), { code: '42501' })
    assert.equal((await instance.describe())?.notice, undefined)
    assert.deepEqual(await instance.repair(false), [])
  })

  test(`quota: with ${admin}, a larger plan lifts it, and a locked instance is unbound and removed`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const instance = new Instance(provider)
    instance.options = small
    await instance.provision()
    const uri = await instance.uri('a')
    await instance.bind('b')
    await fill(await connect(t, uri), 'big', 8)
    await instance.watch()
    await assert.rejects((await connect(t, uri)).query('INSERT INTO big DEFAULT VALUES'), { code: '42501' })
    await instance.unbind('b')
    assert.deepEqual(await instance.update({ ...small, storage_quota: '1GB' }), {})
    await (await connect(t, uri)).query('INSERT INTO big DEFAULT VALUES')
    await instance.update({ ...small, storage_quota: '30MB' })
    await fill(await connect(t, uri), 'big', 25)
    await instance.watch()
    await assert.rejects((await connect(t, uri)).query('INSERT INTO big DEFAULT VALUES'), { code: '42501' })
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })

  test(`quota: with ${admin}, a locked database that goes on to grow is closed, and a larger plan opens it`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, small)
    const uri = await instance.uri('a')
    await instance.bind('other')
    const first = await connect(t, uri)
    await fill(first, 'big', 6)
    const grow = await growsAnyway(first)
    await instance.watch()
    const locked = await connect(t, uri)
    await locked.query(grow)
    await instance.watch()
    await assert.rejects(locked.query('SELECT 1'))
    await assert.rejects(connect(t, uri), { code: '42501' })
    await assert.rejects(instance.bind('new'), (error) => error instanceof Rejected && error.status === 400)
    await assert.rejects(instance.update({ ...small, work_mem: '8MB' }), { status: 422 })
    await instance.unbind('other')
    const logins = await sql('SELECT FROM pg_roles WHERE starts_with(rolname, $1)', [`osb_b_${instance.token}_`])
    assert.equal(logins.length, 1)
    await assert.rejects(connect(t, uri), { code: '42501' })
    assert.deepEqual(await instance.update({ ...small, storage_quota: '1GB' }), {})
    await (await connect(t, uri)).query('CREATE TABLE more (id int)')
    await instance.bind('new')
  })
}

test('quota: a locked instance that moves to a plan without a quota is unlocked', async (t) => {
  const { provider } = await setUp(t)
  const instance = await instanceOf(t, provider, small)
  const uri = await instance.uri('a')
  await fill(await connect(t, uri), 'big', 8)
  await instance.watch()
  await assert.rejects((await connect(t, uri)).query('INSERT INTO big DEFAULT VALUES'), { code: '42501' })
  await instance.update({ connection_limit: 10 })
  await (await connect(t, uri)).query('INSERT INTO big DEFAULT VALUES')
  assert.equal((await instance.describe())?.notice, undefined)
})

test('quota: what is in the middle of an operation is left to the next round', async (t) => {
  const { provider } = await setUp(t)
  const instance = await instanceOf(t, provider, small)
  const uri = await instance.uri('a')
  await fill(await connect(t, uri), 'big', 8)
  instance.unsettled.add('a')
  await instance.watch()
  const untouched = await connect(t, uri)
  await untouched.query('INSERT INTO big DEFAULT VALUES')
  instance.unsettled.delete('a')
  await instance.watch()
  await assert.rejects((await connect(t, uri)).query('INSERT INTO big DEFAULT VALUES'), { code: '42501' })
})

test('quota: the steps from one state to the next', () => {
  const usage = { connections: 0, mostOfABinding: 0, open: true, sealed: false, writable: false }
  const quota = 100 * MB
  const step = (megabytes: number, lockedAt?: number, more = {}) =>
    stepFor(
      { ...usage, bytes: megabytes * MB, lockedAtBytes: lockedAt === undefined ? undefined : lockedAt * MB, ...more },
      quota
    )
  assert.deepEqual([step(100), step(101)], [undefined, 'lock'])
  assert.deepEqual([step(101, 101), step(96, 101), step(95, 101)], [undefined, undefined, 'lift'])
  assert.deepEqual([step(117, 101), step(118, 101)], [undefined, 'close'])
  const closed = { open: false, sealed: true }
  assert.deepEqual([step(118, 101, closed), step(118, 101, { ...closed, sealed: false })], [undefined, 'close'])
  assert.equal(step(101, 101, { writable: true }), 'lock')
  assert.equal(stepFor({ ...usage, bytes: 500 * MB, lockedAtBytes: 101 * MB }, Number.POSITIVE_INFINITY), 'lift')
})

test('update: a plan with less than is used is refused with 422, which says by how much [row 28]', async (t) => {
  const { provider, sql } = await setUp(t)
  const instance = await instanceOf(t, provider, { connection_limit: 5, storage_quota: '1GB' })
  const uri = await instance.uri('a')
  const clients = await Promise.all([1, 2, 3].map(() => connect(t, uri)))
  const refused = (options: object, message: RegExp) =>
    assert.rejects(instance.update({ connection_limit: 5, storage_quota: '1GB', ...options }), (error) => {
      assert.ok(error instanceof Rejected)
      assert.equal(error.status, 422)
      assert.match(error.message, message)
      return true
    })
  await refused({ connection_limit: 1 }, /uses 3 connections, 1 more than the 2 that it allows\.$/)
  await refused({ connection_limit: 2 }, /uses 3 connections of one binding, 1 more than the 2 that it allows\.$/)
  if (clients[0] !== undefined) await fill(clients[0], 'big', 6)
  await refused(
    { storage_quota: '10MB' },
    /^The utilization is over the quota of the requested plan: the service instance uses 1\dMB of storage, \dMB more than the 10MB that it allows\.$/
  )
  const limit = await sql('SELECT datconnlimit AS n FROM pg_database WHERE datname = $1', [instance.database])
  assert.deepEqual(limit, [{ n: 10 }])
  await instance.update({ connection_limit: 3, storage_quota: '100MB' })
  assert.deepEqual(
    (await instance.describe())?.measures.map(({ name, used, limit: most }) => [
      name,
      name === 'storage' ? used > 10 * MB : used,
      most
    ]),
    [
      ['storage', true, 100 * MB],
      ['connections', 3, 6]
    ]
  )
})
