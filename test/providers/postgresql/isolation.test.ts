import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Client } from 'pg'
import { type Attack, attacksOn, type Targets } from './attacks.ts'
import {
  type AdminKind,
  adminKinds,
  cleanUp,
  connect,
  Instance,
  instanceOf,
  leftovers,
  type Scene,
  scalar,
  setUp
} from './support.ts'

/** As a session starts, and after it has thrown its role away. */
const sessionStates = { 'as the owner': 'RESET ROLE', 'as the login': 'SET ROLE NONE' }

/** Two tenants; a session of the first attacks, one of the second is open all the while. */
async function scene(t: TestContext, admin: AdminKind) {
  const { provider, sql, adminUrl } = await setUp(t, { admin })
  const [mine, other] = [await instanceOf(t, provider), await instanceOf(t, provider)]
  const client = await connect(t, await mine.uri('b'))
  const witness = await connect(t, await other.uri('b'))
  await witness.query('CREATE TABLE precious AS SELECT 1 AS id')
  const targets: Targets = {
    database: mine.database,
    owner: `osb_o_${mine.token}`,
    login: String(await scalar(client, 'SELECT session_user')),
    foreignDatabase: other.database,
    foreignOwner: `osb_o_${other.token}`,
    foreignLogin: String(await scalar(witness, 'SELECT session_user')),
    admin: new URL(adminUrl).username,
    foreignPid: Number(await scalar(witness, 'SELECT pg_backend_pid()')),
    file: join(tmpdir(), `osb-intruder-${process.pid}`)
  }
  return { sql, client, witness, targets }
}

