import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Client } from 'pg'
import { Rejected } from '../../../src/core/provider.ts'
import { postgresqlProvider } from '../../../src/providers/postgresql/index.ts'
import { codesOf, untilDone } from './failures.ts'
import { type Operation, operations, perform } from './kept-instance.ts'
import { OwnServer } from './own-server.ts'
import { type AdminKind, adminKinds, cleanUp, connect, Instance, leftovers, scalar, setUp, until } from './support.ts'

const server = new OwnServer()
const sql = (statement: string, values?: unknown[]) => server.sql(statement, values)

before(() => server.start())
after(() => server.remove())

// Statements, from 1, that the server dies at, for each operation
const points: Record<AdminKind, Record<Operation, number>> = {
  superuser: { provision: 20, 'bind owner': 12, 'bind reader': 15, update: 8, unbind: 11, deprovision: 17 },
  'CREATEDB CREATEROLE': { provision: 14, 'bind owner': 19, 'bind reader': 9, update: 5, unbind: 16, deprovision: 12 }
}

for (const admin of adminKinds) {
  test(`[row 1] life: the server of ${admin} dies in the middle of each operation, and all converges`, async (t) => {
    // Its supervisor gives up after five ends in a minute
    await server.restart()
    const { instance, at } = await instanceAt(t, admin)
    for (const operation of operations) {
      if (operation === 'update') await server.restart()
      const crashed = crashAt(t, points[admin][operation])
      await untilDone(at, (call) => perform[operation](instance, call))
      assert.ok(crashed(), `${operation} has no such statement`)
      if (operation === 'bind owner') {
        const client = await connect(t, await instance.uri('owner'))
        await client.query('CREATE TABLE kept (id int)')
      }
      if (operation === 'unbind') {
        const client = await connect(t, await instance.uri('reader', { role: 'reader' }))
        assert.equal(await scalar(client, 'SELECT count(*)::int FROM kept'), 0)
      }
    }
    assert.deepEqual(await leftovers(sql, instance.token), [])
  })
}

test('[row 7] provision: a server that dies in the middle of CREATE DATABASE leaves no row, and all converges', async (t) => {
  await server.restart()
  const { at } = await instanceAt(t, 'superuser')
  // It may have been a moment too late
  for (let tries = 1; ; tries++) {
    const instance = new Instance(at.instance.provider)
    const known = new Set(databaseFolders())
    const provisioned = untilDone({ ...at, instance }, (call) => instance.provision(call))
    let folder: string | undefined
    while (folder === undefined) {
      folder = databaseFolders().find((name) => !known.has(name))
      await nextTurn()
    }
    server.crash()
    await provisioned
    const [row] = await sql('SELECT oid::text FROM pg_database WHERE datname = $1', [instance.database])
    const client = await connect(t, await instance.uri('b'))
    assert.equal(await scalar(client, 'SELECT 1'), 1)
    await instance.deprovision()
    assert.deepEqual(await leftovers(sql, instance.token), [])
    if (row?.oid !== folder) {
      // What the dead one copied is for a job of the operator's to find
      assert.ok(databaseFolders().includes(folder))
      break
    }
    assert.ok(tries < 4, 'no crash came in the middle')
  }
})

test('[row 8] deprovision: a server that dies in the middle of DROP DATABASE leaves it invalid, and all converges', async (t) => {
  await server.restart()
  const { instance, at } = await instanceAt(t, 'superuser')
  await instance.provision()
  await instance.bind('b')
  // All sessions have to close the files of a database before they are removed
  const thaw = await server.freeze(t)
  const removed = untilDone(at, (call) => instance.deprovision(call))
  const limit = async () =>
    (await sql('SELECT datconnlimit AS n FROM pg_database WHERE datname = $1', [instance.database]))[0]?.n
  await until(async () => (await limit()) === -2)
  server.crash()
  thaw()
  const lines = await removed
  assert.ok(codesOf(lines).length > 0, 'the crash went unnoticed')
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

test('[row 8] unbind and bind: of a database whose drop was interrupted end, and the next delete removes it', async (t) => {
  const { instance, at } = await instanceAt(t, 'CREATEDB CREATEROLE')
  await instance.provision()
  await instance.bind('b')
  const thaw = await server.freeze(t)
  const controller = new AbortController()
  const removed = instance.deprovision({ signal: controller.signal })
  const invalid = () => sql('SELECT FROM pg_database WHERE datconnlimit = -2')
  await until(async () => (await invalid()).length === 1)
  controller.abort(new Error('halted'))
  await assert.rejects(removed, { message: 'halted' })
  thaw()
  await assert.rejects(instance.bind('c'), (error) => {
    assert.ok(error instanceof Rejected)
    assert.deepEqual([error.status, error.message], [500, 'The database of this service instance is closed.'])
    return true
  })
  await untilDone(at, (call) => instance.unbind('b', call))
  await untilDone(at, (call) => instance.deprovision(call))
  assert.deepEqual(await leftovers(sql, instance.token), [])
})

async function instanceAt(t: TestContext, admin: AdminKind) {
  const { adminUrl } = await setUp(t, { admin, url: server.adminUrl })
  const provider = postgresqlProvider({ adminUrl })
  cleanUp(t, () => provider.stop?.())
  const instance = new Instance(provider)
  return { instance, at: { instance, adminUrl } }
}

/** Ends the server when it gets the nth statement from now on; answers whether that has come. */
function crashAt(t: TestContext, at: number): () => boolean {
  const original = Client.prototype.query
  let left = at
  const mock = t.mock.method(Client.prototype, 'query', function (this: Client, ...args: unknown[]) {
    const running: unknown = Reflect.apply(original, this, args)
    left -= 1
    if (left === 0) server.crash()
    return running
  })
  return () => {
    mock.mock.restore()
    return left <= 0
  }
}

function databaseFolders(): string[] {
  return readdirSync(join(server.clusterDir, 'base'))
}
