import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { findProcess, findProcessesByCommand } from '../../src/embedded-postgres/processes.ts'
import { query, scene, until } from './scene.ts'

describe('start and stop', { concurrency: 4 }, () => {
  test('start: an empty folder gets a durable server with the databases asked for', async (t) => {
    const { dataDir } = scene(t)
    const databases = ['osb_state', 'with "quotes" & blanks']
    const server = await startEmbeddedPostgres({ dataDir, databases })
    t.after(() => server.stop())
    const rows = await query(
      server.adminUrl,
      `SELECT name, setting FROM pg_settings WHERE name IN
     ('fsync', 'data_checksums', 'listen_addresses', 'unix_socket_directories', 'password_encryption', 'max_connections',
      'server_encoding', 'data_directory')`
    )
    assert.deepEqual(Object.fromEntries(rows.map(({ name, setting }) => [name, setting])), {
      data_checksums: 'on',
      data_directory: server.clusterDir,
      fsync: 'on',
      listen_addresses: '127.0.0.1',
      max_connections: '200',
      password_encryption: 'scram-sha-256',
      server_encoding: 'UTF8',
      unix_socket_directories: ''
    })
    for (const name of databases) {
      assert.deepEqual(await query(server.urlOf(name), 'SELECT current_database() AS name'), [{ name }])
    }
    assert.equal(server.host, '127.0.0.1')
  })

  test('start: one session cannot take the locks, the connections or the disk of all, unless the settings say so', async (t) => {
    const limits = `SELECT name, setting FROM pg_settings
      WHERE name IN ('authentication_timeout', 'max_locks_per_transaction', 'reserved_connections', 'temp_file_limit')`
    const limitsOf = async (url: string) =>
      Object.fromEntries((await query(url, limits)).map((row) => [row.name, row.setting]))
    const { start } = scene(t)
    const first = await start()
    const expected = {
      authentication_timeout: '15',
      max_locks_per_transaction: '256',
      reserved_connections: '20',
      temp_file_limit: String(5 * 1024 ** 2)
    }
    assert.deepEqual(await limitsOf(first.adminUrl), expected)
    await first.stop()
    // PostgreSQL starts only with fewer reserved connections than connections.
    const second = await start({ settings: { max_connections: '12', temp_file_limit: '-1' } })
    assert.deepEqual(await limitsOf(second.adminUrl), { ...expected, reserved_connections: '3', temp_file_limit: '-1' })
  })

  test('start: a second start keeps data, port and password', async (t) => {
    const { start } = scene(t)
    const first = await start({ databases: ['osb_state'] })
    await query(first.adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
    await first.stop()
    const second = await start({ databases: ['osb_state'] })
    assert.equal(second.adminUrl, first.adminUrl)
    assert.notEqual(second.pid, first.pid)
    assert.deepEqual(await query(second.adminUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])
  })

  test('stop: nothing is left running, the process ends by itself, and a second call is fine', async (t) => {
    const { dataDir, start } = scene(t)
    const owner = await start()
    const [row] = await query(owner.adminUrl, `SELECT current_setting('cluster_name') AS name`)
    assert.notEqual((await findProcessesByCommand(`postgres: ${row?.name}: `)).length, 0)
    assert.equal(await owner.stop(), 0)
    assert.equal(await findProcess(owner.pid), undefined)
    assert.deepEqual(await findProcessesByCommand(`postgres: ${row?.name}: `), [])
    assert.deepEqual(
      readdirSync(owner.clusterDir).filter((name) => name === 'postmaster.pid'),
      []
    )

    const here = await startEmbeddedPostgres({ dataDir })
    await Promise.all([here.stop(), here.stop()])
    await here.stop()
    assert.equal(await findProcess(here.pid), undefined)
  })

  test('stop: sessions in progress do not delay it', async (t) => {
    const { dataDir } = scene(t)
    const server = await startEmbeddedPostgres({ dataDir })
    const sleeping = assert.rejects(query(server.adminUrl, 'SELECT pg_sleep(600)'))
    await until('a session sleeps', async () => {
      const rows = await query(server.adminUrl, `SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'`)
      return rows.length === 1
    })
    await server.stop()
    await sleeping
  })

  test('start: Ctrl-C in the terminal does not reach the server', async (t) => {
    const { start } = scene(t)
    const owner = await start()
    assert.ok(owner.process.pid)
    process.kill(-owner.process.pid, 'SIGINT') // what the terminal does: the whole group of processes
    await until('the owner has the signal', () => owner.lines.includes('interrupted'))
    assert.deepEqual(await query(owner.adminUrl, 'SELECT 1 AS one'), [{ one: 1 }])
    assert.notEqual(await findProcess(owner.pid), undefined)
    await owner.stop()
  })

  test('start: the password is in no readable file, log or command line', async (t) => {
    const { dataDir, start } = scene(t)
    const owner = await start()
    const { password } = new URL(owner.adminUrl)
    await assert.rejects(
      query(owner.adminUrl, `CREATE ROLE dup PASSWORD 'open sesame'; CREATE ROLE dup PASSWORD 'open sesame'`)
    )
    assert.ok(password.length >= 32)
    assert.equal(statSync(join(dataDir, 'password')).mode & 0o777, 0o600)
    assert.equal(statSync(join(dataDir, 'postgres.log')).mode & 0o777, 0o600)
    const log = readFileSync(join(dataDir, 'postgres.log'), 'utf8')
    assert.match(log, /already exists/)
    assert.doesNotMatch(log, new RegExp(`${password}|open sesame`))
    assert.equal((await findProcess(owner.pid))?.command?.includes(password), false)
    assert.equal(owner.lines.join().includes(password), false)
  })

  test('start: a wrong password is refused', async (t) => {
    const { start } = scene(t)
    const owner = await start()
    const url = new URL(owner.adminUrl)
    url.password = 'guess'
    await assert.rejects(query(url.href, 'SELECT 1'), { code: '28P01' })
  })

  test('start: a port taken by another program is refused, and deleting its file has a new one chosen', async (t) => {
    const { dataDir, start } = scene(t)
    const first = await start()
    await query(first.adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
    await first.stop()
    const squatter = createServer()
    t.after(() => squatter.close())
    await new Promise<void>((resolve) => squatter.listen(first.port, '127.0.0.1', resolve))

    await assert.rejects(start(), (error: Error) => {
      assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${first.port}.*delete ${join(dataDir, 'port')}`))
      return 'code' in error && error.code === 'port-taken'
    })
    rmSync(join(dataDir, 'port'))
    const second = await start()
    assert.notEqual(second.port, first.port)
    assert.deepEqual(await query(second.adminUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])
  })

  test('start: settings reach the server, and those it needs itself are refused', async (t) => {
    const { dataDir } = scene(t)
    const server = await startEmbeddedPostgres({ dataDir, settings: { work_mem: '5MB', 'my.text': `it's a \\ path` } })
    t.after(() => server.stop())
    const rows = await query(
      server.adminUrl,
      `SELECT current_setting('work_mem') AS mem, current_setting('my.text') AS text`
    )
    assert.deepEqual(rows, [{ mem: '5MB', text: `it's a \\ path` }])
    for (const settings of [{ port: '1' }, { listen_addresses: '*' }, { "x'": '1' }, { work_mem: "1\nport = '1" }]) {
      await assert.rejects(startEmbeddedPostgres({ dataDir: `${dataDir}-never`, settings }), { code: 'bad-setting' })
    }
  })

  test('start: a setting PostgreSQL refuses is reported with the words of its log', async (t) => {
    const { dataDir } = scene(t)
    await assert.rejects(startEmbeddedPostgres({ dataDir, settings: { shared_buffers: 'lots' } }), (error: Error) => {
      assert.match(error.message, /invalid value for parameter "shared_buffers".*DATABASE_URL.*BROKER_STORAGE=memory/s)
      return true
    })
    const server = await startEmbeddedPostgres({ dataDir }) // nothing is locked or left behind
    await server.stop()
  })

  test('start: a log beyond 10 MB is put aside', async (t) => {
    const { dataDir, start } = scene(t)
    await (await start()).stop()
    truncateSync(join(dataDir, 'postgres.log'), 11 * 1024 * 1024)
    await (await start()).stop()
    assert.ok(statSync(join(dataDir, 'postgres.log')).size < 100_000)
    assert.equal(statSync(join(dataDir, 'postgres.log.old')).size, 11 * 1024 * 1024)
  })

  test('start: a missing password or a cluster of another version is explained', async (t) => {
    const { dataDir, start } = scene(t)
    await (await start()).stop()
    writeFileSync(join(dataDir, 'cluster', 'PG_VERSION'), '17\n')
    await assert.rejects(start(), {
      code: 'bad-data-dir',
      message: /made by PostgreSQL 17 and the installed one is 18/
    })
    rmSync(join(dataDir, 'password'))
    await assert.rejects(start(), { code: 'bad-data-dir', message: /password is missing/ })
  })
})
