import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { adminKinds, connect, instanceOf, scalar, setUp } from './support.ts'

for (const admin of adminKinds) {
  test(`bind: with ${admin}, a plan's lifetime ends the credentials, and a rotation has both valid meanwhile`, async (t) => {
    const { provider } = await setUp(t, { admin })
    const instance = await instanceOf(t, provider, { binding_lifetime: '2s' })
    const began = Date.now()
    const bound = await instance.bind('old')
    const { expires_at: expires = '', renew_before: renew = '' } = bound.metadata ?? {}
    const lasts = new Date(expires).getTime() - began
    assert.ok(lasts >= 2_000 && lasts < 3_000, `${lasts} ms`)
    assert.equal(new Date(expires).getTime() - new Date(renew).getTime(), 400)
    const again = await instance.bind('old')
    assert.deepEqual(again.metadata, bound.metadata, 'repeated, it ends at the same time')
    const uri = String(again.credentials?.uri)
    const session = await connect(t, uri)
    const successor = await instance.uri('new')
    await (await connect(t, successor)).query('CREATE TABLE shared (id int)')
    assert.equal(await scalar(session, 'SELECT count(*)::int FROM shared'), 0)
    await sleep(new Date(expires).getTime() - Date.now() + 50)
    await assert.rejects(connect(t, uri), { code: '28P01' })
    // What the framework does then
    await instance.unbind('old')
    await assert.rejects(session.query('SELECT 1'))
  })
}

test('bind: without a lifetime there is no end, and no metadata', async (t) => {
  const { provider, sql } = await setUp(t)
  const instance = await instanceOf(t, provider)
  assert.equal((await instance.bind('b')).metadata, undefined)
  const rows = await sql(`SELECT rolvaliduntil = 'infinity' AS ever FROM pg_roles WHERE starts_with(rolname, $1)`, [
    `osb_b_${instance.token}_`
  ])
  assert.deepEqual(rows, [{ ever: true }])
})
