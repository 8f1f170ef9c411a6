import assert from 'node:assert/strict'
import { test } from 'node:test'
import { adminKinds, cleanUp, connect, Instance, instanceOf, leftovers, scalar, setUp } from './support.ts'

/** As a session starts, and after it has thrown its role away. */
const sessionStates = { 'as the owner': 'SELECT 1', 'as the login': 'SET ROLE NONE' }

for (const admin of adminKinds) {
  test(`isolation: with ${admin}, credentials open no other database`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const [mine, other] = [await instanceOf(t, provider), await instanceOf(t, provider)]
    const uri = await mine.uri('b')
    for (const database of [other.database, 'postgres', 'template1', 'template0']) {
      const url = new URL(uri)
      url.pathname = `/${database}`
      const refused = connect(t, url.href)
      await assert.rejects(refused, { code: database === 'template0' ? '55000' : '42501' }, database)
    }
    const rows = await sql('SELECT usename FROM pg_stat_activity WHERE datname = $1', [other.database])
    assert.deepEqual(rows, [])
  })

  for (const [state, statement] of Object.entries(sessionStates)) {
    test(`isolation: with ${admin}, a session ${state} gets no more than its own`, async (t) => {
      const { provider, sql } = await setUp(t, { admin })
      const [mine, other] = [await instanceOf(t, provider), await instanceOf(t, provider)]
      await other.bind('b')
      const client = await connect(t, await mine.uri('b'))
      const login = String(await scalar(client, 'SELECT session_user'))
      const before = await catalog(sql, mine)
      await client.query(statement)
      for (const attack of attacks({ mine, other, login })) {
        await client.query(attack).then(
          // PostgreSQL only warns of some; what counts is that nothing changed
          () => client.query(statement),
          (error) => assert.match(error.code, /^(42501|2BP01|55006|0A000|42704|25001|0LP01)$/, `${attack}: ${error}`)
        )
      }
      assert.deepEqual(await catalog(sql, mine), before)
    })
  }

  test(`isolation: with ${admin}, a tenant's functions are not run by the admin`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const instance = new Instance(provider)
    await instance.provision()
    const client = await connect(t, await instance.uri('b'))
    for (const name of ['lower', 'format', 'set_config', 'starts_with', 'current_setting']) {
      await client.query(
        `CREATE FUNCTION public.${name}(VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$
         BEGIN EXECUTE format('GRANT pg_read_server_files TO %I', session_user); RETURN 'x'; END $$`
      )
    }
    await client.query(`CREATE FUNCTION public.lower(name) RETURNS text LANGUAGE plpgsql AS $$
      BEGIN EXECUTE 'GRANT pg_read_server_files TO osb_o_${instance.token}'; RETURN 'x'; END $$`)
    await instance.bind('c')
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

  test(`[row 20] isolation: with ${admin}, grants to another tenant's roles keep nobody from being removed`, async (t) => {
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
}

test('isolation: the state database is closed to tenants when it is named', async (t) => {
  const name = `state_${process.pid}`
  const { sql } = await setUp(t)
  await sql(`CREATE DATABASE ${name}`)
  cleanUp(t, () => sql(`DROP DATABASE ${name}`))
  const { provider } = await setUp(t, { stateDatabase: name })
  const url = new URL(await (await instanceOf(t, provider)).uri('b'))
  url.pathname = `/${name}`
  await assert.rejects(connect(t, url.href), { code: '42501' })
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

function attacks({ mine, other, login }: { mine: Instance; other: Instance; login: string }): string[] {
  const [db, owner, foreign] = [mine.database, `osb_o_${mine.token}`, `osb_o_${other.token}`]
  return [
    `SET ROLE ${foreign}`,
    'SET ROLE postgres',
    `SET SESSION AUTHORIZATION ${foreign}`,
    `GRANT ${foreign} TO ${login}`,
    `GRANT ${owner} TO ${foreign}`,
    `GRANT ${login} TO ${foreign}`,
    'GRANT pg_read_server_files TO CURRENT_USER',
    'CREATE ROLE osb_intruder LOGIN',
    `ALTER ROLE ${login} SUPERUSER`,
    `ALTER ROLE ${login} CREATEDB`,
    `ALTER ROLE ${login} CONNECTION LIMIT -1`,
    `ALTER ROLE ${login} VALID UNTIL '2000-01-01'`,
    `DROP DATABASE ${db}`,
    `ALTER DATABASE ${db} RENAME TO taken`,
    `ALTER DATABASE ${db} CONNECTION LIMIT -1`,
    `ALTER DATABASE ${db} SET search_path = public`,
    `ALTER DATABASE ${db} OWNER TO ${owner}`,
    `GRANT CONNECT ON DATABASE ${db} TO PUBLIC`,
    `GRANT CONNECT ON DATABASE ${db} TO ${foreign}`,
    `DROP DATABASE ${other.database}`,
    'CREATE DATABASE osb_intruder',
    `CREATE TABLESPACE intruder LOCATION '/tmp'`,
    `ALTER SYSTEM SET work_mem = '1GB'`,
    `COPY (SELECT 1) TO PROGRAM 'id'`,
    `COPY (SELECT 1) TO '/tmp/osb-intruder'`,
    `SELECT pg_read_file('PG_VERSION')`,
    `SELECT pg_ls_dir('.')`,
    'SELECT * FROM pg_authid',
    `SELECT pg_database_size('${other.database}')`,
    `SELECT pg_create_logical_replication_slot('intruder', 'pgoutput')`,
    'SELECT pg_reload_conf()',
    `SET log_statement = 'none'`,
    'SET session_replication_role = replica'
  ]
}

/** Everything that an attack could have changed. */
async function catalog(sql: (statement: string, values?: unknown[]) => Promise<unknown[]>, { token }: Instance) {
  return {
    databases: await sql(
      `SELECT datname, datdba, datacl::text, datconnlimit FROM pg_database WHERE position($1 in datname) > 0`,
      [token]
    ),
    roles: await sql('SELECT * FROM pg_authid WHERE position($1 in rolname) > 0 ORDER BY oid', [token]),
    members: await sql(
      `SELECT roleid, member, admin_option FROM pg_auth_members
       WHERE roleid IN (SELECT oid FROM pg_roles WHERE position($1 in rolname) > 0)
          OR member IN (SELECT oid FROM pg_roles WHERE position($1 in rolname) > 0) ORDER BY 1, 2`,
      [token]
    ),
    settings: await sql(
      `SELECT s.* FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
       WHERE position($1 in datname) > 0 ORDER BY 1, 2`,
      [token]
    ),
    intruders: await sql(`SELECT rolname FROM pg_roles WHERE rolname LIKE '%intruder%'`)
  }
}
