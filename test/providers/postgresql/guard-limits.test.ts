import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { codeOf } from '../../../src/postgres/index.ts'
import { Anchor } from '../../../src/providers/postgresql/guard/anchor.ts'
import { Journal } from '../../../src/providers/postgresql/guard/journal.ts'
import { Suspensions } from '../../../src/providers/postgresql/guard/suspensions.ts'
import { AdminServer } from '../../../src/providers/postgresql/server.ts'
import { keptLog } from './failures.ts'
import { acts, canLogIn, eventually, guarded, rulesAgainst, Tenant } from './guard-scene.ts'
import { OwnServer } from './own-server.ts'
import { adminKinds, cleanUp, connect, instanceOf, plainAdmin, setUp } from './support.ts'

const server = new OwnServer()

before(() => server.start())
after(() => server.remove())

const MINUTE_MS = 60_000

for (const admin of adminKinds) {
  test(`locks: with ${admin}, a flood of locks ends, and its login is suspended`, async (t) => {
    const { mine, other, lines, sql } = await guarded(t, { admin, url: server.adminUrl })
    const [uri, victim] = [await mine.uri('b'), await other.uri('b')]
    // The guard has never seen this login, and the table is full before its next round.
    const attacker = await Tenant.on(t, uri)
    const flood = await attacker.wait('SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 200000) AS g')
    assert.ok(['53200', '57P01'].includes(codeOf(flood) ?? ''), String(flood))
    await eventually(() => canLogIn(victim), 'the victim gets in')
    await eventually(async () => {
      const rows = await sql('SELECT FROM pg_roles WHERE rolname = $1 AND NOT rolcanlogin', [attacker.login])
      return rows.length > 0 && rulesAgainst(lines, attacker.login).length > 1
    }, 'the login is suspended')
    assert.deepEqual(rulesAgainst(lines, attacker.login), ['locks', 'locks'])
    assert.match(acts(lines).at(-1)?.message ?? '', /suspended/)
    assert.equal(await canLogIn(uri), false)
    // An unbind removes a suspended login as any other.
    await mine.unbind('b')
  })

  test(`locks: with ${admin}, sessions that hold too many together have to go, and a dump within the limit stays`, async (t) => {
    const { mine, other, lines } = await guarded(t, { admin, url: server.adminUrl, options: { lock_limit: 300 } })
    const tables = async (uri: string, count: number) => {
      const maker = await Tenant.on(t, uri)
      const names = Array.from({ length: count }, (_, index) => `t${index}`)
      for (const name of names) await maker.run(`CREATE TABLE ${name} (id int)`)
      return names.join(', ')
    }
    const [uri, honestUri] = [await mine.uri('b'), await other.uri('b')]
    const [names, honestNames] = [await tables(uri, 200), await tables(honestUri, 250)]
    const [dump, small, first, second] = [
      await Tenant.on(t, honestUri),
      await Tenant.on(t, uri),
      await Tenant.on(t, uri),
      await Tenant.on(t, await mine.uri('c'))
    ]
    await dump.run('BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY', `LOCK TABLE ${honestNames} IN ACCESS SHARE MODE`)
    await small.run('BEGIN', 'CREATE TABLE small (id int)')
    await first.run(
      'BEGIN',
      `LOCK TABLE ${names} IN SHARE MODE`,
      'SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 50) AS g'
    )
    await second.run('BEGIN', `LOCK TABLE ${names} IN SHARE MODE`)
    await eventually(() => first.ended || second.ended, 'a session has gone')
    await eventually(() => acts(lines).length > 0, 'the log has it')
    await other.watch()
    assert.deepEqual(
      acts(lines).map(({ rule, login }) => [rule, login]),
      [['locks', first.login]],
      'the largest'
    )
    for (const innocent of [dump, small, second]) await innocent.assertAlive()
  })

  test(`suspension: with ${admin}, a login that comes back with attacks is shut out for 5 minutes`, async (t) => {
    const { mine, other, lines, sql, audited } = await guarded(t, { admin, url: server.adminUrl })
    const [uri, honestUri] = [await mine.uri('b'), await mine.uri('c')]
    const holder = await Tenant.on(t, honestUri)
    await holder.run('BEGIN', `ALTER ROLE CURRENT_USER IN DATABASE ${other.database} SET work_mem = '5MB'`)
    // Keeps the row of the login locked, so that it could not be written.
    const locker = await Tenant.on(t, uri)
    const { login } = locker
    for (let attacks = 0; attacks < 3; attacks++) {
      if (attacks === 2) await locker.run('SET ROLE NONE', 'BEGIN', `ALTER ROLE CURRENT_USER PASSWORD 'x'`)
      const attacker = await Tenant.on(t, uri)
      assert.equal(codeOf(await attacker.wait(`DROP DATABASE ${other.database}`)), '57P01')
    }
    const loginOf = async (name: string) => {
      const [row] = await sql('SELECT rolcanlogin AS may FROM pg_roles WHERE rolname = $1', [name])
      return row?.may
    }
    await eventually(async () => (await loginOf(login)) === false, 'the login is suspended')
    await eventually(() => audited.some(([, text]) => text.startsWith(`suspended ${login}`)), 'the audit has it')
    assert.equal(await canLogIn(uri), false)
    await eventually(() => locker.ended, 'its sessions end')
    assert.equal(rulesAgainst(lines, holder.login).length, 0)
    await holder.assertAlive()
    assert.ok(await canLogIn(honestUri))
    // If the broker dies, the repair lifts it.
    assert.ok((await mine.repair()).some(({ resource, healed }) => resource.endsWith(login) && healed))
    assert.equal(await loginOf(login), true)
  })

  test(`suspension: with ${admin}, it is lifted after 5 minutes, but not of a login that is being removed`, async (t) => {
    const { provider, sql, adminUrl } = await setUp(t, { admin, url: server.adminUrl })
    const mine = await instanceOf(t, provider)
    const uris = { kept: await mine.uri('kept'), removed: await mine.uri('removed'), marked: await mine.uri('marked') }
    const [kept, removed, marked] = Object.values(uris).map((uri) => new URL(uri).username)
    if (!kept || !removed || !marked) throw new Error('no logins')
    const admins = new AdminServer({ adminUrl })
    const [anchor, journal] = [new Anchor(admins), new Journal()]
    cleanUp(t, () => Promise.all([anchor.close(), admins.close()]))
    const { log, lines } = keptLog()
    journal.begin({ log, audit: async () => undefined }, [])
    const suspensions = new Suspensions(admins, anchor, journal)
    const now = 1_000_000
    for (const login of [kept, removed, marked, kept]) {
      suspensions.add({ login, token: mine.token, rule: 'locks' })
      await suspensions.write(now)
    }
    assert.equal(acts(lines).length, 3, 'once for each')
    await sql(`ALTER ROLE ${removed} PASSWORD NULL CONNECTION LIMIT 0`)
    await sql(`ALTER ROLE ${marked} VALID UNTIL '-infinity'`)
    const allowed = async () =>
      (
        await sql('SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname = ANY ($1)', [[kept, removed, marked]])
      ).map(({ rolname }) => rolname)
    const { signal } = new AbortController()
    suspensions.tidy(now + 5 * MINUTE_MS - 1, signal)
    await suspensions.close()
    assert.deepEqual(await allowed(), [], 'not before')
    suspensions.tidy(now + 5 * MINUTE_MS, signal)
    await suspensions.close()
    assert.deepEqual(await allowed(), [kept])
    assert.equal(suspensions.strike(kept, now), false)
    assert.equal(suspensions.strike(kept, now + 1), false)
    assert.equal(suspensions.strike(kept, now + 2 * MINUTE_MS), false, 'the earlier ones are too old')
    await sql(`ALTER ROLE ${removed} CONNECTION LIMIT 10`)
  })

  test(`blocks-broker: with ${admin}, a tenant cannot keep the broker from locking a full database`, async (t) => {
    const options = { storage_quota: '9MB', connection_limit: 40 }
    const { mine, lines } = await guarded(t, { admin, url: server.adminUrl, options })
    const uri = await mine.uri('b')
    const writer = await Tenant.on(t, uri)
    const fill = `INSERT INTO big SELECT decode(repeat(md5(random()::text), 32768), 'hex') FROM generate_series(1, 8)`
    await writer.run('CREATE TABLE big (body bytea)', 'ALTER TABLE big ALTER body SET STORAGE EXTERNAL', fill)
    const owner = await Tenant.on(t, uri)
    await owner.run('BEGIN', `ALTER ROLE CURRENT_USER PASSWORD 'x'`)
    await mine.watch()
    assert.match((await mine.describe())?.notice ?? '', /^The storage quota is used up/)
    await eventually(() => owner.ended, 'the session has gone')
    // On a slow machine the transaction may also have kept its locks for too long.
    assert.deepEqual(
      rulesAgainst(lines, owner.login).filter((rule) => rule !== 'blocks-broker' && rule !== 'shared-catalog'),
      []
    )
  })

  test(`blocks-broker: with ${admin}, a tenant cannot keep the broker from changing its database`, async (t) => {
    const { mine, lines } = await guarded(t, { admin, url: server.adminUrl })
    const tenant = await Tenant.on(t, await mine.uri('b'))
    // Only a warning, but it writes the row of the database.
    await tenant.run('BEGIN', `GRANT CONNECT ON DATABASE ${mine.database} TO CURRENT_USER`)
    const session = await connect(t, server.adminUrl)
    await session.query(`SET application_name = 'osb:test'; SET lock_timeout = '20s'`)
    await session.query(`ALTER DATABASE ${mine.database} CONNECTION LIMIT 40`)
    await eventually(() => acts(lines).length > 0, 'the log has it')
    assert.deepEqual(rulesAgainst(lines, tenant.login), ['blocks-broker'])
  })

  test(`blocks-broker: with ${admin}, polite work of the broker ends no session`, async (t) => {
    const { mine, lines, adminUrl } = await guarded(t, { admin, url: server.adminUrl })
    const honest = await Tenant.on(t, await mine.uri('b'))
    await honest.run('CREATE TABLE busy (id int)', 'BEGIN', 'LOCK TABLE busy')
    const place = new URL(adminUrl)
    place.pathname = `/${mine.database}`
    place.searchParams.set('application_name', 'osb:upkeep')
    const polite = await connect(t, place.href)
    await polite.query(`SET ROLE osb_o_${mine.token}; SET lock_timeout = '1s'`)
    for (let tries = 0; tries < 3; tries++) {
      await assert.rejects(polite.query('SELECT FROM busy'), { code: '55P03' })
    }
    assert.deepEqual(acts(lines), [])
    await honest.assertAlive()
    await polite.query(`SET lock_timeout = '0'; SELECT FROM busy`)
    await eventually(() => acts(lines).length > 0, 'the log has it')
    assert.deepEqual(rulesAgainst(lines, honest.login), ['blocks-broker'])
  })
}

