import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import type { Client } from 'pg'
import { temporaryFolder } from '../../server/broker-process.ts'
import { majorServer, stopMajorServer } from './major-server.ts'
import { type AdminKind, adminKinds, cleanUp, connect, Instance, leftovers, scalar, setUp } from './support.ts'
import { plant } from './traps.ts'

after(stopMajorServer)

const run = promisify(execFile)

type Scene = NonNullable<Awaited<ReturnType<typeof scene>>>

for (const admin of adminKinds) {
  test(`deprovision: with ${admin}, the dump of a hostile database runs nothing of the tenant, and restores`, async (t) => {
    const found = await scene(t, admin)
    if (found === undefined) return
    const { instance, tenant, sql, adminUrl } = found
    await plant(tenant)
    await requireTraps(t, adminUrl, instance)
    const told: object[] = []
    const note = (fields: object) => void told.push(fields)
    const removal = instance.deprovision({ log: { debug() {}, info() {}, warn: note, error: note } })
    await removal.catch((error: unknown) => assert.fail(`${error} ${JSON.stringify(told)}`))
    assert.deepEqual(told, [])
    assert.deepEqual(await leftovers(sql, instance.token), [])
    const { owner: restored } = await restore(t, found)
    assert.equal(await scalar(restored, 'SELECT count(*)::int FROM public.traps'), 2)
    assert.equal(await scalar(restored, 'SELECT count(*)::int FROM public.part'), 1)
    assert.equal(await scalar(restored, `SELECT convert_from(lo_get(4711), 'UTF8')`), 'large')
    assert.match(String(await scalar(restored, `SELECT obj_description('public.traps'::regclass)`)), /touch/)
  })
}

test('operations: none runs a function of the tenant in a hostile database', async (t) => {
  for (const admin of adminKinds) {
    const { provider, adminUrl, sql } = await setUp(t, { admin })
    const instance = new Instance(provider)
    cleanUp(t, () => instance.deprovision())
    await instance.provision()
    const tenant = await connect(t, await instance.uri('tenant'))
    await plant(tenant)
    await tenant.query('SET ROLE NONE')
    await tenant.query('CREATE TABLE stray (id int DEFAULT public.spy(1)); CREATE INDEX ON stray (public.spy(id))')
    await tenant.query(`ALTER ROLE CURRENT_USER SET search_path = public, pg_catalog`)
    await requireTraps(t, adminUrl, instance)
    const findings = await instance.repair()
    assert.deepEqual(
      findings.map(({ finding, healed }) => [finding.replace(/ osb_.*/, ''), healed]),
      [
        ['has its own search_path', true],
        ['has objects of', true]
      ]
    )
    await tenant.query('CREATE TABLE stray2 (id int DEFAULT public.spy(1)); CREATE INDEX ON stray2 (public.spy(id))')
    await instance.bind('another')
    instance.options = { extensions: ['citext'], connection_limit: 20 }
    instance.parameters = { extensions: ['citext'] }
    await instance.update(instance.options)
    await instance.watch()
    await instance.describe()
    for (const binding of ['another', 'tenant']) await instance.unbind(binding)
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  }
})

test('deprovision: rows behind FORCE ROW LEVEL SECURITY are in the dump, or the database is kept', async (t) => {
  for (const admin of adminKinds) {
    const found = await scene(t, admin)
    if (found === undefined) return
    const { instance, tenant, sql, folder, adminUrl } = found
    await tenant.query(`CREATE TABLE hidden (id int); INSERT INTO hidden VALUES (1), (2);
      CREATE FUNCTION look() RETURNS boolean LANGUAGE sql AS 'SELECT false';
      CREATE POLICY nothing ON hidden USING (look());
      ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; ALTER TABLE hidden FORCE ROW LEVEL SECURITY`)
    if (admin !== 'superuser') {
      const told: object[] = []
      const note = (fields: object) => void told.push(fields)
      await assert.rejects(instance.deprovision({ log: { debug() {}, info() {}, warn: note, error: note } }), {
        status: 500,
        message: 'The backup before the removal failed, and the database is kept.'
      })
      assert.match(JSON.stringify(told), /query would be affected by row-level security policy for table .{2}hidden/)
      assert.deepEqual(readdirSync(folder), [])
      // As docs/postgresql.md tells the operator
      const admin = new URL(adminUrl).username
      await sql(`ALTER ROLE ${admin} BYPASSRLS`)
      cleanUp(t, () => sql(`ALTER ROLE ${admin} NOBYPASSRLS`))
    }
    await instance.deprovision()
    const { superuser: restored } = await restore(t, found)
    assert.equal(await scalar(restored, 'SELECT count(*)::int FROM public.hidden'), 2)
    assert.equal(await scalar(restored, `SELECT relforcerowsecurity FROM pg_class WHERE relname = 'hidden'`), true)
  }
})

