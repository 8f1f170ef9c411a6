import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { startReplication } from '../../helper/replication.ts'
import { alarmsOf, assertUnavailable, codesOf, keptLog, type Line, told } from './failures.ts'
import { OwnServer } from './own-server.ts'
import {
  type AdminKind,
  adminKinds,
  cleanUp,
  connect,
  Instance,
  instanceOf,
  leftovers,
  setUp,
  until
} from './support.ts'

/** A small lock table, which a test can fill. */
const server = new OwnServer({ max_locks_per_transaction: '10', max_connections: '20' })

before(() => server.start())
after(() => server.remove())

/** As many tries as the fault is worth, of which only the last is an alarm. */
function assertAlarm(lines: readonly Line[], { code, tries }: { code: string | undefined; tries: number }): Line {
  assert.deepEqual(
    lines.filter(({ fields }) => 'code' in fields).map(({ fields }) => Reflect.get(fields, 'code')),
    [...Array.from({ length: tries }, () => code)]
  )
  const [alarm, ...more] = alarmsOf(lines)
  assert.deepEqual(more, [])
  assert.equal(alarm, lines.at(-1))
  return alarm ?? assert.fail('no alarm')
}

async function scene(t: TestContext, admin: AdminKind = 'superuser', url = server.adminUrl) {
  const { provider, adminUrl, sql } = await setUp(t, { admin, url })
  const instance = new Instance(provider)
  return { instance, provider, adminUrl, sql }
}

for (const admin of adminKinds) {
  test(`provision: with ${admin}, a template of another collation version is an alarm with the detail, at once`, async (t) => {
    const { instance, adminUrl, sql } = await scene(t, admin)
    await sql(`UPDATE pg_database SET datcollversion = '1.0' WHERE datname = 'template0'`)
    cleanUp(t, () => sql(`UPDATE pg_database SET datcollversion = NULL WHERE datname = 'template0'`))
    const lines = await assertUnavailable({ instance, adminUrl }, told.broken, (call) => instance.provision(call))
    const alarm = assertAlarm(lines, { code: 'XX000', tries: 1 })
    assert.match(JSON.stringify(alarm.fields), /collation version/)
    await sql(`UPDATE pg_database SET datcollversion = NULL WHERE datname = 'template0'`)
    await instance.provision()
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })

  test(`bind: with ${admin}, a group of tenants that is gone is a race at first, then an alarm`, async (t) => {
    const { instance, adminUrl, sql } = await scene(t, admin)
    await instance.provision()
    await sql('ALTER ROLE osb_tenant RENAME TO hidden')
    cleanUp(t, () => sql('ALTER ROLE hidden RENAME TO osb_tenant'))
    const lines = await assertUnavailable({ instance, adminUrl }, told.rejecting, (call) =>
      instance.bind('b', {}, call)
    )
    assertAlarm(lines, { code: '42704', tries: 3 })
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })

  test(`provision: with ${admin}, a full lock table is retried until it has room`, async (t) => {
    const { instance, provider, sql } = await scene(t, admin)
    const flooder = await instanceOf(t, provider)
    const client = await connect(t, await flooder.uri('b'))
    await provider.health?.()
    await assert.rejects(client.query('SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 200000) g'), {
      code: '53200'
    })
    const { log, lines } = keptLog()
    const provisioned = instance.provision({ log })
    await until(async () => (await sql('SELECT 1').catch(() => [])).length === 1 && lines.length > 0)
    await client.end()
    await provisioned
    assert.deepEqual(new Set(codesOf(lines)), new Set(['53200']))
    assert.deepEqual(alarmsOf(lines), [])
    await instance.deprovision()
  })
}