test('a plain admin that may not end a session says so once, and ends the others', async (t) => {
  const { mine, other, lines, sql } = await guarded(t, { admin: 'CREATEDB CREATEROLE', url: server.adminUrl })
  const holder = await Tenant.on(t, await mine.uri('b'))
  await holder.run('BEGIN', `ALTER ROLE CURRENT_USER IN DATABASE ${other.database} SET work_mem = '5MB'`)
  const [kept, ended] = [await Tenant.on(t, await mine.uri('c')), await Tenant.on(t, await mine.uri('d'))]
  await sql(`REVOKE pg_signal_backend FROM ${plainAdmin}`)
  cleanUp(t, () => sql(`GRANT pg_signal_backend TO ${plainAdmin}`))
  await sql(`REVOKE ${kept.login} FROM ${plainAdmin} GRANTED BY ${plainAdmin}`)
  const first = kept.wait(`DROP DATABASE ${other.database}`)
  assert.equal(codeOf(await ended.wait(`DROP DATABASE ${other.database}`)), '57P01')
  await sql(`GRANT pg_signal_backend TO ${plainAdmin}`)
  assert.equal(codeOf(await first), '57P01')
  const alarms = lines.filter(({ level }) => level === 'error')
  assert.equal(alarms.length, 1)
  assert.match(alarms[0]?.message ?? '', /grant it pg_signal_backend/)
})
