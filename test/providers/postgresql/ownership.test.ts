import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import type { Client } from 'pg'
import { forbiddenKinds, objectKinds } from './objects.ts'
import { adminKinds, cleanUp, connect, instanceOf, scalar, setUp } from './support.ts'

const run = promisify(execFile)

/** What a session, or the pooler before it, may have done to its role before it makes things. */
const sessionStates = ['SELECT 1', 'SET ROLE NONE', 'DISCARD ALL', 'RESET ROLE', 'RESET ALL']

for (const admin of adminKinds) {
  test(`ownership: with ${admin}, objects in a schema that the owner has no right to outlive their binding`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider)
    const maker = await connect(t, await instance.uri('maker'))
    await maker.query(`SET ROLE NONE; CREATE SCHEMA closed; CREATE TABLE closed.kept (id serial); CREATE VIEW closed.seen AS SELECT 1;
      REVOKE ALL ON SCHEMA closed FROM osb_o_${instance.token}`)
    const heir = await connect(t, await instance.uri('heir'))
    await heir.query('DROP VIEW closed.seen')
    await instance.unbind('maker')
    await heir.query('INSERT INTO closed.kept DEFAULT VALUES; DROP SCHEMA closed CASCADE')
  })

  for (const state of sessionStates) {
    test(`ownership: with ${admin}, after ${state}, every kind of object is the next binding's to alter and drop`, async (t) => {
      const { provider } = await setUp(t, { admin })
      const instance = await instanceOf(t, provider)
      const maker = await connect(t, await instance.uri('maker'))
      await maker.query(state)
      await each(maker, 'create')
      const changer = await connect(t, await instance.uri('changer'))
      await each(changer, 'alter')
      await each(changer, 'drop')
      assert.deepEqual(await left(changer), [])
    })

    test(`ownership: with ${admin}, after ${state}, every kind of object outlives the binding that made it`, async (t) => {
      const { provider } = await setUp(t, { admin })
      const instance = await instanceOf(t, provider)
      const changer = await connect(t, await instance.uri('changer'))
      const maker = await connect(t, await instance.uri('maker'))
      await maker.query(state)
      await each(maker, 'create')
      await instance.unbind('maker')
      await each(changer, 'alter')
      await each(changer, 'drop')
      assert.deepEqual(await left(changer), [])
    })
  }

  test(`ownership: with ${admin}, what only superusers may make is refused in every state`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const client = await connect(t, await (await instanceOf(t, provider)).uri('b'))
    await client.query(`CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS 'SELECT 1'`)
    for (const state of sessionStates) {
      await client.query(state)
      for (const [kind, statement] of Object.entries(forbiddenKinds)) {
        // The language is not installed everywhere
        await assert.rejects(client.query(statement), { code: /^(42501|0A000|58P01)$/ }, kind)
      }
    }
  })
}

for (const options of [[], ['--no-owner', '--no-privileges']]) {
  test(`ownership: a dump (${options.join(' ') || 'as it is'}) restored elsewhere is every binding's to alter and drop`, async (t) => {
    const { provider } = await setUp(t)
    const [from, to] = [await instanceOf(t, provider), await instanceOf(t, provider)]
    const maker = await connect(t, await from.uri('maker'))
    await each(maker, 'create')
    await maker.query('SET ROLE NONE; CREATE TABLE stray (id int); RESET ROLE')
    const pgDump = await programFor(t, maker)
    if (pgDump === undefined) return
    const folder = mkdtempSync(join(tmpdir(), 'osb-dump-'))
    cleanUp(t, () => rmSync(folder, { recursive: true }))
    const file = join(folder, 'dump.sql')
    await from.bind('dumper')
    await run(pgDump, [...options, '--file', file, await from.uri('dumper')])
    // The other's roles are not there: psql goes on, and what it makes is the restoring session's
    await run('psql', ['--no-psqlrc', '--quiet', '--file', file, await to.uri('restorer')])
    const changer = await connect(t, await to.uri('changer'))
    await each(changer, 'alter')
    await each(changer, 'drop')
    await changer.query('DROP TABLE stray')
    assert.deepEqual(await left(changer), [])
    await from.deprovision()
  })
}

async function each(client: Client, step: 'create' | 'alter' | 'drop'): Promise<void> {
  for (const object of objectKinds) {
    for (const statement of object[step].split(/;\s+(?=[A-Z])(?!END)/)) {
      await client.query(statement).catch((error) => {
        throw new Error(`${step} ${object.kind}: ${error.message} (${error.code})`, { cause: error })
      })
    }
  }
}

/** Objects in the tenant's schemas, by what the catalog calls them. */
async function left(client: Client): Promise<unknown[]> {
  const { rows } = await client.query(
    `SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
     UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
     UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
     UNION ALL SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$|^public$'
     UNION ALL SELECT oid::text FROM pg_largeobject_metadata`
  )
  return rows
}

/** A pg_dump that is as new as the server: an older one refuses. */
async function programFor(t: TestContext, client: Client): Promise<string | undefined> {
  const major = Number(String(await scalar(client, 'SHOW server_version')).split('.')[0])
  const folders = (process.env.PG_BIN_DIRS ?? '').split(delimiter).filter((folder) => folder !== '')
  for (const program of ['pg_dump', ...folders.map((folder) => join(folder, 'pg_dump'))]) {
    const version = await run(program, ['--version']).catch(() => undefined)
    if (Number(/ (\d+)/.exec(version?.stdout ?? '')?.[1]) >= major) return program
  }
  t.skip(`needs a pg_dump of PostgreSQL ${major} or later on the path, or in PG_BIN_DIRS`)
  return undefined
}
