import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AdminKind, adminKinds, connect, instanceOf, scalar, setUp } from './support.ts'

/** What a reader may try to write or to make, whatever the admin is. */
const attempts = [
  'CREATE TEMPORARY TABLE mine (id int)',
  'CREATE SCHEMA mine',
  'CREATE TABLE public.mine (id int)',
  'INSERT INTO kept VALUES (1)',
  'UPDATE kept SET id = 2',
  'DELETE FROM kept',
  'TRUNCATE kept',
  "SELECT nextval('numbers')",
  "SELECT setval('numbers', 5)",
  'REFRESH MATERIALIZED VIEW summary',
  "COPY kept FROM PROGRAM 'echo 1'",
  "COPY kept TO '/tmp/kept'",
  'CREATE EXTENSION hstore',
  'SELECT * FROM kept FOR UPDATE'
]

/** Ways to write a large object. `$object` is one of the owner's that it lets everybody write. */
const largeObjects = [
  'SELECT lo_creat(-1)',
  'SELECT lo_create(0)',
  "SELECT lo_from_bytea(0, 'mine')",
  "SELECT lo_put($object, 0, 'mine')",
  "SELECT lowrite(lo_open($object, 131072), 'mine')",
  'SELECT lo_truncate(lo_open($object, 131072), 5)',
  'SELECT lo_truncate64(lo_open($object, 131072), 5)',
  "SELECT lo_import('/etc/passwd')"
]

for (const admin of adminKinds) {
  test(`reader: with ${admin}, cannot write, with one exception that a plain admin cannot prevent`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, { extensions: ['hstore'] })
    const owner = await connect(t, await instance.uri('owner'))
    await owner.query(
      'CREATE TABLE kept AS SELECT 1 AS id; CREATE SEQUENCE numbers; CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM kept'
    )
    const object = await scalar(owner, "SELECT lo_from_bytea(0, 'shared')")
    await owner.query(`GRANT SELECT, UPDATE ON LARGE OBJECT ${object} TO PUBLIC`)
    const reader = await connect(t, await instance.uri('reader', { role: 'reader' }))
    await reader.query('SET default_transaction_read_only = off')
    for (const attempt of attempts) await assert.rejects(reader.query(attempt), { code: '42501' }, attempt)
    for (const statement of largeObjects) {
      const attempt = statement.replace('$object', String(object))
      if (isPrevented(admin, attempt)) await assert.rejects(reader.query(attempt), { code: '42501' }, attempt)
      else await reader.query(attempt)
    }
    assert.equal(await scalar(reader, `SELECT length(lo_get(${object})) > 0`), true, 'reading is not writing')
    assert.equal(await scalar(reader, 'SELECT count(*)::int FROM kept'), 1)
    await owner.query(`SELECT lo_put(${object}, 0, 'changed')`)
    // The repair gives a large object that a reader has made to the owner
    assert.equal((await instance.repair()).length, admin === 'superuser' ? 0 : 1)
  })
}

/** The functions belong to the bootstrap superuser, so only a superuser can take them from everybody. */
function isPrevented(admin: AdminKind, attempt: string): boolean {
  return admin === 'superuser' || attempt.includes('lo_import')
}

test('repair: with a superuser, closes the large objects of a database that an earlier version made', async (t) => {
  const { provider, adminUrl } = await setUp(t)
  const instance = await instanceOf(t, provider)
  const inside = new URL(adminUrl)
  inside.pathname = `/${instance.database}`
  const admin = await connect(t, inside.href)
  await admin.query('GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC')
  const reader = await connect(t, await instance.uri('reader', { role: 'reader' }))
  await reader.query('SET default_transaction_read_only = off')
  await reader.query('BEGIN; SELECT lo_create(0); ROLLBACK')
  assert.deepEqual(
    (await instance.repair()).map(({ finding, healed }) => [finding, healed]),
    [['lets others than the owner write large objects', true]]
  )
  await assert.rejects(reader.query('SELECT lo_create(0)'), { code: '42501' })
})
