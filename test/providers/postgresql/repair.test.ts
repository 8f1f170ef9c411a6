import assert from 'node:assert/strict'
import { test } from 'node:test'
import { adminKinds, cleanUp, connect, type Instance, instanceOf, scalar, setUp } from './support.ts'

/** An instance with a binding of each role, and what things of it are called. */
async function scene(t: Parameters<typeof setUp>[0], admin: (typeof adminKinds)[number]) {
  const { provider, sql, adminUrl } = await setUp(t, { admin })
  const instance = await instanceOf(t, provider, { connection_limit: 7, statement_timeout: '5min' })
  const ownerUri = await instance.uri('owner')
  const readerUri = await instance.uri('reader', { role: 'reader' })
  const names = {
    database: instance.database,
    owner: `osb_o_${instance.token}`,
    reader: `osb_r_${instance.token}`,
    login: loginOf(instance, 'owner'),
    readerLogin: loginOf(instance, 'reader')
  }
  assert.deepEqual(await instance.repair(false), [], 'as it was made it is as agreed')
  return { provider, sql, adminUrl, instance, ownerUri, readerUri, names }
}

function loginOf({ token, states }: Instance, bindingId: string): string {
  return `osb_b_${token}_${states.get(bindingId)?.suffix}`
}

/** What somebody did, and how it is told. */
type Damage = (names: Awaited<ReturnType<typeof scene>>['names']) => readonly [statement: string, finding: string]

const damages: Record<string, Damage> = {
  'connection limit of the database': ({ database }) => [
    `ALTER DATABASE ${database} CONNECTION LIMIT 3`,
    `database ${database} has the connection limit 3, not 14`
  ],
  'setting of the database': ({ database }) => [
    `ALTER DATABASE ${database} SET statement_timeout = 0`,
    `database ${database} has another statement_timeout than the plan`
  ],
  'right of the reader': ({ database, reader }) => [
    `REVOKE CONNECT ON DATABASE ${database} FROM ${reader}`,
    `database ${database} ${reader} has lost CONNECT`
  ],
  'right of everybody': ({ database }) => [
    `GRANT CONNECT ON DATABASE ${database} TO PUBLIC`,
    `database ${database} PUBLIC has got CONNECT`
  ],
  'owner that may log in': ({ owner }) => [`ALTER ROLE ${owner} LOGIN`, `role ${owner} may log in`],
  'lock limit of the instance': ({ reader }) => [
    `ALTER ROLE ${reader} CONNECTION LIMIT 9`,
    `role ${reader} has the lock limit 9, not 4000`
  ],
  'attribute of the owner': ({ owner }) => [`ALTER ROLE ${owner} CREATEDB`, `role ${owner} has got CREATEDB`],
  'group of the owner': ({ owner }) => [
    `GRANT pg_monitor TO ${owner}`,
    `role ${owner} has become a member of pg_monitor`
  ],
  'limit of a login': ({ login }) => [
    `ALTER ROLE ${login} CONNECTION LIMIT 100`,
    `role ${login} has the connection limit 100, not 7`
  ],
  'attribute of a login': ({ login }) => [`ALTER ROLE ${login} CREATEROLE`, `role ${login} has got CREATEROLE`],
  'group of a login': ({ login }) => [
    `GRANT pg_read_all_data TO ${login}`,
    `role ${login} has become a member of pg_read_all_data`
  ],
  'reader that has become an owner': ({ owner, readerLogin }) => [
    `GRANT ${owner} TO ${readerLogin}`,
    `role ${readerLogin} has become a member of ${owner}`
  ],
  'login that is no owner any more': ({ owner, login }) => [
    `REVOKE ${owner} FROM ${login}`,
    `role ${login} is no member of ${owner}`
  ],
  'login without the group of tenants': ({ login }) => [
    `REVOKE osb_tenant FROM ${login}`,
    `role ${login} is no member of osb_tenant`
  ],
  'login that may not log in': ({ login }) => [`ALTER ROLE ${login} NOLOGIN`, `role ${login} may not log in`],
  'end of a login': ({ login }) => [
    `ALTER ROLE ${login} VALID UNTIL '2001-01-01'`,
    `role ${login} works until another time`
  ],
  'role of the sessions': ({ database, owner, login }) => [
    `ALTER ROLE ${login} IN DATABASE ${database} RESET role`,
    `role ${login} does not begin its sessions with role=${owner}`
  ],
  'reading of the sessions': ({ database, readerLogin }) => [
    `ALTER ROLE ${readerLogin} IN DATABASE ${database} RESET default_transaction_read_only`,
    `role ${readerLogin} does not begin its sessions with default_transaction_read_only=on`
  ]
}

