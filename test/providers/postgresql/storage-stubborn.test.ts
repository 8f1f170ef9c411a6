import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fill, growsAnyway } from './storage.ts'
import { adminKinds, connect, instanceOf, setUp } from './support.ts'

const small = { storage_quota: '12MB', connection_limit: 10 }

/** What an open transaction of a tenant can do to rows that the quota has to change. */
const holds = {
  'the row of its owner': 'ALTER ROLE CURRENT_USER PASSWORD $$x$$',
  'the settings of its login':
    'SET LOCAL ROLE NONE; ALTER ROLE CURRENT_USER IN DATABASE $database SET work_mem = $$5MB$$',
  'the row of its database': 'GRANT CONNECT ON DATABASE $database TO CURRENT_USER'
}

for (const admin of adminKinds) {
  for (const [row, statement] of Object.entries(holds)) {
    test(`quota: with ${admin}, a transaction that keeps ${row} locked does not prevent the lock and the closing`, async (t) => {
      const { provider } = await setUp(t, { admin })
      const instance = await instanceOf(t, provider, small)
      const uri = await instance.uri('a')
      const other = await instance.uri('other')
      const hold = statement.replace('$database', instance.database)
      const first = await connect(t, uri)
      await fill(first, 'big', 6)
      const grow = await growsAnyway(first)
      await first.query(`BEGIN; ${hold}`)
      await instance.watch()
      for (const login of [uri, other]) {
        const locked = await connect(t, login)
        await assert.rejects(locked.query('INSERT INTO big DEFAULT VALUES'), { code: '42501' })
        await assert.rejects(locked.query(`SET ROLE osb_o_${instance.token}`), { code: '42501' })
        await locked.query('DELETE FROM big WHERE false')
      }
      assert.match((await instance.describe())?.notice ?? '', /^The storage quota is used up/)

      const second = await connect(t, uri)
      await second.query(grow)
      // What a locked login may do no longer locks nothing
      await second.query(`BEGIN; ${hold}`).catch(() => second.query('ROLLBACK'))
      await instance.watch()
      for (const login of [uri, other]) await assert.rejects(connect(t, login), { code: '42501' })
    })
  }
}

for (const admin of adminKinds) {
  test(`quota: with ${admin}, a table that another session changes does not keep the others from being emptied`, async (t) => {
    const { provider, adminUrl } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, small)
    const uri = await instance.uri('a')
    const first = await connect(t, uri)
    await fill(first, 'big', 6)
    await first.query('CREATE TABLE held (id int); CREATE TABLE other (id int)')
    const inside = new URL(adminUrl)
    inside.pathname = `/${instance.database}`
    // The broker ends sessions of tenants alone
    const administrator = await connect(t, inside.href)
    await administrator.query('BEGIN; ALTER TABLE held SET (fillfactor = 90)')
    await instance.watch()
    const locked = await connect(t, uri)
    await assert.rejects(locked.query('INSERT INTO other VALUES (1)'), { code: '42501' })
    await locked.query('TRUNCATE big; DELETE FROM other')
    await administrator.query('ROLLBACK')
    await assert.rejects(locked.query('DELETE FROM held'), { code: '42501' })
    await instance.watch()
    await (await connect(t, uri)).query('INSERT INTO held VALUES (1)')
  })
}
