import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { codeOf } from '../../../src/postgres/index.ts'
import { acts, canLogIn, eventually, guarded, rulesAgainst, Tenant } from './guard-scene.ts'
import { OwnServer } from './own-server.ts'
import { adminKinds, connect, scalar } from './support.ts'

const server = new OwnServer({ max_prepared_transactions: '4' })

before(() => server.start())
after(() => server.remove())

for (const admin of adminKinds) {
  test(`foreign-database: with ${admin}, no tenant can stop the logins of another`, async (t) => {
    const { mine, other, lines, audited } = await guarded(t, { admin, url: server.adminUrl })
    const [uri, victim] = [await mine.uri('b'), await other.uri('b')]
    const holder = await Tenant.on(t, uri)
    await holder.run('BEGIN', `ALTER ROLE CURRENT_USER IN DATABASE ${other.database} SET work_mem = '5MB'`)
    const statements = [
      `DROP DATABASE ${other.database}`,
      `ALTER DATABASE ${other.database} RENAME TO intruder`,
      `ALTER DATABASE ${other.database} SET TABLESPACE pg_default`
    ]
    for (const statement of statements) {
      const attacker = await Tenant.on(t, await mine.uri(statement))
      const ended = attacker.wait(statement)
      const entered = await connect(t, victim)
      assert.equal(await scalar(entered, 'SELECT 1'), 1)
      assert.equal(codeOf(await ended), '57P01', statement)
      await eventually(() => audited.some(([, text]) => text.includes(attacker.login)), 'the audit has it')
      assert.deepEqual(rulesAgainst(lines, attacker.login), ['foreign-database'])
      const event = `ended a session of ${attacker.login} in ${mine.database}: foreign-database`
      assert.deepEqual(audited.at(-1), [mine.id, event])
    }
  })

  test(`foreign-database: with ${admin}, neither can it stop the logins of its own instance`, async (t) => {
    const { mine } = await guarded(t, { admin, url: server.adminUrl })
    const uri = await mine.uri('b')
    const holder = await Tenant.on(t, uri)
    await holder.run('BEGIN', `ALTER ROLE CURRENT_USER IN DATABASE ${mine.database} SET work_mem = '5MB'`)
    const attacker = await Tenant.on(t, await mine.uri('c'))
    const ended = attacker.wait(`DROP DATABASE ${mine.database}`)
    assert.equal(await scalar(await connect(t, uri), 'SELECT 1'), 1)
    assert.equal(codeOf(await ended), '57P01')
    await holder.assertAlive()
  })

  test(`shared-catalog: with ${admin}, no tenant can lock the catalogs that every login and the broker need`, async (t) => {
    const { mine, other, lines } = await guarded(t, { admin, url: server.adminUrl })
    const victim = await other.uri('b')
    const holder = await Tenant.on(t, await mine.uri('b'))
    await holder.run('SET ROLE NONE', 'BEGIN', `ALTER ROLE CURRENT_USER PASSWORD 'x'`)
    const statements = [
      'CREATE RULE r AS ON INSERT TO pg_authid DO NOTHING',
      'CREATE TRIGGER t BEFORE INSERT ON pg_authid FOR EACH ROW EXECUTE FUNCTION nope()',
      'CREATE TABLE referring (a oid REFERENCES pg_authid (oid))',
      'CREATE RULE r AS ON INSERT TO pg_database DO NOTHING'
    ]
    for (const [index, statement] of statements.entries()) {
      const attacker = await Tenant.on(t, await mine.uri(`attacker ${index}`))
      const waiting = attacker.wait(statement)
      assert.ok(await canLogIn(victim), statement)
      const code = codeOf(await waiting)
      assert.equal(code, '57P01', statement)
      await eventually(() => rulesAgainst(lines, attacker.login).length > 0, 'the log has it')
      assert.deepEqual(rulesAgainst(lines, attacker.login), ['shared-catalog'], statement)
    }
  })

  test(`shared-catalog: with ${admin}, whoever keeps shared locks for 10 s has to go, and nobody else`, async (t) => {
    const { mine, other, sql, lines } = await guarded(t, { admin, url: server.adminUrl })
    const uri = await mine.uri('b')
    const foreignOwner = `osb_o_${other.token}`
    const attacks = [
      [`ALTER ROLE CURRENT_USER IN DATABASE ${other.database} SET work_mem = '5MB'`],
      ['CREATE TABLE given (id int)', `GRANT SELECT ON given TO ${foreignOwner}`],
      [`CREATE POLICY p ON kept TO ${foreignOwner}`],
      ['PREPARE deletion AS DELETE FROM pg_authid'],
      ['DROP SUBSCRIPTION IF EXISTS nope'],
      ['SET LOCAL ROLE NONE', `ALTER ROLE CURRENT_USER PASSWORD 'x'`]
    ]
    const setting = await Tenant.on(t, uri)
    await setting.run('CREATE TABLE kept (id int)', 'CREATE TABLE moved (id int)', 'LISTEN news')
    const attackers: Tenant[] = []
    for (const [index, statements] of attacks.entries()) {
      const attacker = await Tenant.on(t, await mine.uri(`attacker ${index}`))
      await attacker.run('BEGIN', ...statements)
      attackers.push(attacker)
    }
    const honest = await Tenant.on(t, await mine.uri('migration'))
    await honest.run(
      'BEGIN',
      'CREATE TABLE made (id int PRIMARY KEY)',
      'ALTER TABLE moved ADD COLUMN more text DEFAULT now()',
      'CREATE INDEX ON moved (more)',
      `GRANT SELECT ON made TO osb_r_${mine.token}`,
      'CREATE SCHEMA extra',
      'NOTIFY news',
      'DROP TABLE made'
    )
    const waiting = await Tenant.on(t, await mine.uri('waiting'))
    const waited = waiting.client.query('SELECT count(*) FROM moved')
    const setter = await Tenant.on(t, await mine.uri('setter'))
    await setter.run(`ALTER ROLE CURRENT_USER SET application_name = 'shop'`)
    const preparer = await Tenant.on(t, await mine.uri('preparer'))
    await preparer.run('BEGIN', 'CREATE TABLE prepared (id int)', `PREPARE TRANSACTION 'honest'`)
    await preparer.run(
      'BEGIN',
      'SET LOCAL ROLE NONE',
      `ALTER ROLE CURRENT_USER IN DATABASE ${other.database} SET work_mem = '5MB'`,
      `PREPARE TRANSACTION 'hostile'`
    )

    await eventually(() => attackers.every(({ ended }) => ended), 'the attackers have gone', 40_000)
    const preparedNow = async () => (await sql('SELECT gid FROM pg_prepared_xacts ORDER BY gid')).map(({ gid }) => gid)
    await eventually(async () => (await preparedNow()).length < 2, 'the prepared transaction has gone')
    assert.deepEqual(await preparedNow(), ['honest'])
    await eventually(() => acts(lines).length > attackers.length, 'the log has them')
    assert.deepEqual(new Set(acts(lines).map(({ rule }) => rule)), new Set(['shared-catalog']))
    assert.deepEqual(
      new Set(acts(lines).map(({ login }) => login)),
      new Set([...attackers, preparer].map(({ login }) => login))
    )
    await honest.run('COMMIT')
    await waited
    for (const innocent of [setting, honest, waiting, setter, preparer]) await innocent.assertAlive()
    await preparer.run(`ROLLBACK PREPARED 'honest'`)
  })

  test(`blocks-others: with ${admin}, a tenant in front of an operator or of another's login has to go`, async (t) => {
    const { mine, other, lines } = await guarded(t, { admin, url: server.adminUrl })
    const victim = await other.uri('b')
    const attacker = await Tenant.on(t, await mine.uri('b'))
    const innocent = await Tenant.on(t, await mine.uri('c'))
    await innocent.run('CREATE TABLE locked (id int)', 'BEGIN', 'LOCK TABLE locked')
    await attacker.run('BEGIN', `ALTER ROLE CURRENT_USER IN DATABASE ${other.database} SET work_mem = '5MB'`)
    const inMine = new URL(server.adminUrl)
    inMine.pathname = `/${mine.database}`
    const [dba, dumper] = [await connect(t, server.adminUrl), await connect(t, inMine.href)]
    // An operator who waits for a lock within the tenant's database has to wait.
    const dumped = dumper.query('LOCK TABLE locked IN ACCESS SHARE MODE')
    dumped.catch(() => undefined)
    const renamed = dba.query(`ALTER DATABASE ${other.database} RENAME TO ${other.database}_x`)
    // Behind the operator, who waits for the attacker.
    const entering = canLogIn(victim)
    await renamed
    await entering
    await dba.query(`ALTER DATABASE ${other.database}_x RENAME TO ${other.database}`)
    assert.ok(await canLogIn(victim))
    await eventually(() => acts(lines).length > 0, 'the log has it')
    assert.deepEqual(
      acts(lines).map(({ rule, login }) => [rule, login]),
      [['blocks-others', attacker.login]]
    )
    await innocent.assertAlive()
  })

  test(`revoked: with ${admin}, sessions of logins that were disabled, expired or dropped end`, async (t) => {
    const { mine, sql, lines } = await guarded(t, { admin, url: server.adminUrl })
    const [disabled, marked, expired, dropped, kept] = await Promise.all(
      ['disabled', 'marked', 'expired', 'dropped', 'kept'].map(async (name) => Tenant.on(t, await mine.uri(name)))
    )
    if (!disabled || !marked || !expired || !dropped || !kept) throw new Error('no sessions')
    await sql(`ALTER ROLE ${disabled.login} NOLOGIN`)
    await sql(`ALTER ROLE ${marked.login} VALID UNTIL '-infinity'`)
    await sql(`ALTER ROLE ${expired.login} VALID UNTIL '2001-01-01'`)
    const inMine = new URL(server.adminUrl)
    inMine.pathname = `/${mine.database}`
    const root = await connect(t, inMine.href)
    await root.query(`DROP OWNED BY ${dropped.login}; DROP ROLE ${dropped.login}`)
    const gone = [disabled, marked, expired, dropped]
    await eventually(() => gone.every(({ ended }) => ended), 'the revoked have gone')
    await eventually(() => acts(lines).length === gone.length, 'the log has them')
    assert.deepEqual(new Set(acts(lines).map(({ rule }) => rule)), new Set(['revoked']))
    await kept.assertAlive()
  })
}