const byGrant = /^GRANT pg_|^GRANT osb_o_|CREATE(DB|ROLE)$/

/** By a superuser, what the broker's admin may not. */
async function undo(sql: Awaited<ReturnType<typeof scene>>['sql'], names: Parameters<Damage>[0]): Promise<void> {
  await sql(`REVOKE pg_monitor FROM ${names.owner}; REVOKE pg_read_all_data FROM ${names.login};
    REVOKE ${names.owner} FROM ${names.readerLogin};
    ALTER ROLE ${names.login} NOCREATEROLE; ALTER ROLE ${names.owner} NOCREATEDB`)
}

for (const admin of adminKinds) {
  test(`repair: with ${admin}, what an administrator changed is found, told without a change, and healed`, async (t) => {
    const { sql, adminUrl, instance, names } = await scene(t, admin)
    const broker = await connect(t, adminUrl)
    for (const [name, damage] of Object.entries(damages)) {
      await t.test(name, async () => {
        const [statement, finding] = damage(names)
        // From 16 on only the one who has granted a membership takes it back
        await (statement.startsWith('REVOKE') ? broker.query(statement) : sql(statement))
        const told = await instance.repair(false)
        assert.deepEqual(
          told.map(({ resource, finding: text, healed }) => [`${resource} ${text}`, healed]),
          [[finding, false]]
        )
        assert.deepEqual(await instance.repair(false), told, 'to tell is not to heal')
        const healed = await instance.repair()
        // What a superuser has granted, PostgreSQL lets only superusers take away: it is told as not healed
        const [left] = healed.filter((one) => !one.healed)
        if (left !== undefined && admin !== 'superuser' && byGrant.test(statement)) {
          assert.equal(healed.length, 1)
          assert.ok(left.finding.startsWith(told[0]?.finding ?? '-'))
          return
        }
        assert.deepEqual(healed, [{ ...told[0], healed: true }])
        assert.deepEqual(await instance.repair(false), [])
      })
      await undo(sql, names)
    }
  })

  test(`repair: with ${admin}, what a tenant changed of itself is healed [row 26] [row 27]`, async (t) => {
    const { instance, names, ownerUri } = await scene(t, admin)
    const client = await connect(t, ownerUri)
    await client.query('SET ROLE NONE')
    await client.query(`ALTER ROLE ${names.login} PASSWORD 'its own'`)
    await client.query(`ALTER ROLE ${names.login} IN DATABASE ${names.database} SET statement_timeout = 0`)
    await client.query(`ALTER ROLE ${names.login} SET work_mem = '1GB'`)
    await client.query(`ALTER ROLE ${names.login} IN DATABASE ${names.database} SET role = none`)
    await client.query('CREATE SCHEMA mine; CREATE TABLE mine.own (id int)')
    await assert.rejects(connect(t, ownerUri), { code: '28P01' })
    const findings = await instance.repair()
    assert.deepEqual(
      findings.map(({ finding, healed }) => [finding, healed]),
      [
        [`does not begin its sessions with role=${names.owner}`, true],
        ['has its own statement_timeout', true],
        ['has its own work_mem', true],
        ['has another password', true],
        [`has objects of ${names.login}`, true]
      ]
    )
    assert.deepEqual(await instance.repair(false), [])
    const healed = await connect(t, ownerUri)
    assert.equal(await scalar(healed, 'SELECT current_user'), names.owner)
    assert.equal(await scalar(healed, 'SHOW statement_timeout'), '5min')
    assert.equal(await scalar(healed, 'SHOW work_mem'), '4MB')
    await healed.query('DROP TABLE mine.own; DROP SCHEMA mine')
  })

  test(`repair: with ${admin}, a login that was dropped is made again with the same credentials`, async (t) => {
    const { sql, instance, names, ownerUri } = await scene(t, admin)
    await (await connect(t, ownerUri)).query('CREATE TABLE kept (id int)')
    const superuser = new URL((await setUp(t)).adminUrl)
    superuser.pathname = `/${names.database}`
    const inside = await connect(t, superuser.href)
    await inside.query(`DROP OWNED BY ${names.login}`)
    await sql(`SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE usename = '${names.login}'`)
    await sql(`DROP ROLE ${names.login}`)
    assert.deepEqual(await instance.repair(), [
      { resource: `role ${names.login}`, finding: 'is not there', healed: true }
    ])
    await (await connect(t, ownerUri)).query('DROP TABLE kept')
  })
}

