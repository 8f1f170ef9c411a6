import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Client } from 'pg'
import {
  type AdminKind,
  adminKinds,
  cleanUp,
  connect,
  type Instance,
  instanceOf,
  scalar,
  setUp,
  until
} from './support.ts'

/** An instance with a session of its tenant, and one of a superuser in its database. */
async function scene(t: TestContext, admin: AdminKind) {
  const { provider, sql } = await setUp(t, { admin })
  const instance = await instanceOf(t, provider)
  const tenant = await connect(t, await instance.uri('tenant'))
  const root = new URL((await setUp(t)).adminUrl)
  root.pathname = `/${instance.database}`
  return { instance, sql, tenant, superuser: await connect(t, root.href), owner: `osb_o_${instance.token}` }
}

async function repair(instance: Instance) {
  const findings = await instance.repair()
  return findings.map(({ finding, healed }) => [finding, healed])
}

/** Name of the role that owns `similarity(text, text)`. */
const ownerOfSimilarity = `SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE oid = 'public.similarity(text, text)'::regprocedure`

for (const admin of adminKinds) {
  test(`repair: with ${admin}, range types are no findings, and their functions cannot be swapped for those of an extension`, async (t) => {
    const { instance, tenant } = await scene(t, admin)
    const names = Array.from({ length: 120 }, (_, index) => `a${index}`)
    for (const name of names) await tenant.query(`CREATE TYPE ${name} AS RANGE (subtype = int4)`)
    await tenant.query(`CREATE TYPE similarity AS RANGE (subtype = text)`)
    let over = false
    const swap = (async () => {
      // As soon as the repair has handed over the first function, the tenant replaces the last.
      while (!over) {
        const [owner] = (await tenant.query(`SELECT proowner::regrole::text AS name FROM pg_proc WHERE proname = 'a0'`))
          .rows
        if (owner.name === `osb_o_${instance.token}`) break
      }
      await tenant.query('DROP TYPE similarity')
      await tenant.query('CREATE EXTENSION pg_trgm SCHEMA public')
    })()
    const found = await repair(instance).finally(() => {
      over = true
    })
    await swap
    assert.deepEqual(found, [])
    assert.deepEqual(await repair(instance), [])
    await assert.rejects(tenant.query('ALTER FUNCTION similarity(text, text) CALLED ON NULL INPUT'), { code: '42501' })
    for (const name of names) await tenant.query(`DROP TYPE ${name}`)
  })
}

test('repair: an object that the tenant swaps while ALTER waits for its lock keeps its owner', async (t) => {
  const { instance, tenant, superuser, sql } = await scene(t, 'superuser')
  await superuser.query(
    `CREATE FUNCTION public.similarity(text, text) RETURNS float4 LANGUAGE sql AS 'SELECT 1::float4'`
  )
  const repaired = repair(instance)
  // The schema belongs to the tenant, so it may drop what is in it.
  await tenant.query('BEGIN')
  await tenant.query('DROP FUNCTION public.similarity(text, text)')
  await tenant.query('CREATE EXTENSION pg_trgm SCHEMA public')
  const waits = `SELECT FROM pg_locks WHERE NOT granted AND classid = 'pg_proc'::regclass`
  await until(async () => (await sql(waits)).length > 0)
  await tenant.query('COMMIT')
  const [finding] = await repaired
  assert.match(String(finding?.[0]), /^routine public\.similarity\(text,text\) belongs to postgres/)
  assert.equal(await scalar(superuser, ownerOfSimilarity), 'postgres')
  await assert.rejects(tenant.query('ALTER FUNCTION similarity(text, text) CALLED ON NULL INPUT'), { code: '42501' })
  assert.deepEqual(await repair(instance), [])
})