for (const admin of adminKinds) {
  test(`isolation: with ${admin}, credentials open no other database`, async (t) => {
    const state = `state_${process.pid}_${admin.length}`
    const { sql: asSuperuser } = await setUp(t)
    await asSuperuser(`CREATE DATABASE ${state}`)
    cleanUp(t, () => asSuperuser(`DROP DATABASE ${state}`))
    if (admin !== 'superuser') await asSuperuser(`REVOKE CONNECT, TEMPORARY ON DATABASE ${state} FROM PUBLIC`)
    const { provider, sql } = await setUp(t, { admin, stateDatabase: state })
    const [mine, other] = [await instanceOf(t, provider), await instanceOf(t, provider)]
    for (const uri of [await mine.uri('b'), await mine.uri('r', { role: 'reader' })]) {
      for (const database of [other.database, state, 'postgres', 'template1', 'template0']) {
        const url = new URL(uri)
        url.pathname = `/${database}`
        const code = database === 'template0' ? '55000' : '42501'
        await assert.rejects(connect(t, url.href), { code }, database)
      }
    }
    assert.deepEqual(await sql('SELECT usename FROM pg_stat_activity WHERE datname = $1', [other.database]), [])
  })

  for (const [state, statement] of Object.entries(sessionStates)) {
    test(`isolation: with ${admin}, a session ${state} gets no more than its own`, async (t) => {
      const { sql, client, witness, targets } = await scene(t, admin)
      await client.query(`CREATE FUNCTION public.intrude() RETURNS int LANGUAGE sql AS 'SELECT 1'`)
      const before = await snapshot(sql, targets)
      const groups = Object.entries(attacksOn(targets))
      for (const [group, attacks] of groups) {
        for (const attack of attacks) {
          await client.query(`${statement}; SET statement_timeout = '10s'`)
          await deny(client, attack, group)
          assert.deepEqual(await snapshot(sql, targets), before, attack.sql)
        }
      }
      assert.equal(await scalar(witness, 'SELECT count(*)::int FROM precious'), 1)
      t.diagnostic(`${groups.flatMap(([, attacks]) => attacks).length} attacks`)
    })
  }

  test(`isolation: with ${admin}, a tenant's functions are not run by the admin`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const instance = new Instance(provider)
    instance.options = { storage_quota: '1GB' }
    await instance.provision()
    const client = await connect(t, await instance.uri('b'))
    for (const name of ['lower', 'format', 'set_config', 'starts_with', 'current_setting', 'pg_has_role']) {
      await client.query(
        `CREATE FUNCTION public.${name}(VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$
         BEGIN EXECUTE format('GRANT pg_read_server_files TO %I', session_user); RETURN 'x'; END $$`
      )
    }
    await client.query(`CREATE FUNCTION public.lower(name) RETURNS text LANGUAGE plpgsql AS $$
      BEGIN EXECUTE 'GRANT pg_read_server_files TO osb_o_${instance.token}'; RETURN 'x'; END $$`)
    await instance.bind('c')
    await instance.repair()
    await instance.update({ storage_quota: '1MB' }).catch(() => undefined)
    instance.options = { storage_quota: '1MB' }
    await instance.watch()
    instance.options = {}
    await instance.watch()
    await instance.unbind('b')
    await instance.update({})
    assert.deepEqual(
      await sql(`SELECT m.rolname FROM pg_auth_members am JOIN pg_roles m ON m.oid = am.member
                 WHERE am.roleid = 'pg_read_server_files'::regrole AND m.rolname LIKE 'osb%'`),
      []
    )
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })

  test(`isolation: with ${admin}, grants to another tenant's roles keep nobody from being removed [row 20]`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const [mine, other] = [new Instance(provider), new Instance(provider)]
    await Promise.all([mine.provision(), other.provision()])
    const victim = await connect(t, await other.uri('victim'))
    const login = await scalar(victim, 'SELECT session_user')
    const client = await connect(t, await mine.uri('b'))
    await client.query('CREATE TABLE bait (id int); ALTER TABLE bait ENABLE ROW LEVEL SECURITY')
    for (const role of [login, `osb_o_${other.token}`, `osb_r_${other.token}`]) {
      await client.query(`GRANT SELECT ON bait TO ${role}`)
      await client.query(`CREATE POLICY p_${role} ON bait TO ${role} USING (true)`)
      await client.query(`ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ${role}`)
    }
    await client.query(`SET ROLE NONE; CREATE SCHEMA own; CREATE TABLE own.bait (id int);
                        GRANT SELECT ON own.bait TO ${login}; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ${login}`)
    await other.unbind('victim')
    await other.deprovision()
    assert.deepEqual(await leftovers(sql, other.token), [])
    await mine.unbind('b')
    await mine.deprovision()
    assert.deepEqual(await leftovers(sql, mine.token), [])
  })

  test(`isolation: with ${admin}, nobody gets into a database between its creation and its closing`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const spy = await instanceOf(t, provider)
    const uri = new URL(await spy.uri('b'))
    const lister = await connect(t, uri.href)
    let watching = true
    let tries = 0
    const refusals = new Set<string>()
    const knock = async () => {
      while (watching) {
        const { rows } = await lister.query<{ datname: string }>(
          `SELECT datname FROM pg_database WHERE datname LIKE 'osb_d_%' AND datname <> current_database()`
        )
        for (const { datname } of rows) {
          uri.pathname = `/${datname}`
          const client = new Client({ connectionString: uri.href })
          client.on('error', () => undefined)
          tries += 1
          const refusal = await client.connect().then(
            () => `got into ${datname}`,
            (error) => String(error.code)
          )
          refusals.add(refusal)
          await client.end()
        }
      }
    }
    const knocking = knock()
    // On a busy machine a knock takes long, so there are as many databases as it takes for some knocks.
    for (let made = 0; made < 5 || (tries <= 10 && made < 100); made += 1) {
      const instance = new Instance(provider)
      await instance.provision()
      await instance.deprovision()
    }
    watching = false
    await knocking
    assert.ok(tries > 10)
    // Not open yet, no right, gone again
    assert.deepEqual(
      [...refusals].filter((code) => !['55000', '42501', '3D000'].includes(code)),
      []
    )
  })
}