test("repair: objects that an administrator took or made in the tenant's schemas go to the owner", async (t) => {
  const { instance, names, ownerUri } = await scene(t, 'superuser')
  const tenant = await connect(t, ownerUri)
  await tenant.query(`CREATE SCHEMA s; CREATE TABLE s.taken (id serial); CREATE TYPE mood AS ENUM ('good');
    CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE EXTENSION citext`)
  const url = new URL((await setUp(t)).adminUrl)
  url.pathname = `/${names.database}`
  const inside = await connect(t, url.href)
  await inside.query(`ALTER TABLE s.taken OWNER TO CURRENT_USER; ALTER TYPE mood OWNER TO CURRENT_USER;
    ALTER FUNCTION f() OWNER TO CURRENT_USER; ALTER SCHEMA public OWNER TO CURRENT_USER;
    CREATE VIEW s."Odd name" AS SELECT 1 AS one; CREATE SCHEMA monitoring; CREATE TABLE monitoring.mine (id int)`)
  const me = String(await scalar(inside, 'SELECT current_user'))
  const findings = await instance.repair()
  assert.deepEqual(
    findings.map(({ finding, healed }) => [finding, healed]),
    [
      [`schema public belongs to ${me}`, true],
      [`routine public.f() belongs to ${me}`, true],
      [`type public.mood belongs to ${me}`, true],
      [`view s."Odd name" belongs to ${me}`, true],
      [`table s.taken belongs to ${me}`, true]
    ]
  )
  assert.deepEqual(await instance.repair(false), [])
  await tenant.query(
    'DROP TABLE s.taken; DROP VIEW s."Odd name"; DROP FUNCTION f(); DROP TYPE mood; DROP EXTENSION citext'
  )
  assert.equal(
    await scalar(inside, `SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'monitoring'`),
    me
  )
})

test("repair: a right of another tenant's is taken back, an operator's own role keeps its rights", async (t) => {
  const { sql, provider, instance, names } = await scene(t, 'superuser')
  const other = await instanceOf(t, provider)
  await sql('CREATE ROLE backup_operator')
  cleanUp(t, () => sql('DROP OWNED BY backup_operator; DROP ROLE backup_operator'))
  await sql(`GRANT ${names.owner} TO osb_o_${other.token}, backup_operator`)
  await sql(`GRANT CONNECT ON DATABASE ${names.database} TO osb_r_${other.token}, backup_operator`)
  const findings = await instance.repair()
  assert.deepEqual(
    findings.map(({ finding, healed }) => [finding, healed]),
    [
      [`osb_r_${other.token} has got CONNECT`, true],
      [`has got the member osb_o_${other.token}`, true]
    ]
  )
  assert.deepEqual(await instance.repair(false), [])
  assert.deepEqual(await sql(`SELECT pg_has_role('backup_operator', $1, 'MEMBER') AS member`, [names.owner]), [
    { member: true }
  ])
})

test('repair: what only an operator can mend is told, and an unbind that did not end is not undone', async (t) => {
  const { sql, instance, names } = await scene(t, 'superuser')
  await sql(`ALTER ROLE ${names.login} NOLOGIN PASSWORD NULL CONNECTION LIMIT 0`)
  const told = [{ resource: `role ${names.login}`, finding: 'is disabled: its removal did not end', healed: false }]
  assert.deepEqual(await instance.repair(), told)
  assert.deepEqual(await instance.repair(), told)
  await sql(`ALTER DATABASE ${names.database} ALLOW_CONNECTIONS false`)
  assert.deepEqual(await instance.repair(), [
    { resource: `database ${names.database}`, finding: 'is closed', healed: false }
  ])
  await sql(`DROP DATABASE ${names.database}`)
  assert.deepEqual(await instance.repair(), [
    { resource: `database ${names.database}`, finding: 'is not there', healed: false }
  ])
})

test('repair: an instance that a task works on is left alone, and a task waits for a repair', async (t) => {
  const { provider, adminUrl } = await setUp(t)
  const instance = await instanceOf(t, provider)
  await instance.bind('b')
  const other = await connect(t, adminUrl)
  const lock = `hashtextextended('osb:${instance.token}', 0)`
  const { sql } = await setUp(t)
  await sql(`ALTER DATABASE ${instance.database} CONNECTION LIMIT 2`)
  await other.query(`SELECT pg_advisory_lock_shared(${lock})`)
  assert.deepEqual(await instance.repair(), [])
  await instance.unbind('b')
  await other.query('SELECT pg_advisory_unlock_all()')
  await other.query(`SELECT pg_advisory_lock(${lock})`)
  const bound = instance.bind('c')
  const first = await Promise.race([bound, new Promise((resolve) => setTimeout(resolve, 300, 'waits'))])
  assert.equal(first, 'waits')
  await other.query('SELECT pg_advisory_unlock_all()')
  await bound
  assert.equal((await instance.repair()).length, 0, 'the bind itself has put the limit right')
})
