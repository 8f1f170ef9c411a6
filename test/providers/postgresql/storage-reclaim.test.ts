import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { fill } from './storage.ts'
import { adminKinds, connect, type Instance, instanceOf, scalar, setUp, until } from './support.ts'

const small = { storage_quota: '12MB', connection_limit: 10 }

/** Deletes all rows but the last, so that no page at the end of the file becomes empty. */
const deleteMost = (table: string) => `DELETE FROM ${table} WHERE ctid <> (SELECT max(ctid) FROM ${table})`

async function isLocked(instance: Instance): Promise<boolean> {
  return (await instance.describe())?.notice !== undefined
}

/** Watches until a state is reached: the server counts what a session has deleted only later. */
async function watchUntil(instance: Instance, condition: () => Promise<boolean>): Promise<void> {
  await until(async () => {
    await instance.watch()
    return await condition()
  })
}

for (const admin of adminKinds) {
  test(`locked database: with ${admin}, gets the space of deleted rows back, and is unlocked`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, small)
    const uri = await instance.uri('a')
    await fill(await connect(t, uri), 'big', 8)
    await instance.watch()
    const locked = await connect(t, uri)
    await locked.query(deleteMost('big'))
    await locked.end()
    await watchUntil(instance, async () => !(await isLocked(instance)))
    const lifted = await connect(t, uri)
    assert.equal(await scalar(lifted, 'SELECT count(*)::int FROM big'), 1)
    await lifted.query('INSERT INTO big DEFAULT VALUES')
  })

  test(`locked database: with ${admin}, the functions of an index and a table in use are left alone`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, small)
    const uri = await instance.uri('a')
    const readerUri = await instance.uri('reader', { role: 'reader' })
    const first = await connect(t, uri)
    for (const table of ['plain', 'used', 'indexed', 'partial', 'ranged']) await fill(first, table, 2)
    await first.query(
      `CREATE FUNCTION mine(bytea) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END';
       CREATE INDEX ON indexed (mine(body)); CREATE INDEX ON partial ((1)) WHERE mine(body) = 1;
       CREATE FUNCTION distance(int, int) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT 1';
       CREATE TYPE mine_range AS RANGE (SUBTYPE = int, SUBTYPE_DIFF = distance);
       ALTER TABLE ranged ADD r mine_range; CREATE INDEX ON ranged USING gist (r)`
    )
    await instance.watch()
    const reader = await connect(t, readerUri)
    await reader.query('BEGIN; SELECT count(*) FROM used')
    const filesOf = () => files(t, uri)
    const before = await filesOf()
    const locked = await connect(t, uri)
    for (const table of Object.keys(before)) await locked.query(deleteMost(table))
    await locked.end()
    const rewritten = async () => {
      const now = await filesOf()
      return Object.keys(before).filter((table) => now[table] !== before[table])
    }
    await watchUntil(instance, async () => (await rewritten()).length > 0)
    assert.deepEqual(await rewritten(), ['plain'])
    assert.equal(await scalar(reader, 'SELECT count(*)::int FROM used'), 1, 'the reader was not put out')
    await reader.query('COMMIT')
    await watchUntil(instance, async () => (await rewritten()).length > 1)
    assert.deepEqual(await rewritten(), ['plain', 'used'])
  })
}

/** The file of each table, which a rewrite replaces. */
async function files(t: TestContext, uri: string): Promise<Record<string, unknown>> {
  const client = await connect(t, uri)
  const { rows } = await client.query<{ name: string; file: number }>(
    `SELECT relname AS name, relfilenode AS file FROM pg_class
     WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname`
  )
  await client.end()
  return Object.fromEntries(rows.map(({ name, file }) => [name, file]))
}
