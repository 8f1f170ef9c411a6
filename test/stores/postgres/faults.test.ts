import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { describe, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import pg from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { PostgresStore, type SqlTransaction } from '../../../src/stores/postgres/index.ts'
import { claimed, started } from '../contract/opened.ts'
import { noEnqueue, operationRecord, provisionStart, until } from '../records.ts'
import { freshStore, newSealer } from './fresh-store.ts'

const UNREACHABLE = { name: 'Unavailable', message: 'The broker cannot reach its database.' }

/** Ends the server processes of an application's connections. */
async function terminate(meddler: pg.Pool, application: string): Promise<number> {
  const { rowCount } = await meddler.query(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1',
    [application]
  )
  return rowCount ?? 0
}

async function connections(meddler: pg.Pool, application: string): Promise<number> {
  const { rows } = await meddler.query<{ count: number }>(
    'SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1',
    [application]
  )
  return rows[0]?.count ?? 0
}

/** `Transaction` is opaque in the contract; here we know whose it is. */
function isSql(transaction: unknown): transaction is SqlTransaction {
  return typeof transaction === 'object' && transaction !== null && 'executeSql' in transaction
}

describe('PostgresStore: faults of the server', { concurrency: true }, () => {
  test('start: idle connections that were ended give no crash, and the next call works', async (t) => {
    const { store, pool, meddler } = await freshStore(t)
    await Promise.all(Array.from({ length: 8 }, () => store.getInstance('i-1')))
    assert.ok((await terminate(meddler, 'osb-test')) > 0)
    await until('the pool has noticed', async () => pool.totalCount === 0)
    assert.equal(await store.start(provisionStart(), noEnqueue), 'started')
  })

  test('start: a connection that ends within the transaction gives Unavailable, and nothing is written', async (t) => {
    const { store, pool, meddler } = await freshStore(t)
    const start = provisionStart()
    const cut = async () => {
      assert.ok((await terminate(meddler, 'osb-test')) > 0)
    }
    await assert.rejects(store.start(start, cut), UNREACHABLE)
    await until('the pool has noticed', async () => pool.totalCount === 0)
    assert.equal(await store.getInstance('i-1'), undefined)
    assert.equal(await store.getOperation(start.operation.operationId), undefined)
    assert.equal(await store.start(start, noEnqueue), 'started')
    assert.equal(pool.waitingCount, 0)
  })

  test('every method: connections ended while they work give Unavailable or a result, never a crash', async (t) => {
    const { store, pool, meddler } = await freshStore(t)
    const outcomes = { done: 0, unavailable: 0 }
    let stop = false
    const workers = Array.from({ length: 10 }, async (_, worker) => {
      for (let n = 0; !stop; n += 1) {
        const instanceId = `i-${worker}-${n}`
        try {
          const start = provisionStart({ instanceId })
          await store.start(start, noEnqueue)
          const result = await store.claim(start.operation.operationId)
          const claim = { operationId: start.operation.operationId, attempt: 1, platform: 'cf' }
          assert.equal(result.kind, 'claimed')
          await store.saveState(claim, { n })
          await store.keepAlive(claim)
          await store.finish(claim, { state: 'succeeded', instance: { status: 'ready' } })
          await store.listBindings(instanceId)
          outcomes.done += 1
        } catch (error) {
          assert.ok(error instanceof Unavailable, String(error))
          outcomes.unavailable += 1
          // A pool that has ended refuses at once; the loop must let other work through.
          await setImmediate()
        }
      }
    })
    const all = Promise.all(workers).finally(() => {
      stop = true
    })
    try {
      for (let round = 0; round < 8; round += 1) {
        const before = outcomes.unavailable
        // Counted first: a busy machine would not have six connections again before the next look ended them
        await until('there is something to end', async () => (await connections(meddler, 'osb-test')) > 5)
        assert.ok((await terminate(meddler, 'osb-test')) > 0)
        await until('some call has failed', async () => stop || outcomes.unavailable > before)
      }
      const before = outcomes.done
      await until('calls work again', async () => stop || outcomes.done > before + 10)
    } finally {
      stop = true
      await all
    }
    await store.health()
    assert.equal(pool.waitingCount, 0)
    // Nothing is half done: a record has an operation, and the other way round.
    const { rows } = await meddler.query(
      `SELECT instance_id FROM osb.service_instances FULL JOIN osb.operations USING (instance_id)
      WHERE service_instances.status IS NULL OR operations.state IS NULL
        OR (service_instances.status = 'ready') <> (operations.state = 'succeeded')`
    )
    assert.deepEqual(rows, [])
  })

  test('onHalt: after its connection was ended halts are heard again, the missed ones too', async (t) => {
    const { store, meddler } = await freshStore(t)
    const heard: string[] = []
    assert.equal(await connections(meddler, 'osb-halt'), 0)
    store.onHalt((operationId) => heard.push(operationId))
    const halted = async (instanceId: string) => {
      const create = await started(store, provisionStart({ instanceId }))
      await claimed(store, create)
      const operation = operationRecord('deprovision', { instanceId, halts: create.operationId })
      assert.equal(await store.start({ operation }, noEnqueue), 'started')
      return create.operationId
    }
    for (let round = 0; round < 3; round += 1) {
      await until('it listens', async () => (await connections(meddler, 'osb-halt')) === 1)
      await terminate(meddler, 'osb-halt')
      const operationId = await halted(`i-${round}`)
      await until('the halt is heard', async () => heard.includes(operationId))
    }
    await store.close()
    await until('it has gone', async () => (await connections(meddler, 'osb-halt')) === 0)
  })

  test('onHalt: a store on another replica hears of the halt', async (t) => {
    const { store, url, sealer, meddler } = await freshStore(t)
    const pool = new pg.Pool({ connectionString: url })
    const other = new PostgresStore(pool, { sealer })
    t.after(async () => {
      await other.close()
      await pool.end()
    })
    const heard: string[] = []
    other.onHalt((operationId) => heard.push(operationId))
    await until('it listens', async () => (await connections(meddler, 'osb-halt')) === 1)
    const create = await started(store, provisionStart())
    await started(store, { operation: operationRecord('deprovision', { halts: create.operationId }) })
    await until('the halt is heard', async () => heard.includes(create.operationId))
  })

  test('enqueue: the transaction it is given commits and rolls back with the operation', async (t) => {
    const { store, pool } = await freshStore(t)
    await pool.query('CREATE TABLE jobs (id text)')
    const enqueue = async ({ operationId }: { operationId: string }, transaction: unknown) => {
      assert.ok(isSql(transaction))
      const { rows } = await transaction.executeSql('INSERT INTO jobs VALUES ($1) RETURNING id', [operationId])
      assert.deepEqual(rows, [{ id: operationId }])
    }
    const first = provisionStart()
    assert.equal(await store.start(first, enqueue), 'started')
    await assert.rejects(
      store.start(provisionStart({ instanceId: 'i-2' }), async (operation, transaction) => {
        await enqueue(operation, transaction)
        throw new Error('after all')
      }),
      /after all/
    )
    const swallowed = store.start(provisionStart({ instanceId: 'i-3' }), async (_operation, transaction) => {
      assert.ok(isSql(transaction))
      await transaction.executeSql('SELECT 1 / 0').catch(() => {})
    })
    await assert.rejects(swallowed, /rolled back/)
    assert.deepEqual((await pool.query('SELECT id FROM jobs')).rows, [{ id: first.operation.operationId }])
    assert.equal(await store.getInstance('i-3'), undefined)
  })

  test('start: a pool with no connection left gives Unavailable within 6 s', async (t) => {
    const { store, pool } = await freshStore(t)
    const taken = await Promise.all(Array.from({ length: 10 }, () => pool.connect()))
    const begun = Date.now()
    await assert.rejects(store.start(provisionStart(), noEnqueue), UNREACHABLE)
    assert.ok(Date.now() - begun < 6_000)
    for (const client of taken) client.release()
    assert.equal(await store.start(provisionStart(), noEnqueue), 'started')
    await until('nothing waits or is kept', async () => pool.waitingCount === 0 && pool.idleCount === pool.totalCount)
  })

  test('start: a lock that somebody keeps gives Unavailable within 6 s', async (t) => {
    const { store, meddler } = await freshStore(t)
    const blocker = await meddler.connect()
    await blocker.query('BEGIN; LOCK TABLE osb.operations')
    const begun = Date.now()
    const tooBusy = { name: 'Unavailable', message: 'The database of the broker is too busy.' }
    await assert.rejects(store.start(provisionStart(), noEnqueue), tooBusy)
    await assert.rejects(store.getOperation('x'), tooBusy)
    assert.ok(Date.now() - begun < 11_000)
    await blocker.query('ROLLBACK')
    blocker.release()
    assert.equal(await store.getInstance('i-1'), undefined)
    assert.equal(await store.start(provisionStart(), noEnqueue), 'started')
  })

  test('start: a server that accepts and says nothing gives Unavailable within 6 s', async (t) => {
    const sockets = new Set<{ destroy: () => void }>()
    const silent = createServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
    })
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const address = silent.address()
    assert.ok(typeof address === 'object' && address !== null)
    const pool = new pg.Pool({ connectionString: `postgres://u:p@127.0.0.1:${address.port}/d`, max: 2 })
    const store = new PostgresStore(pool, { sealer: newSealer() })
    t.after(async () => {
      for (const socket of sockets) socket.destroy()
      silent.close()
      await pool.end()
    })
    store.onHalt(() => {})
    const begun = Date.now()
    await Promise.all([
      assert.rejects(store.start(provisionStart(), noEnqueue), UNREACHABLE),
      assert.rejects(store.health(), UNREACHABLE)
    ])
    assert.ok(Date.now() - begun < 6_000)
    await store.close()
  })

  test('every read: a server that refuses connections gives Unavailable', async () => {
    const pool = new pg.Pool({ connectionString: 'postgres://u:p@127.0.0.1:1/d' })
    const store = new PostgresStore(pool, { sealer: newSealer() })
    store.onHalt(() => {})
    await assert.rejects(store.getInstance('i-1'), UNREACHABLE)
    await assert.rejects(store.health(), UNREACHABLE)
    await assert.rejects(store.abandoned(), UNREACHABLE)
    await store.close()
    await pool.end()
  })

  test('health: a read-only server gives Unavailable', async (t) => {
    const { url } = await freshStore(t)
    const pool = new pg.Pool({ connectionString: url, options: '-c default_transaction_read_only=on' })
    t.after(() => pool.end())
    await assert.rejects(new PostgresStore(pool, { sealer: newSealer() }).health(), /takes no writes/)
  })
})
