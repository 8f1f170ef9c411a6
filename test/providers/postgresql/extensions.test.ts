import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Rejected } from '../../../src/core/provider.ts'
import { adminKinds, cleanUp, connect, Instance, leftovers, scalar, setUp } from './support.ts'

const installed = `SELECT array_agg(extname::text ORDER BY extname) FROM pg_extension WHERE extname <> 'plpgsql'`

function refused(status: number, message: RegExp) {
  return (error: unknown) => error instanceof Rejected && error.status === status && message.test(error.message)
}

for (const admin of adminKinds) {
  test(`provision: ${admin} installs the extensions that are asked for, and their tenants may use and drop them`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const instance = new Instance(provider)
    instance.options = { extensions: ['citext', 'pgcrypto', 'pg_trgm'] }
    instance.parameters = { extensions: ['citext', 'pgcrypto'] }
    await instance.provision()
    const owner = await connect(t, await instance.uri('owner'))
    assert.deepEqual(await scalar(owner, installed), ['citext', 'pgcrypto'])
    assert.equal(await scalar(owner, `SELECT 'A'::citext = 'a'::citext`), true)
    await owner.query('CREATE TABLE people (name citext)')
    const reader = await connect(t, await instance.uri('reader', { role: 'reader' }))
    assert.equal(await scalar(reader, `SELECT encode(digest('a', 'md5'), 'hex')`), '0cc175b9c0f1b6a831c399e269772661')
    await owner.query('DROP EXTENSION pgcrypto')

    instance.parameters = { extensions: ['citext', 'pg_trgm'] }
    await instance.update(instance.options)
    await instance.update(instance.options)
    // What the tenant dropped and does not ask for stays away; what is not asked for any more stays.
    assert.deepEqual(await scalar(owner, installed), ['citext', 'pg_trgm'])
    instance.parameters = {}
    await instance.update(instance.options)
    assert.deepEqual(await scalar(owner, installed), ['citext', 'pg_trgm'])
    for (const binding of ['owner', 'reader']) await instance.unbind(binding)
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })

  test(`[row 30] provision: ${admin} refuses extensions that the plan or the server does not have, and makes nothing`, async (t) => {
    const { provider, sql } = await setUp(t, { admin })
    const cases: [unknown, RegExp][] = [
      [['dblink'], /^The plan does not allow the extension "dblink"\. It allows: citext, nonesuch\.$/],
      [['citext', 'nonesuch'], /^The server does not have the extension "nonesuch"\.$/],
      ['citext', /^"extensions" is a list of names\. The plan allows: citext, nonesuch\.$/],
      [[5], /^"extensions" is a list of names/]
    ]
    for (const [extensions, message] of cases) {
      const instance = new Instance(provider)
      instance.options = { extensions: ['citext', 'nonesuch'] }
      instance.parameters = { extensions }
      await assert.rejects(instance.provision(), refused(400, message))
      if (instance.states.size > 0) assert.deepEqual(await leftovers(sql, instance.token), [])
    }
  })

  test(`[row 30] update: ${admin} refuses with 422 what cannot be had any more, and the database stays as it was`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const instance = new Instance(provider)
    cleanUp(t, () => instance.deprovision())
    instance.options = { extensions: ['citext', 'pageinspect'] }
    await instance.provision()
    instance.parameters = { extensions: ['citext', 'dblink'] }
    await assert.rejects(instance.update(instance.options), refused(422, /does not allow the extension "dblink"/))
    // It is not trusted: its script runs as superuser, in a database that the tenant has been in.
    instance.parameters = { extensions: ['pageinspect'] }
    await assert.rejects(instance.update(instance.options), refused(422, /only when the instance is made/))
    const owner = await connect(t, await instance.uri('owner'))
    assert.equal(await scalar(owner, installed), null)
  })
}

test('[row 30] provision: an extension that is not trusted is installed by a superuser, and refused to another admin', async (t) => {
  for (const admin of adminKinds) {
    const { provider, sql } = await setUp(t, { admin })
    const instance = new Instance(provider)
    instance.options = { extensions: ['pageinspect', 'earthdistance'] }
    instance.parameters = { extensions: ['pageinspect', 'earthdistance'] }
    if (admin === 'superuser') {
      await instance.provision()
      const owner = await connect(t, await instance.uri('owner'))
      // With what it needs.
      assert.deepEqual(await scalar(owner, installed), ['cube', 'earthdistance', 'pageinspect'])
      // It stays the admin's: its functions look behind the rights of SQL.
      await assert.rejects(owner.query('DROP EXTENSION pageinspect'), { code: '42501' })
      await assert.rejects(owner.query(`SELECT get_raw_page('pg_class', 0)`), /must be superuser|permission denied/)
      await instance.unbind('owner')
    } else {
      await assert.rejects(instance.provision(), refused(400, /needs more rights than the broker has/))
    }
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  }
})

test('update: a script of an extension runs nothing that the tenant has put in its way', async (t) => {
  const { provider, sql } = await setUp(t)
  const instance = new Instance(provider)
  cleanUp(t, () => instance.deprovision())
  instance.options = { extensions: ['citext'] }
  await instance.provision()
  const owner = await connect(t, await instance.uri('owner'))
  await owner.query(`CREATE FUNCTION public.citext(boolean) RETURNS text LANGUAGE sql AS 'SELECT ''mine''::text'`)
  instance.parameters = { extensions: ['citext'] }
  // PostgreSQL refuses to replace what is not the extension's: the update fails, and the tenant gains nothing.
  await assert.rejects(
    instance.update(instance.options),
    refused(422, /names that objects in the database have already/)
  )
  assert.equal(await scalar(owner, installed), null)
  const [role] = await sql('SELECT rolsuper FROM pg_roles WHERE rolname = $1', [`osb_o_${instance.token}`])
  assert.equal(role?.rolsuper, false)
})
