import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { describe, type TestContext, test } from 'node:test'
import pg from 'pg'
import {
  BoundedClient,
  type BoundedPoolConfig,
  openPool,
  parseConnectionUrl,
  settingsLike,
  settingsOf
} from '../../src/postgres/index.ts'
import { testPostgres } from '../helper/postgres.ts'
import { openTcpProxy } from '../helper/tcp-proxy.ts'
import { until } from '../stores/records.ts'

const bounds = { statementMs: 4_000, lockMs: 3_000, idleInTransactionMs: 5_000 }

const settings = (url: string, more: BoundedPoolConfig = {}) => settingsOf(parseConnectionUrl(url, 'url'), more)

/** An empty database, a proxy before its server, and a way to look at what the server has. */
async function scene(t: TestContext) {
  const url = await (await testPostgres()).createDatabase()
  const proxy = await openTcpProxy(Number(new URL(url).port))
  const looker = new pg.Client({ connectionString: url, application_name: 'looker' })
  await looker.connect()
  t.after(async () => {
    await proxy.close()
    await looker.end()
  })
  /** Backends of an application, with what they do. */
  const backends = async (application = 'bounded') => {
    const { rows } = await looker.query<{ state: string; wait: string | null }>(
      `SELECT state, wait_event AS wait FROM pg_stat_activity
      WHERE datname = current_database() AND application_name = $1`,
      [application]
    )
    return rows
  }
  return { url, proxy, looker, backends, proxied: throughPorts(url, proxy.port) }
}

function throughPorts(url: string, ...ports: number[]): string {
  return url.replace(/@[^/]+/, `@${ports.map((port) => `127.0.0.1:${port}`).join(',')}`)
}

function poolOf(t: TestContext, config: BoundedPoolConfig): pg.Pool {
  const pool = openPool({ application_name: 'bounded', ...config })
  t.after(() => pool.end())
  return pool
}

/** Takes connections and says nothing. */
async function silentServer(t: TestContext): Promise<number> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return address.port
}

async function reasonOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
  return assert.fail('it did not reject')
}