test('deprovision: a prepared transaction that locks a table does not keep the dump from being taken', async (t) => {
  const found = await scene(t, 'superuser')
  if (found === undefined) return
  const { instance, tenant, sql, folder } = found
  await tenant.query('CREATE TABLE kept AS SELECT 1 AS id')
  await tenant.query('BEGIN')
  await tenant.query('LOCK TABLE kept; INSERT INTO kept VALUES (2)')
  await tenant.query(`PREPARE TRANSACTION 'locks'`)
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
  assert.equal(readdirSync(folder).length, 1)
  const { owner } = await restore(t, found)
  assert.equal(await scalar(owner, 'SELECT count(*)::int FROM kept'), 1)
})

test('deprovision: a database with more tables than a dump may lock is kept, and the server goes on to work', async (t) => {
  const found = await scene(t, 'superuser')
  if (found === undefined) return
  const { instance, tenant, sql, folder } = found
  // Half of 16 * (100 + 4)
  await tenant.query(`DO $$ BEGIN
    FOR i IN 1..840 LOOP EXECUTE format('CREATE TABLE t%s ()', i); IF i % 50 = 0 THEN COMMIT; END IF; END LOOP;
  END $$`)
  const told: object[] = []
  const note = (fields: object) => void told.push(fields)
  await assert.rejects(instance.deprovision({ log: { debug() {}, info() {}, warn: note, error: note } }), {
    status: 500,
    message: 'The backup before the removal failed, and the database is kept.'
  })
  assert.match(JSON.stringify(told), /has 840 tables.*room for 1664 locks\. Increase max_locks_per_transaction/)
  assert.deepEqual(readdirSync(folder), [])
  assert.ok((await leftovers(sql, instance.token)).includes(instance.database))
})

/** An instance on a server of which there is a pg_dump of the same major version, with a session of its tenant. */
async function scene(t: TestContext, admin: AdminKind) {
  const server = await majorServer()
  if (server === undefined) {
    t.skip('needs a PostgreSQL server with pg_dump, in PG_BIN_DIRS')
    return undefined
  }
  const { bin, adminUrl: url } = server
  putOnPath(t, bin)
  const folder = join(temporaryFolder(t), 'dumps')
  mkdirSync(folder)
  const { provider, sql, adminUrl } = await setUp(t, { admin, url, backupDirectory: folder })
  const instance = new Instance(provider)
  // Another provider, without a backup that could fail
  const { provider: plain } = await setUp(t, { admin, url })
  cleanUp(t, () => Object.assign(new Instance(plain), { id: instance.id, states: instance.states }).deprovision())
  await instance.provision()
  const tenant = await connect(t, await instance.uri('tenant'))
  return { instance, tenant, sql, folder, adminUrl, rootUrl: url, program: join(bin, 'pg_restore') }
}

/** The traps work: an admin that reads from the tenant's objects, or looks up functions among them, calls the canary. */
async function requireTraps(t: TestContext, adminUrl: string, instance: Instance): Promise<void> {
  const url = new URL(adminUrl)
  url.pathname = `/${instance.database}`
  const admin = await connect(t, url.href)
  const caught = /canary as/
  await assert.rejects(admin.query('SELECT * FROM public.trap_view'), caught)
  await admin.query('SET search_path = public, pg_catalog')
  await assert.rejects(admin.query(`SELECT lower('x'::name)`), caught)
  await assert.rejects(admin.query(`SELECT pg_get_userbyid(10::oid)`), caught)
  await assert.rejects(admin.query(`SELECT 'x'::name = 'y'::text`), caught)
  await admin.end()
}

/** Restores a dump as a tenant would, because a restore calls the functions in it. */
async function restore(
  t: TestContext,
  { sql, folder, rootUrl, program }: Scene
): Promise<Record<'owner' | 'superuser', Client>> {
  const name = `osb_restored_${process.pid}`
  const remove = async () => {
    await sql(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
    await sql(`DROP ROLE IF EXISTS ${name}`)
  }
  await remove()
  await sql(`CREATE ROLE ${name} LOGIN PASSWORD 'restores'`)
  await sql(`CREATE DATABASE ${name} OWNER ${name} TEMPLATE template0`)
  cleanUp(t, remove)
  const url = new URL(rootUrl)
  url.pathname = `/${name}`
  const superuser = await connect(t, url.href)
  Object.assign(url, { username: name, password: 'restores' })
  const [file = ''] = readdirSync(folder)
  const options = ['--no-owner', '--no-privileges', '--exit-on-error']
  await run(program, [...options, '--dbname', url.href, join(folder, file)])
  return { superuser, owner: await connect(t, url.href) }
}

function putOnPath(t: TestContext, programs: string): void {
  const folder = join(temporaryFolder(t), 'programs')
  mkdirSync(folder)
  symlinkSync(join(programs, 'pg_dump'), join(folder, 'pg_dump'))
  const { PATH = '' } = process.env
  cleanUp(t, () => {
    process.env.PATH = PATH
  })
  process.env.PATH = `${folder}${delimiter}${PATH}`
}
