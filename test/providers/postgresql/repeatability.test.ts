import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client } from 'pg'
import { Crashes } from './crash.ts'
import { connect, Instance, instanceOf, leftovers, type Scene, scalar, setUp, until } from './support.ts'

// The plain admin has every statement of the superuser, and the grants to itself: so each point is tried with it
const admin = 'CREATEDB CREATEROLE'

test('[row 11] provision: crashed before any statement converges when repeated or deleted', async (t) => {
  const { provider, sql } = await setUp(t, { admin })
  const crashes = new Crashes(t)
  for (let at = 1, done = false; !done; at++) {
    const instance = new Instance(provider)
    done = await crashes.during(() => instance.provision(), at)
    // Every other point is repeated first, the rest deleted at once, as a platform does after a failure
    if (at % 2 === 1) {
      await instance.provision()
      await connectAndWrite(await instance.uri('b'))
    }
    await instance.deprovision()
    assert.deepEqual(instance.states.size === 0 ? [] : await leftovers(sql, instance.token), [], `statement ${at}`)
    if (done) t.diagnostic(`${at - 1} points`)
  }
})

test('[row 11] bind and unbind: crashed before any statement converge when repeated', async (t) => {
  const { provider, sql } = await setUp(t, { admin })
  const instance = await instanceOf(t, provider)
  const witness = await connect(t, await instance.uri('witness'))
  const crashes = new Crashes(t)
  for (const role of ['owner', 'reader']) {
    for (let at = 1, done = false; !done; at++) {
      const bound = await crashes.during(() => instance.bind('b', { role }), at)
      // Some are unbound half-made
      if (at % 3 !== 0) {
        const { credentials } = await instance.bind('b', { role })
        if (role === 'owner') await connectAndWrite(String(credentials?.uri))
      }
      const unbound = await crashes.during(() => instance.unbind('b'), at)
      if (!unbound) await instance.unbind('b')
      assert.equal(await countLogins(sql, instance), 1, `statement ${at}`)
      done = bound && unbound
      if (done) t.diagnostic(`${role}: ${at - 1} points`)
    }
  }
  assert.equal(
    await scalar(witness, `SELECT string_agg(DISTINCT tableowner, ' ') FROM pg_tables WHERE schemaname = 'mine'`),
    `osb_o_${instance.token}`
  )
  await witness.query('DROP SCHEMA mine CASCADE')
})

test('[row 11] update and deprovision: crashed before any statement converge when repeated', async (t) => {
  const { provider, sql } = await setUp(t, { admin })
  const crashes = new Crashes(t)
  for (let at = 1, done = false; !done; at++) {
    const instance = new Instance(provider)
    await instance.provision()
    await connectAndWrite(await instance.uri('b'))
    const updated = await crashes.during(() => instance.update({ connection_limit: 4 }), at)
    if (!updated) await instance.update({ connection_limit: 4 })
    const removed = await crashes.during(() => instance.deprovision(), at)
    if (!removed) await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [], `statement ${at}`)
    done = updated && removed
    if (done) t.diagnostic(`${at - 1} points`)
  }
})

test('watch and repair: crashed before any statement, the next round puts right what was half done', async (t) => {
  const { provider, sql } = await setUp(t, { admin })
  const instance = await instanceOf(t, provider, { storage_quota: '1MB' })
  const uri = await instance.uri('b')
  await connectAndWrite(uri)
  const crashes = new Crashes(t)
  const write = async () => {
    const client = await connect(t, uri)
    await client.query('INSERT INTO mine.shared VALUES (1)')
  }
  // The next round passes an instance over whose lock the server has not yet taken from a session that died
  const letGo = () =>
    until(async () => (await sql(`SELECT FROM pg_stat_activity WHERE application_name = 'osb:upkeep'`)).length === 0)
  const crash = async (work: () => Promise<unknown>, at: number) => {
    await crashes.during(work, at).catch(() => undefined)
    await letGo()
  }
  // Both swallow what fails, so that the points are counted here
  for (let at = 1; at <= 32; at++) {
    instance.options = { storage_quota: '1MB' }
    await crash(() => instance.watch(), at)
    await instance.watch()
    await assert.rejects(write(), { code: '42501' }, `statement ${at} of the lock`)
    instance.options = { storage_quota: '1GB' }
    await crash(() => instance.watch(), at)
    await instance.watch()
    await write()
    await sql(`ALTER DATABASE ${instance.database} CONNECTION LIMIT 3`)
    await sql(`ALTER ROLE osb_b_${instance.token}_${instance.states.get('b')?.suffix} NOLOGIN`)
    await crash(() => instance.repair(), at)
    await instance.repair()
    assert.deepEqual(await instance.repair(false), [], `statement ${at} of the repair`)
  }
})

test('life: a superuser who crashes again and again, a statement later each time, gets there', async (t) => {
  const { provider, sql } = await setUp(t)
  const crashes = new Crashes(t)
  const crashing = async (work: () => Promise<unknown>) => {
    for (let at = 1; !(await crashes.during(work, at)); at++);
  }
  const instance = new Instance(provider)
  await crashing(() => instance.provision())
  await crashing(() => instance.bind('a'))
  await connectAndWrite(await instance.uri('a'))
  await crashing(() => instance.bind('b', { role: 'reader' }))
  await crashing(() => instance.update({ connection_limit: 4 }))
  await crashing(() => instance.unbind('a'))
  assert.equal(await countLogins(sql, instance), 1)
  await connectAndWrite(await instance.uri('c'))
  await crashing(() => instance.deprovision())
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('[row 11] provision: ten at once, with bindings and removal, all come out right', async (t) => {
  const { provider, sql } = await setUp(t, { admin })
  const instances = Array.from({ length: 10 }, () => new Instance(provider))
  await Promise.all(instances.map((instance) => instance.provision()))
  await Promise.all(instances.flatMap((instance) => [instance.bind('a'), instance.bind('b')]))
  await Promise.all(instances.map(async (instance) => connectAndWrite(await instance.uri('a'))))
  await Promise.all(instances.map((instance) => instance.unbind('a')))
  await Promise.all(instances.map((instance) => instance.deprovision()))
  for (const instance of instances) assert.deepEqual(await leftovers(sql, instance.token), [])
})

/** Leaves objects of both kinds: the owner's, and some that the login made as itself. */
async function connectAndWrite(connectionString: string): Promise<void> {
  const client = new Client({ connectionString })
  await client.connect()
  try {
    await client.query('CREATE SCHEMA IF NOT EXISTS mine; CREATE TABLE IF NOT EXISTS mine.shared (id int)')
    await client.query(`SET ROLE NONE; CREATE TABLE mine.t_${process.hrtime.bigint()} (id int)`)
  } finally {
    await client.end()
  }
}

async function countLogins(sql: Scene['sql'], { token }: Instance): Promise<number> {
  return (await sql('SELECT 1 FROM pg_roles WHERE starts_with(rolname, $1)', [`osb_b_${token}_`])).length
}