/** What a superuser may keep in a schema of the tenant, and how the tenant would abuse it as its owner. */
const privileged: Record<string, { make: string; abuse: string }> = {
  'function of an event trigger': {
    make: `CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
      CREATE EVENT TRIGGER %s_ddl ON ddl_command_end EXECUTE FUNCTION public.on_ddl()`,
    abuse: `CREATE OR REPLACE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN
      IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN GRANT pg_read_server_files TO %s; END IF; END'`
  },
  'internal function': {
    make: `CREATE FUNCTION public.inner_add(int, int) RETURNS int LANGUAGE internal STRICT AS 'int4pl'`,
    abuse: 'ALTER FUNCTION public.inner_add(int, int) CALLED ON NULL INPUT'
  },
  'C function': {
    make: `CREATE FUNCTION public.library(internal) RETURNS internal LANGUAGE c STRICT AS '$libdir/dict_snowball', 'dsnowball_init'`,
    abuse: 'ALTER FUNCTION public.library(internal) CALLED ON NULL INPUT'
  },
  'function in an index of a superuser': {
    make: `CREATE FUNCTION public.fold(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
      CREATE SCHEMA kept; CREATE TABLE kept.t (body text); CREATE INDEX ON kept.t (public.fold(body))`,
    abuse: `CREATE OR REPLACE FUNCTION public.fold(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT current_user::text'`
  },
  'domain of a column of a superuser': {
    make: 'CREATE DOMAIN public.code AS text; CREATE SCHEMA kept2; CREATE TABLE kept2.t (body public.code)',
    abuse: 'ALTER DOMAIN public.code ADD CHECK (length(current_user) > 0)'
  },
  'view under a view of a superuser': {
    make: 'CREATE VIEW public.source AS SELECT 1 AS one; CREATE SCHEMA kept3; CREATE VIEW kept3.v AS SELECT * FROM public.source',
    abuse: 'CREATE OR REPLACE VIEW public.source AS SELECT length(current_user) AS one'
  },
  'materialized view of what only superusers read': {
    make: 'CREATE MATERIALIZED VIEW public.secrets AS SELECT rolname, rolpassword FROM pg_catalog.pg_authid',
    abuse: 'SELECT * FROM public.secrets'
  },
  'table with a trigger that runs as a superuser': {
    make: `CREATE SCHEMA kept4; CREATE TABLE public.entrance (statement text);
      CREATE FUNCTION kept4.run() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS 'BEGIN EXECUTE NEW.statement; RETURN NEW; END';
      CREATE TRIGGER runs BEFORE INSERT ON public.entrance FOR EACH ROW EXECUTE FUNCTION kept4.run()`,
    abuse: `INSERT INTO public.entrance VALUES ('GRANT pg_read_server_files TO %s')`
  },
  'table with a default that a superuser computes': {
    make: `CREATE SCHEMA kept5; CREATE FUNCTION kept5.secret() RETURNS text SECURITY DEFINER LANGUAGE sql AS 'SELECT current_user::text';
      CREATE TABLE public.computed (id int, made text DEFAULT kept5.secret())`,
    abuse: 'INSERT INTO public.computed (id) VALUES (1) RETURNING made'
  },
  'foreign table on a server of a superuser': {
    make: `CREATE EXTENSION postgres_fdw SCHEMA pg_catalog; CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
      CREATE FOREIGN TABLE public.remote (id int) SERVER elsewhere`,
    abuse: `ALTER FOREIGN TABLE public.remote OPTIONS (ADD table_name 'secret')`
  }
}

test('repair: objects that carry a right of a superuser stay his', async (t) => {
  const { instance, tenant, superuser, owner, sql } = await scene(t, 'superuser')
  for (const { make } of Object.values(privileged)) await superuser.query(make.replaceAll('%s', owner))
  cleanUp(t, () => superuser.query(`DROP EVENT TRIGGER ${owner}_ddl`))
  const findings = await repair(instance)
  for (const [name, { abuse }] of Object.entries(privileged)) {
    await t.test(name, async () => {
      await assert.rejects(tenant.query(abuse.replaceAll('%s', owner)), { code: '42501' })
    })
  }
  assert.deepEqual(findings, [])
  // The repair runs DDL as the superuser.
  await superuser.query('CREATE TABLE public.plain (id int)')
  assert.deepEqual(await repair(instance), [['table public.plain belongs to postgres', true]])
  assert.deepEqual(await sql(`SELECT pg_has_role($1, 'pg_read_server_files', 'MEMBER') AS gained`, [owner]), [
    { gained: false }
  ])
})