test('isolation: what an attack would have changed is seen by the judge', async (t) => {
  const { sql, client, targets } = await scene(t, 'superuser')
  const before = await snapshot(sql, targets)
  const allowed = [
    [`ALTER ROLE ${targets.login} CREATEDB`, `ALTER ROLE ${targets.login} NOCREATEDB`],
    [
      `GRANT CONNECT ON DATABASE ${targets.foreignDatabase} TO ${targets.owner}`,
      `REVOKE CONNECT ON DATABASE ${targets.foreignDatabase} FROM ${targets.owner}`
    ],
    [
      `ALTER DATABASE ${targets.database} SET search_path = public`,
      `ALTER DATABASE ${targets.database} RESET search_path`
    ],
    [`GRANT ${targets.foreignOwner} TO ${targets.login}`, `REVOKE ${targets.foreignOwner} FROM ${targets.login}`],
    ['CREATE ROLE intruder', 'DROP ROLE intruder'],
    [`ALTER SYSTEM SET work_mem = '5MB'`, 'ALTER SYSTEM RESET work_mem'],
    [`COMMENT ON ROLE ${targets.foreignLogin} IS 'x'`, `COMMENT ON ROLE ${targets.foreignLogin} IS NULL`]
  ]
  for (const [change = '', back = ''] of allowed) {
    await sql(change)
    assert.notDeepEqual(await snapshot(sql, targets), before, change)
    await sql(back)
    assert.deepEqual(await snapshot(sql, targets), before, back)
  }
  await assert.rejects(deny(client, { sql: 'SELECT 1' }, 'none'), /was not refused/)
  await assert.rejects(deny(client, { sql: 'SELECT nothing' }, 'none'), /42703/)
})

test('unbind: ends a session that was kept open', async (t) => {
  const { provider } = await setUp(t)
  const instance = await instanceOf(t, provider)
  const client = await connect(t, await instance.uri('b'))
  const lost = new Promise<void>((resolve) => client.once('end', resolve))
  await client.query('BEGIN; CREATE TABLE unfinished (id int)')
  await instance.unbind('b')
  await lost
})

/** Refused, as the attack says. Some only warn: what counts is that nothing has changed. */
async function deny(client: Client, { sql, refusal = ['42501'] }: Attack, group: string): Promise<void> {
  const code = await client.query(sql).then(
    () => undefined,
    (error) => String(error.code)
  )
  if (code === undefined) assert.equal(refusal, 'warning', `${group}: ${sql} was not refused`)
  else if (refusal !== 'warning') assert.ok(refusal.includes(code), `${group}: ${sql} was refused with ${code}`)
}

/** Everything that an attack could have changed. */
async function snapshot(sql: Scene['sql'], targets: Targets) {
  const { database, owner, login, foreignDatabase, foreignOwner, foreignLogin, admin } = targets
  const names = [owner, login, foreignOwner, foreignLogin, admin, 'postgres', 'intruder', 'osb_tenant']
  const roles = await sql('SELECT * FROM pg_authid WHERE rolname = ANY ($1) ORDER BY oid', [names])
  const oids = roles.map(({ oid }) => oid)
  return {
    roles,
    // Without the admins of other test files, which come and go on a server that they share
    databases: await sql(
      `SELECT datname, datdba, ARRAY(SELECT entry::text FROM unnest(datacl) AS entry
         WHERE entry::text !~ '^plain_admin_' OR starts_with(entry::text, $3 || '=')) AS rights, datconnlimit, datallowconn, datistemplate, dattablespace FROM pg_database
       WHERE datname IN ($1, $2, 'postgres', 'template1', 'intruder') ORDER BY 1`,
      [database, foreignDatabase, admin]
    ),
    members: await sql(
      `SELECT roleid, member, admin_option FROM pg_auth_members
       WHERE roleid = ANY ($1) AND (member = ANY ($1) OR roleid <> ALL (SELECT oid FROM pg_roles WHERE rolname = 'osb_tenant'))
          OR member = ANY ($1) ORDER BY 1, 2`,
      [oids]
    ),
    settings: await sql(
      `SELECT coalesce(datname, '') AS datname, setrole, setconfig FROM pg_db_role_setting
       LEFT JOIN pg_database ON pg_database.oid = setdatabase
       WHERE setrole = ANY ($1) OR datname IN ($2, $3) OR (setrole = 0 AND setdatabase = 0) ORDER BY 1, 2`,
      [oids, database, foreignDatabase]
    ),
    comments: await sql('SELECT objoid, description FROM pg_shdescription WHERE objoid = ANY ($1) ORDER BY 1', [oids]),
    slots: await sql(`SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'intruder%'`),
    subscriptions: await sql(`SELECT subname FROM pg_subscription WHERE subname LIKE 'intruder%'`),
    origins: await sql(`SELECT roname FROM pg_replication_origin WHERE roname LIKE 'intruder%'`),
    tablespaces: await sql(`SELECT spcname FROM pg_tablespace WHERE spcname LIKE 'intruder%'`),
    files: await sql('SELECT name, setting, applied FROM pg_file_settings ORDER BY seqno'),
    written: existsSync(targets.file)
  }
}
