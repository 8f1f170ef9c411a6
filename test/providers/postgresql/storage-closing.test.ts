import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { fill, growsAnyway } from './storage.ts'
import { type AdminKind, adminKinds, connect, Instance, instanceOf, type Scene, scalar, setUp } from './support.ts'

const small = { storage_quota: '12MB', connection_limit: 10 }

/** An instance that its storage quota has closed, with two bindings. */
async function closedInstance(t: TestContext, { provider }: Scene) {
  const instance = await instanceOf(t, provider, small)
  const uri = await instance.uri('a')
  await instance.bind('b')
  const first = await connect(t, uri)
  await fill(first, 'big', 6)
  const grow = await growsAnyway(first)
  await instance.watch()
  await (await connect(t, uri)).query(grow)
  await instance.watch()
  await assertClosed(t, uri)
  return { instance, uri, login: new URL(uri).username, owner: `osb_o_${instance.token}` }
}

async function assertClosed(t: TestContext, uri: string): Promise<void> {
  await assert.rejects(connect(t, uri), { code: '42501', message: /permission denied for database/ })
}

/** As an earlier version has closed it. */
async function closeAsBefore({ sql }: Scene, { instance, owner }: Awaited<ReturnType<typeof closedInstance>>) {
  await sql(`ALTER DATABASE ${instance.database} ALLOW_CONNECTIONS false`)
  await sql(`GRANT CONNECT ON DATABASE ${instance.database} TO ${owner}, osb_r_${instance.token}`)
}

async function admitsBroker({ sql }: Scene, { database }: Instance): Promise<boolean> {
  const [row] = await sql('SELECT datallowconn AS admits FROM pg_database WHERE datname = $1', [database])
  return row?.admits === true
}

function both(name: string, run: (t: TestContext, scene: Scene) => Promise<void>): void {
  for (const admin of adminKinds) test(`closed database: with ${admin}, ${name}`, withScene(admin, run))
}

function withScene(admin: AdminKind, run: (t: TestContext, scene: Scene) => Promise<void>) {
  return async (t: TestContext) => run(t, await setUp(t, { admin }))
}

both('rights in it of another tenant do not keep that one from being unbound and removed', async (t, scene) => {
  const victim = new Instance(scene.provider)
  await victim.provision()
  const victimLogin = new URL(await victim.uri('v')).username
  const hostile = await instanceOf(t, scene.provider, small)
  const uri = await hostile.uri('h')
  const session = await connect(t, uri)
  await fill(session, 'big', 6)
  await session.query(`GRANT SELECT ON big TO ${victimLogin}, osb_o_${victim.token}, osb_r_${victim.token}`)
  const object = await scalar(session, "SELECT lo_from_bytea(0, 'bait')")
  await session.query(`GRANT SELECT ON LARGE OBJECT ${object} TO ${victimLogin}, osb_o_${victim.token}`)
  const grow = await growsAnyway(session)
  await hostile.watch()
  await (await connect(t, uri)).query(grow)
  await hostile.watch()
  await assertClosed(t, uri)
  await victim.unbind('v')
  await victim.deprovision()
  const left = await scene.sql('SELECT rolname FROM pg_roles WHERE position($1 in rolname) > 0', [victim.token])
  assert.deepEqual(left, [])
  await assertClosed(t, uri)
})

both('the repair and a further round leave it closed, and nothing is to be healed', async (t, scene) => {
  const { instance, uri } = await closedInstance(t, scene)
  assert.equal(await admitsBroker(scene, instance), true)
  assert.deepEqual(await instance.repair(), [])
  await instance.watch()
  await assertClosed(t, uri)
  assert.match((await instance.describe())?.notice ?? '', /its database is closed/)
  await assert.rejects(instance.bind('new'), { status: 400, message: /Update it to a plan with more storage\.$/ })
  await instance.unbind('b')
  await assertClosed(t, uri)
})

both('a login that an administrator lets in is put out at the next round', async (t, scene) => {
  const { instance, uri, login } = await closedInstance(t, scene)
  for (const grantee of [login, 'PUBLIC', `osb_r_${instance.token}`]) {
    await scene.sql(`GRANT CONNECT ON DATABASE ${instance.database} TO ${grantee}`)
    const session = await connect(t, uri)
    await instance.watch()
    await assert.rejects(session.query('SELECT 1'), `the session by the right of ${grantee} has ended`)
    await assertClosed(t, uri)
  }
})

both('one that an earlier version has closed to the broker too is opened to the broker alone', async (t, scene) => {
  const closed = await closedInstance(t, scene)
  const { instance, uri } = closed
  await closeAsBefore(scene, closed)
  await instance.watch()
  assert.equal(await admitsBroker(scene, instance), true)
  await assertClosed(t, uri)
  // Its plan may have left the catalog
  await closeAsBefore(scene, closed)
  await scene.provider.watch?.({
    refresh: async () => undefined,
    signal: new AbortController().signal,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    async *instances() {}
  })
  assert.equal(await admitsBroker(scene, instance), true)
  await assertClosed(t, uri)
  await closeAsBefore(scene, closed)
  await instance.unbind('b')
  await assertClosed(t, uri)
  await closeAsBefore(scene, closed)
  await instance.update({ ...small, storage_quota: '1GB' })
  await (await connect(t, uri)).query('CREATE TABLE more (id int)')
  assert.deepEqual(await instance.repair(), [])
})

both('an update to a plan with more, yet not enough, says that it remains closed', async (t, scene) => {
  const { instance, uri } = await closedInstance(t, scene)
  const result = await instance.update({ ...small, storage_quota: '15MB' })
  assert.match(result?.description ?? '', /its database is closed/)
  await assertClosed(t, uri)
})
