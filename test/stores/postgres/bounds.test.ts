import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { openStatePool, PostgresStore, type SqlTransaction } from '../../../src/stores/postgres/index.ts'
import { noPgBouncer, startPgBouncer } from '../../helper/pgbouncer.ts'
import { openTcpProxy } from '../../helper/tcp-proxy.ts'
import { noEnqueue, provisionStart, until } from '../records.ts'
import { freshStore, newSealer } from './fresh-store.ts'

const MAX = 10
/** Longer than it took until every slot of the server was gone, at this rate. */
const POLL_FOR_MS = 21_000
const POLL_EVERY_MS = 100
const poll = { platform: 'cf', instanceId: 'i-1' }

function isSql(transaction: unknown): transaction is SqlTransaction {
  return typeof transaction === 'object' && transaction !== null && 'executeSql' in transaction
}

/** Backends of the database but those of the test itself. */
async function backends(meddler: Pool): Promise<{ query: string; state: string; seconds: number }[]> {
  const { rows } = await meddler.query(
    `SELECT query, state, extract(epoch FROM clock_timestamp() - query_start)::float AS seconds FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> 'meddler'`
  )
  return rows
}

/** A database that has been migrated, and a store on a pool of the kind under test. */
async function scene(t: TestContext, open?: (url: string) => Promise<Pool>) {
  const { url, meddler, pool: host } = await freshStore(t)
  if (open === undefined) return { store: new PostgresStore(host, { sealer: newSealer() }), meddler, url }
  const pool = await open(url)
  t.after(() => pool.end())
  // The pool that has migrated it is not the one under test
  await host.query('SELECT 1')
  await until('its connections have gone', async () => (await closeIdle(host)) === 0)
  return { store: new PostgresStore(pool, { sealer: newSealer() }), meddler, url }
}

async function closeIdle(pool: Pool): Promise<number> {
  for (let left = pool.idleCount; left > 0; left -= 1) (await pool.connect()).release(true)
  return pool.totalCount
}

/** Idle connections stay, so that only a fault makes them go. */
const KEPT = { max: MAX, idleTimeoutMillis: 0 }
const own = async (url: string) => openStatePool({ text: url, name: 'url' }, { ...KEPT, application_name: 'own' })
const hostPool = async (url: string) => new Pool({ connectionString: url, ...KEPT })

describe('PostgresStore: every statement has an end on the server', { concurrency: true }, () => {
  const kinds: [string, ((t: TestContext) => (url: string) => Promise<Pool>) | undefined, string | undefined][] = [
    ['a pool of the host', undefined, undefined],
    ['a pool of its own', () => own, undefined],
    ...([true, false] as const).map((ignoreOptions): (typeof kinds)[number] => [
      `PgBouncer that ${ignoreOptions ? 'ignores' : 'refuses'} startup options`,
      (t) => async (url) => {
        const bouncer = await startPgBouncer(url, { ignoreOptions, poolSize: MAX })
        t.after(() => bouncer.close())
        return own(bouncer.through(url))
      },
      noPgBouncer
    ])
  ]
  for (const [kind, open, skip] of kinds) {
    test(`polls while a table is locked, through ${kind}: backends do not pile up`, {
      skip: skip ?? false
    }, async (t) => {
      const { store, meddler } = await scene(t, open?.(t))
      await store.latestOperation(poll)
      const blocker = await meddler.connect()
      await blocker.query('BEGIN; LOCK TABLE osb.operations IN ACCESS EXCLUSIVE MODE')
      const outcomes: Promise<unknown>[] = []
      let most = 0
      for (const end = Date.now() + POLL_FOR_MS; Date.now() < end; await sleep(POLL_EVERY_MS)) {
        outcomes.push(
          store.latestOperation(poll).then(
            () => 'answered',
            (error: unknown) => error
          )
        )
        most = Math.max(most, (await backends(meddler)).length)
      }
      await blocker.query('ROLLBACK')
      blocker.release()
      const failures = (await Promise.all(outcomes)).filter((outcome) => outcome !== 'answered')
      assert.ok(failures.length > 50, `${failures.length} polls failed`)
      for (const failure of failures) assert.ok(failure instanceof Unavailable, String(failure))
      // The server, or PgBouncer, may not have taken leave of those that were closed a moment ago
      assert.ok(most <= MAX + 5, `${most} backends at once`)
      assert.equal(await store.latestOperation(poll), undefined)
    })
  }

  test('start: a host’s pool keeps its settings', async (t) => {
    const { store, pool } = await freshStore(t)
    const settings = async () => {
      const { rows } = await pool.query(`SELECT name, setting FROM pg_settings WHERE name ~ 'timeout$' ORDER BY name`)
      return rows
    }
    const before = await settings()
    assert.equal(await store.start(provisionStart(), noEnqueue), 'started')
    await store.latestOperation(poll)
    await assert.rejects(
      store.start(provisionStart({ instanceId: 'i-2' }), async () => Promise.reject(new Error('no'))),
      /no/
    )
    assert.equal(pool.totalCount, 1, 'another connection would have the settings of the server in any case')
    assert.deepEqual(await settings(), before)
  })

  for (const [kind, open] of [
    ['the host', undefined],
    ['its own', own]
  ] as const) {
    test(`start: given up after 5 s, its statement is canceled on the server, in a pool of ${kind}`, async (t) => {
      const { store, meddler } = await scene(t, open)
      const slow = 'SELECT pg_sleep(3.8)'
      const start = provisionStart()
      const working = store.start(start, async (_operation, transaction) => {
        assert.ok(isSql(transaction))
        for (let left = 4; left > 0; left -= 1) await transaction.executeSql(slow)
      })
      await assert.rejects(working, { name: 'Unavailable', message: 'The broker cannot reach its database.' })
      // The second of the sleeps would go on for almost three seconds more
      let longest = 0
      await until('it has been canceled', async () => {
        const sleeping = (await backends(meddler)).filter(({ query, state }) => query === slow && state === 'active')
        longest = Math.max(longest, ...sleeping.map(({ seconds }) => seconds))
        return sleeping.length === 0
      })
      assert.ok(longest < 3.5, `it ran for ${longest} s`)
      assert.equal(await store.getInstance('i-1'), undefined)
    })
  }

  for (const [kind, open] of [
    ['the host', undefined],
    ['its own', own]
  ] as const) {
    test(`every call: connections that were lost without a word are replaced, in a pool of ${kind}`, async (t) => {
      const { url } = await scene(t)
      const proxy = await openTcpProxy(Number(new URL(url).port))
      const proxied = url.replace(/@[^/]+/, `@127.0.0.1:${proxy.port}`)
      const pool = await (open ?? hostPool)(proxied)
      t.after(async () => {
        await pool.end()
        await proxy.close()
      })
      const store = new PostgresStore(pool, { sealer: newSealer() })
      await Promise.all(Array.from({ length: MAX }, () => store.latestOperation(poll)))
      assert.ok(pool.idleCount > 1, 'there is more than one connection to lose')
      proxy.freeze()
      await assert.rejects(store.latestOperation(poll), Unavailable)
      await until('the others are dropped, too', async () => pool.idleCount === 0)
      assert.equal(await store.latestOperation(poll), undefined)
    })
  }
})
