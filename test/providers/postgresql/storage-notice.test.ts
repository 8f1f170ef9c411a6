import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fill } from './storage.ts'
import { adminKinds, connect, instanceOf, plainAdmin, scalar, setUp } from './support.ts'

const small = { storage_quota: '12MB', connection_limit: 10 }
const usedUp = /^The storage quota is used up: bindings can only read, DELETE and TRUNCATE/

const COMMENT = `SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()`
const SETTING = `SELECT current_setting('osb.storage_quota', true)`

for (const admin of adminKinds) {
  test(`locked database: with ${admin}, says why in SQL, in the description of operations and in a label`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, small)
    const uris = [await instance.uri('owner'), await instance.uri('reader', { role: 'reader' })]
    const [ownerUri = ''] = uris
    const first = await connect(t, ownerUri)
    await fill(first, 'big', 8)
    assert.deepEqual([await scalar(first, COMMENT), await scalar(first, SETTING)], [null, null])
    assert.deepEqual(await instance.labels(), {})
    await instance.watch()
    for (const uri of uris) {
      const client = await connect(t, uri)
      assert.match(String(await scalar(client, COMMENT)), usedUp)
      if (admin === 'superuser') assert.match(String(await scalar(client, 'SHOW osb.storage_quota')), usedUp)
      else assert.equal(await scalar(client, SETTING), null)
    }
    assert.match((await instance.bind('late')).description ?? '', /^The storage quota is used up/)
    const updated = await instance.update({ ...small, work_mem: '8MB' })
    assert.match(updated?.description ?? '', /^The storage quota is used up/)
    assert.deepEqual(await instance.labels(), { storage_quota: 'used-up' })
    assert.deepEqual(await instance.repair(), [])

    assert.deepEqual(await instance.update({ ...small, storage_quota: '1GB' }), {})
    const lifted = await connect(t, ownerUri)
    assert.deepEqual([await scalar(lifted, COMMENT), await scalar(lifted, SETTING)], [null, null])
    await lifted.query('CREATE TABLE more (id int)')
    assert.equal((await instance.bind('later')).description, undefined)
    assert.deepEqual(await instance.labels(), {})
  })
}

test('locked database: a plain admin that may set the parameter has it said by SHOW, too', async (t) => {
  const { provider, sql } = await setUp(t, { admin: 'CREATEDB CREATEROLE' })
  await sql(`GRANT SET ON PARAMETER "osb.storage_quota" TO ${plainAdmin}`)
  t.after(() => sql(`REVOKE SET ON PARAMETER "osb.storage_quota" FROM ${plainAdmin}`).catch(() => undefined))
  const instance = await instanceOf(t, provider, small)
  const uri = await instance.uri('owner')
  await fill(await connect(t, uri), 'big', 8)
  await instance.watch()
  assert.match(String(await scalar(await connect(t, uri), 'SHOW osb.storage_quota')), usedUp)
  await instance.update({ connection_limit: 10 })
  assert.equal(await scalar(await connect(t, uri), SETTING), null)
})