test('bind: a missing file of the server is an alarm, at once', async (t) => {
  const { instance, adminUrl, sql } = await scene(t)
  await instance.provision()
  cleanUp(t, () => instance.deprovision())
  const url = new URL(adminUrl)
  url.pathname = `/${instance.database}`
  const inside = await connect(t, url.href)
  const { rows } = await inside.query<{ path: string }>(`SELECT pg_relation_filepath('pg_default_acl') AS path`)
  await inside.end()
  await sql('CHECKPOINT')
  await server.restart()
  rmSync(join(server.clusterDir, rows[0]?.path ?? assert.fail()))
  const lines = await assertUnavailable({ instance, adminUrl }, told.broken, (call) => instance.bind('b', {}, call))
  assertAlarm(
    lines.filter(({ fields }) => Reflect.get(fields, 'code') === '58P01'),
    { code: '58P01', tries: 1 }
  )
})

test('provision: a maintenance database that is gone is an alarm', async (t) => {
  const url = new URL(server.adminUrl)
  url.pathname = '/gone'
  const { provider } = await setUp(t, { url: server.adminUrl, adminUrl: url.href })
  const instance = new Instance(provider)
  const lines = await assertUnavailable({ instance, adminUrl: url.href }, told.rejecting, (call) =>
    instance.provision(call)
  )
  assertAlarm(lines, { code: '3D000', tries: 3 })
})

test('provision: a server without the TLS that the URL asks for is an alarm, at once', async (t) => {
  const url = new URL(server.adminUrl)
  url.searchParams.set('sslmode', 'require')
  const { provider } = await setUp(t, { url: server.adminUrl, adminUrl: url.href })
  const instance = new Instance(provider)
  const lines = await assertUnavailable({ instance, adminUrl: url.href }, told.untrusted, (call) =>
    instance.provision(call)
  )
  assertAlarm(lines, { code: undefined, tries: 1 })
})

test('provision: a URL without a password is an alarm, at once', async (t) => {
  const url = new URL(server.adminUrl)
  url.password = ''
  const { provider } = await setUp(t, { url: server.adminUrl, adminUrl: url.href })
  const instance = new Instance(provider)
  const lines = await assertUnavailable({ instance, adminUrl: url.href }, told.refused, (call) =>
    instance.provision(call)
  )
  assertAlarm(lines, { code: undefined, tries: 1 })
})

test('provision: a server that breaks the protocol is an alarm, at once', async (t) => {
  const pooler = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end(errorResponse({ S: 'FATAL', C: '08P01', M: 'no more connections allowed' })))
  })
  await once(pooler.listen(0, '127.0.0.1'), 'listening')
  cleanUp(t, () => pooler.close())
  const address: AddressInfo | string | null = pooler.address()
  assert.ok(typeof address === 'object' && address !== null)
  const adminUrl = `postgresql://admin:secret@127.0.0.1:${address.port}/postgres`
  const { provider } = await setUp(t, { url: server.adminUrl, adminUrl })
  const instance = new Instance(provider)
  const lines = await assertUnavailable({ instance, adminUrl }, told.broken, (call) => instance.provision(call))
  assertAlarm(lines, { code: '08P01', tries: 1 })
})

test('provision: a standby is an alarm, after one more try', async (t) => {
  const replication = await startReplication({ synchronous: false })
  cleanUp(t, () => replication.close())
  const prepared = new Instance((await setUp(t, { url: replication.primary.urlOf('postgres') })).provider)
  await prepared.provision()
  await until(
    async () => (await replication.standby.sql(`SELECT FROM pg_roles WHERE rolname = 'osb_tenant'`)).length > 0
  )
  const adminUrl = replication.standby.urlOf('postgres')
  const { provider } = await setUp(t, { url: replication.primary.urlOf('postgres'), adminUrl })
  const instance = new Instance(provider)
  const lines = await assertUnavailable({ instance, adminUrl }, told.readOnly, (call) => instance.provision(call))
  assertAlarm(lines, { code: '25006', tries: 2 })
  await prepared.deprovision()
})

/** A message of PostgreSQL's protocol. */
function errorResponse(fields: Record<string, string>): Buffer {
  const body = Buffer.from(
    `${Object.entries(fields)
      .map(([kind, text]) => `${kind}${text}\0`)
      .join('')}\0`
  )
  const head = Buffer.alloc(5)
  head.write('E')
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}
