import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Crashes, type Moment } from './crash.ts'
import { adminKinds, connect, Instance, instanceOf, leftovers, setUp, valueOf } from './support.ts'

const moments: Moment[] = ['before', 'after']

for (const admin of adminKinds) {
  for (const moment of moments) {
    test(`provision: ${admin} crashed ${moment} any statement converges when repeated`, async (t) => {
      const { provider, sql } = await setUp(t, { admin })
      const crashes = new Crashes(t)
      for (let at = 1, done = false; !done; at++) {
        const instance = new Instance(provider)
        done = await crashes.during(() => instance.provision(), { at, moment })
        // Odd points are repeated, even ones deleted at once, as a platform does after a failure
        if (at % 2 === 1) {
          await instance.provision()
          if (at % 4 === 1) await connectAndWrite(await instance.uri('b'))
        }
        await instance.deprovision()
        assert.deepEqual(instance.states.size === 0 ? [] : await leftovers(sql, instance.token), [], `statement ${at}`)
        if (done) t.diagnostic(`${at - 1} points`)
      }
    })

    test(`bind and unbind: ${admin} crashed ${moment} any statement converge when repeated`, async (t) => {
      const { provider, sql } = await setUp(t, { admin })
      const instance = await instanceOf(t, provider)
      const witness = await connect(t, await instance.uri('witness'))
      const crashes = new Crashes(t)
      for (const role of ['owner', 'reader']) {
        for (let at = 1, done = false; !done; at++) {
          const bound = await crashes.during(() => instance.bind('b', { role }), { at, moment })
          if (at % 3 !== 0) {
            const credentials = (await instance.bind('b', { role })).credentials
            if (role === 'owner') await connectAndWrite(String(credentials?.uri))
          }
          const unbound = await crashes.during(() => instance.unbind('b'), { at, moment })
          if (!unbound) await instance.unbind('b')
          assert.deepEqual(await loginsOf(sql, instance.token), 1, `statement ${at}`)
          done = bound && unbound
          if (done) t.diagnostic(`${role}: ${at - 1} points`)
        }
      }
      assert.equal(await valueOf(witness, `SELECT count(DISTINCT tableowner)::int FROM pg_tables WHERE schemaname = 'mine'`), 1)
      await witness.query('DROP SCHEMA mine CASCADE')
    })

    test(`update and deprovision: ${admin} crashed ${moment} any statement converge when repeated`, async (t) => {
      const { provider, sql } = await setUp(t, { admin })
      const crashes = new Crashes(t)
      for (let at = 1, done = false; !done; at++) {
        const instance = new Instance(provider)
        await instance.provision()
        await connectAndWrite(await instance.uri('b'))
        const updated = await crashes.during(() => instance.update({ connection_limit: 4 }), { at, moment })
        if (!updated) await instance.update({ connection_limit: 4 })
        const removed = await crashes.during(() => instance.deprovision(), { at, moment })
        if (!removed) await instance.deprovision()
        assert.deepEqual(await leftovers(sql, instance.token), [], `statement ${at}`)
        done = updated && removed
        if (done) t.diagnostic(`${at - 1} points`)
      }
    })
  }
}

/** Leaves objects of both kinds: the owner's, and some that the login made as itself. */
async function connectAndWrite(uri: string): Promise<void> {
  const { Client } = await import('pg')
  const client = new Client({ connectionString: uri })
  await client.connect()
  try {
    await client.query('CREATE SCHEMA IF NOT EXISTS mine; CREATE TABLE IF NOT EXISTS mine.shared (id int)')
    await client.query(`SET ROLE NONE; CREATE TABLE mine.t${Date.now()} (id int)`)
  } finally {
    await client.end()
  }
}

async function loginsOf(sql: (s: string, v?: unknown[]) => Promise<unknown[]>, token: string): Promise<number> {
  return (await sql('SELECT 1 FROM pg_roles WHERE starts_with(rolname, $1)', [`osb_b_${token}_`])).length
}