test('repair: what a superuser restored for the tenant is handed over with all that belongs to it', async (t) => {
  const { instance, tenant, superuser, owner } = await scene(t, 'superuser')
  await superuser.query(`
    CREATE TYPE public.mood AS ENUM ('good'); CREATE DOMAIN public.email AS text CHECK (value LIKE '%@%');
    CREATE TYPE public.span AS RANGE (subtype = int4); CREATE TYPE public.pair AS (a int, b int);
    CREATE FUNCTION public.fold(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1)';
    CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TABLE public.people (id serial PRIMARY KEY, boss int REFERENCES public.people, feels public.mood,
      mail public.email, body text DEFAULT public.fold('X'));
    CREATE INDEX ON public.people (public.fold(body));
    CREATE VIEW public.happy AS SELECT * FROM public.people WHERE feels = 'good';
    CREATE MATERIALIZED VIEW public.counted AS SELECT count(*) FROM public.happy;
    CREATE TABLE public.parted (id int) PARTITION BY RANGE (id);
    CREATE TABLE public.part PARTITION OF public.parted FOR VALUES FROM (0) TO (9)`)
  await superuser.query(
    'CREATE TRIGGER touches BEFORE UPDATE ON public.people FOR EACH ROW EXECUTE FUNCTION public.touch()'
  )
  const findings = await repair(instance)
  assert.equal(findings.length, 11)
  assert.ok(findings.every(([, healed]) => healed))
  assert.deepEqual(await repair(instance), [])
  const { rows } = await superuser.query(
    `SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relowner <> $1::regrole
     UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typowner <> $1::regrole
       -- Before PostgreSQL 17, the multirange type does not go with its range type.
       AND typname NOT LIKE '%span_multirange'
     UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proowner <> $1::regrole
       AND proname NOT IN ('span', 'span_multirange', 'multirange', 'spanmultirange')`,
    [owner]
  )
  assert.deepEqual(rows, [])
  await tenant.query(`DROP MATERIALIZED VIEW counted; DROP VIEW happy; DROP TABLE people; DROP TABLE parted;
    DROP FUNCTION touch(); DROP FUNCTION fold(text); DROP TYPE mood; DROP DOMAIN email; DROP TYPE span; DROP TYPE pair`)
})

test('repair: more objects than one round reports are handed over, and objects that stay locked end it in time', async (t) => {
  const { instance, tenant, superuser } = await scene(t, 'superuser')
  await superuser.query(
    `DO $$ BEGIN FOR i IN 1..130 LOOP EXECUTE format('CREATE VIEW public.v%s AS SELECT 1', i); END LOOP; END $$`
  )
  const findings = await repair(instance)
  assert.equal(findings.length, 130)
  assert.ok(findings.every(([, healed]) => healed))
  await superuser.query(
    `DO $$ BEGIN FOR i IN 1..100 LOOP EXECUTE format('CREATE TABLE public.t%s ()', i); END LOOP; END $$`
  )
  await tenant.query('BEGIN')
  await tenant.query(`DROP TABLE ${Array.from({ length: 100 }, (_, index) => `public.t${index + 1}`).join(', ')}`)
  const began = performance.now()
  const locked = await repair(instance)
  assert.ok(performance.now() - began < 60_000, 'it would wait 100 times, a second each')
  assert.equal(locked.length, 100)
  assert.ok(
    locked.every(
      ([finding, healed]) => !healed && /\((it is locked|the repair ran out of time)\)$/.test(String(finding))
    )
  )
  await tenant.query('COMMIT')
  assert.deepEqual(await repair(instance), [])
})

test('repair: tables of a login are handed over with few locks at a time', async (t) => {
  const { instance, tenant, owner, sql } = await scene(t, 'superuser')
  await tenant.query('SET ROLE NONE')
  for (const [name, work] of [
    ['repaired', () => instance.repair()],
    ['bound', () => instance.bind('next')]
  ] as const) {
    await makeTables(tenant, 1000, name)
    let most = 0
    let over = false
    const watching = (async () => {
      while (!over) {
        const [row] = await sql(`SELECT count(*)::int AS locks FROM pg_locks WHERE mode = 'AccessExclusiveLock'`)
        most = Math.max(most, Number(row?.locks))
      }
    })()
    await work().finally(() => {
      over = true
    })
    await watching
    // Each table has an index, and a TOAST table with an index: 4,000 in all
    assert.ok(most > 0 && most < 1000, `${most} locks`)
    const owned = `SELECT count(*)::int FROM pg_tables WHERE tableowner = '${owner}' AND tablename LIKE '${name}%'`
    assert.equal(await scalar(tenant, owned), 1000)
  }
})

async function makeTables(client: Client, count: number, name: string): Promise<void> {
  await client.query(`DO $$ BEGIN
    FOR i IN 1..${count} LOOP
      EXECUTE format('CREATE TABLE public.${name}%s (body text PRIMARY KEY)', i);
      IF i % 100 = 0 THEN COMMIT; END IF;
    END LOOP;
  END $$`)
}
