import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { Client } from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { alarmsOf, assertDiscreet, assertUnavailable, codesOf, keptLog, told } from './failures.ts'
import { OwnServer } from './own-server.ts'
import { SmallDisk } from './small-disk.ts'
import { cleanUp, connect, Instance, leftovers, scalar, setUp } from './support.ts'

const disk = SmallDisk.mount(110)
const server =
  disk === undefined ? undefined : new OwnServer({ min_wal_size: '32MB', max_wal_size: '48MB' }, disk.dataDir)

before(() => server?.start())
after(async () => {
  await server?.remove()
  disk?.remove()
})

test('[row 6] provision: on a full disk is an alarm at once, and converges when there is room', async (t) => {
  const scene = await fullDisk(t)
  if (scene === undefined) return
  const { instance, other, at, disk, sql } = scene
  disk.fill()
  const lines = await assertUnavailable({ ...at, instance: other }, told.exhausted, (call) => other.provision(call))
  // One try: more would but fill the log
  assert.deepEqual([codesOf(lines), alarmsOf(lines).length], [['53100'], 1])
  // What is there already can be read
  const client = await connect(t, await instance.uri('b'))
  assert.equal(await scalar(client, 'SELECT count(*)::int FROM kept'), 1)
  disk.clear()
  await other.provision()
  const made = await connect(t, await other.uri('b'))
  await made.query('CREATE TABLE kept (id int)')
  for (const each of [instance, other]) {
    await each.deprovision()
    assert.deepEqual(await leftovers(sql, each.token), [])
  }
})

test('[row 6] provision: a disk that is full before the first connection is an alarm, and the delete leaves nothing', async (t) => {
  const scene = await fullDisk(t)
  if (scene === undefined) return
  const { other, at, disk, sql } = scene
  const original = Client.prototype.query
  const opened = t.mock.method(Client.prototype, 'query', async function (this: Client, ...args: unknown[]) {
    const result: unknown = await Reflect.apply(original, this, args)
    if (String(args[0]).endsWith('ALLOW_CONNECTIONS true')) disk.fill()
    return result
  })
  const lines = await assertUnavailable({ ...at, instance: other }, told.exhausted, (call) => other.provision(call))
  opened.mock.restore()
  assert.equal(alarmsOf(lines).length, 1)
  assert.equal((await leftovers(sql, other.token)).length, 3)
  disk.clear()
  await other.deprovision()
  assert.deepEqual(await leftovers(sql, other.token), [])
})

test('[row 6] deprovision: a full disk that ends the server is survived, with the data of the others', async (t) => {
  const scene = await fullDisk(t)
  if (scene === undefined) return
  const { instance, other, at, disk, server, sql } = scene
  await other.provision()
  disk.fill()
  // The drop asks for a checkpoint, which cannot be written; on some tries there is just room enough
  const { log, lines } = keptLog()
  const error = await other.deprovision({ log }).then(
    () => undefined,
    (reason: unknown) => reason
  )
  assert.ok(error === undefined || error instanceof Unavailable, String(error))
  if (error !== undefined)
    assert.ok([told.unreachable, told.exhausted, told.busy].includes(error.message), error.message)
  assertDiscreet([error?.message, lines], { ...at, instance: other })
  disk.clear()
  // Its supervisor may have given up
  await server.restart()
  await other.deprovision()
  assert.deepEqual(await leftovers(sql, other.token), [])
  const client = await connect(t, await instance.uri('b'))
  assert.equal(await scalar(client, 'SELECT count(*)::int FROM kept'), 1)
  await instance.deprovision()
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

/** A disk with an instance on it that holds something, and another that is not made yet. */
async function fullDisk(t: TestContext) {
  if (disk === undefined || server === undefined) {
    t.skip('this process may not mount a small file system')
    return undefined
  }
  const { adminUrl, provider } = await setUp(t, { url: server.adminUrl })
  const [instance, other] = [new Instance(provider), new Instance(provider)]
  await instance.provision()
  const client = await connect(t, await instance.uri('b'))
  await client.query('CREATE TABLE kept AS SELECT 1 AS id')
  cleanUp(t, () => disk.clear())
  return { instance, other, at: { instance, adminUrl }, disk, server, sql: server.sql.bind(server) }
}
