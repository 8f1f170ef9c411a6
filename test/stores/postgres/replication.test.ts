import assert from 'node:assert/strict'
import { after, before, describe, type TestContext, test } from 'node:test'
import { Pool } from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { migrate, openStatePool, PostgresStore } from '../../../src/stores/postgres/index.ts'
import { type Replication, startReplication } from '../../helper/replication.ts'
import { openTcpProxy } from '../../helper/tcp-proxy.ts'
import { noEnqueue, provisionStart, until } from '../records.ts'
import { newSealer } from './fresh-store.ts'

const INSTANCES = 'SELECT instance_id FROM osb.service_instances'
const KEPT = { max: 6, idleTimeoutMillis: 0 }
const kinds: [string, (url: string) => Pool][] = [
  ['a pool of its own', (url) => openStatePool({ text: url, name: 'url' }, KEPT)],
  ['a pool of the host', (url) => new Pool({ connectionString: url, ...KEPT })]
]

describe('PostgresStore on a primary with a synchronous standby', () => {
  let replication: Replication

  before(async () => {
    replication = await startReplication()
  })
  after(() => replication.close())

  async function storeOn(t: TestContext, open: (url: string) => Pool, port: number) {
    const database = /\/([^/?]+)\?/.exec(await replication.createDatabase())?.[1] ?? ''
    const { primary } = replication
    const host = new Pool({ connectionString: primary.urlOf(database) })
    await migrate(host).finally(() => host.end())
    const pool = open(primary.urlOf(database).replace(/:\d+\//, `:${port}/`))
    t.after(() => pool.end())
    const store = new PostgresStore(pool, { sealer: newSealer() })
    const looker = new Pool({ connectionString: primary.urlOf(database), max: 1 })
    t.after(() => looker.end())
    return { pool, store, looker }
  }

  for (const [kind, open] of kinds) {
    test(`start: a COMMIT that the standby does not confirm is no success, in ${kind}`, async (t) => {
      const { store, looker } = await storeOn(t, open, replication.primary.port)
      replication.freezeStandby()
      t.after(() => replication.thawStandby())
      await assert.rejects(store.start(provisionStart(), noEnqueue), Unavailable)
      await until('the wait was canceled', async () => (await looker.query(INSTANCES)).rowCount === 1)
      // The server has it alone. Somebody who reads it would tell a platform what a failover may lose.
      await assert.rejects(store.getInstance('i-1'), Unavailable)
      replication.thawStandby()
      await until('it is confirmed', () => store.getInstance('i-1').catch(() => undefined))
      assert.equal((await store.getInstance('i-1'))?.status, 'creating')
    })

    test(`start: a COMMIT whose wait for the standby somebody cancels is no success, in ${kind}`, async (t) => {
      const { store, looker } = await storeOn(t, open, replication.primary.port)
      replication.freezeStandby()
      t.after(() => replication.thawStandby())
      const starting = assert.rejects(store.start(provisionStart(), noEnqueue), {
        name: 'Unavailable',
        message: 'The database of the broker did not confirm that it has kept the change.'
      })
      await until('it waits for the standby', async () => {
        const { rowCount } = await looker.query(
          `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'`
        )
        return rowCount === 1
      })
      await starting
      assert.deepEqual((await looker.query(INSTANCES)).rows, [{ instance_id: 'i-1' }], 'the server answered COMMIT')
      await assert.rejects(store.getInstance('i-1'), Unavailable)
      replication.thawStandby()
      await until('it is confirmed', () => store.getInstance('i-1').catch(() => undefined))
    })

    test(`start: connections that can only read any more are dropped, all of them, in ${kind}`, async (t) => {
      const proxy = await openTcpProxy(replication.primary.port)
      t.after(() => proxy.close())
      const { store, pool } = await storeOn(t, open, proxy.port)
      await store.start(provisionStart(), noEnqueue)
      // As when an address has been moved, and it was not yet the standby's turn
      proxy.retarget(replication.standby.port)
      proxy.cut()
      await until('the old ones have gone', async () => pool.totalCount === 0)
      // The standby confirms a commit when it has stored it, and shows it a moment later.
      await until('the standby has the tables', () => store.listBindings('i-1').catch(() => undefined))
      await Promise.all(Array.from({ length: 6 }, () => store.listBindings('i-1')))
      assert.ok(pool.idleCount > 1, 'there is more than one connection')
      await assert.rejects(store.start(provisionStart({ instanceId: 'i-2' }), noEnqueue), {
        name: 'Unavailable',
        message: 'The broker cannot reach its database.'
      })
      await until('all have gone', async () => pool.totalCount === 0)
      proxy.retarget(replication.primary.port)
      assert.equal(await store.start(provisionStart({ instanceId: 'i-2' }), noEnqueue), 'started')
    })
  }
})