describe('BoundedClient', { concurrency: 4 }, () => {
  test('connect: hosts are tried in turn, each for its share of the time, and the one that worked first the next time', async (t) => {
    const { url } = await scene(t)
    const silent = await silentServer(t)
    const port = Number(new URL(url).port)
    const pool = poolOf(t, settings(throughPorts(url, 1, silent, port), { connectionTimeoutMillis: 3_000, max: 2 }))
    const began = performance.now()
    const client = await pool.connect()
    assert.ok(performance.now() - began >= 900, 'the silent host was not waited for')
    assert.equal(client.port, port)
    const again = performance.now()
    await pool.query('SELECT 1')
    assert.ok(performance.now() - again < 900, 'the silent host was tried again')
    client.release()
    // Connections beside the pool, such as those of the queue, know it too
    const beside = new BoundedClient(settingsLike(pool.options))
    await beside.connect()
    assert.equal(beside.port, port)
    await beside.end()
  })

  test('connect: with no usable host the most telling error is thrown', async (t) => {
    const { url } = await scene(t)
    const port = Number(new URL(url).port)
    const wrong = throughPorts(url, port, 1).replace(/:[^:@]+@/, ':wrong@')
    assert.match(await reasonOf(new BoundedClient(settings(wrong)).connect()), /^password authentication failed/)
    const none = new BoundedClient(settings(throughPorts(url, 1, 2)))
    assert.match(await reasonOf(none.connect()), /ECONNREFUSED/)
    assert.match(await reasonOf(none.query('SELECT 1')), /not queryable|terminated/)
  })

  test('connect: a session that takes no writes is refused where they are asked for', async (t) => {
    const { url, looker } = await scene(t)
    await looker.query(`ALTER DATABASE ${new URL(url).pathname.slice(1)} SET default_transaction_read_only = on`)
    const connect = async (attributes: string) => {
      const client = new BoundedClient(settings(`${url}?target_session_attrs=${attributes}`))
      await client.connect().finally(() => client.end())
    }
    await assert.rejects(connect('read-write'), { code: '25006', message: /target_session_attrs is read-write/ })
    await connect('primary')
    await connect('any')
  })

  test('connect: the bounds are the session’s, and it is known to be its own', async (t) => {
    const { url } = await scene(t)
    const client = new BoundedClient(settings(url, { bounds }))
    await client.connect()
    assert.deepEqual([client.direct, client.bounded], [true, true])
    const { rows } = await client.query(
      `SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock,
        current_setting('idle_in_transaction_session_timeout') AS idle`
    )
    assert.deepEqual(rows, [{ statement: '4s', lock: '3s', idle: '5s' }])
    await client.end()
  })

  test('query: on a connection that was lost without a word fails within seconds, and all idle ones are dropped', async (t) => {
    const { proxy, proxied, backends } = await scene(t)
    const pool = poolOf(t, settings(proxied, { max: 4 }))
    await Promise.all(Array.from({ length: 4 }, () => pool.query('SELECT pg_sleep(0.1)')))
    assert.equal((await backends()).length, 4)
    proxy.freeze()
    const began = performance.now()
    assert.match(await reasonOf(pool.query('SELECT 1')), /^Connection terminated: the server is idle/)
    assert.ok(performance.now() - began < 15_000)
    await until('the others have gone', async () => pool.totalCount === 0)
    assert.deepEqual((await pool.query('SELECT 1 AS one')).rows, [{ one: 1 }])
    // Those that were lost do not stay on the server either
    await until('one backend is left', async () => (await backends()).length === 1)
  })

  test('query: a statement that takes its time is waited for', async (t) => {
    const { url } = await scene(t)
    const pool = poolOf(t, settings(url, { max: 1 }))
    // Long enough that the client looks after it
    assert.deepEqual((await pool.query('SELECT pg_sleep(6.5)::text AS slept')).rows, [{ slept: '' }])
  })

  test('query: without an answer for too long is canceled on the server, and the connection is closed', async (t) => {
    const { url, backends } = await scene(t)
    const pool = poolOf(t, settings(url, { max: 1, silenceMs: 1_000 }))
    // Whichever comes first: what the server says, or the end of the connection
    assert.match(await reasonOf(pool.query('SELECT pg_sleep(60)')), /^canceling statement|^timeout expired/)
    await until('its backend has gone', async () => (await backends()).length === 0)
    assert.equal(pool.totalCount, 0)
  })

  test('query: in a network in which nothing passes any more ends all the same', async (t) => {
    const { proxy, proxied } = await scene(t)
    const pool = poolOf(t, settings(proxied, { max: 1, silenceMs: 2_000 }))
    await pool.query('SELECT 1')
    proxy.freeze({ all: true })
    assert.equal(await reasonOf(pool.query('SELECT 1')), 'timeout expired: no answer within 2000 ms')
    proxy.thaw()
  })

  test('prove: a lost connection is found out within seconds, a sound one at once', async (t) => {
    const { proxy, proxied } = await scene(t)
    const client = new BoundedClient(settings(proxied))
    await client.connect()
    await client.ping()
    proxy.freeze()
    const began = performance.now()
    await assert.rejects(client.ping(), /Connection terminated/)
    assert.ok(performance.now() - began < 10_000)
  })

  test('end: of a connection that was lost resolves', async (t) => {
    const { proxy, proxied } = await scene(t)
    const client = new BoundedClient(settings(proxied))
    await client.connect()
    proxy.freeze()
    await client.end()
    assert.equal(client.connection.stream.destroyed, true)
  })

  test('connect: TCP keep-alive is on', { skip: process.platform !== 'linux' && 'reads /proc' }, async (t) => {
    const { url } = await scene(t)
    const plain = new pg.Client({ connectionString: url })
    const bounded = new BoundedClient(settings(url))
    await Promise.all([plain.connect(), bounded.connect()])
    assert.deepEqual([keepsAlive(plain), keepsAlive(bounded)], [false, true])
    await Promise.all([plain.end(), bounded.end()])
  })
})

/** Whether the kernel has a keep-alive timer (2) for the socket. */
function keepsAlive({ connection: { stream } }: pg.Client): boolean {
  assert.ok('localPort' in stream && typeof stream.localPort === 'number')
  const port = stream.localPort.toString(16).toUpperCase().padStart(4, '0')
  const line = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .find((text) => text.trim().split(/\s+/)[1]?.endsWith(`:${port}`))
  return line?.trim().split(/\s+/)[5]?.startsWith('02:') === true
}
