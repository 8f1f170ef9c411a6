import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { findProcess, findProcessesByCommand } from '../../src/embedded-postgres/processes.ts'
import { removeServer } from '../helper/postgres.ts'
import { type Owner, query, scene, until } from './scene.ts'

describe('crashes', { concurrency: 4 }, () => {
  test('kill -9 of the owner: the next start adopts the server and watches it', async (t) => {
    const { dataDir, start } = scene(t)
    const first = await start()
    await query(first.adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
    await first.kill()
    assert.notEqual(await findProcess(first.pid), undefined)

    const second = await start({ databases: ['osb_state'] })
    assert.equal(second.pid, first.pid)
    assert.equal(second.adminUrl, first.adminUrl)
    assert.deepEqual(await query(second.adminUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])

    process.kill(second.pid, 'SIGKILL')
    await restarted(second)
    assert.deepEqual(await query(second.adminUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])
    assert.equal(await second.stop(), 0)
    assert.equal(existsSync(join(dataDir, 'cluster', 'postmaster.pid')), false)
  })

  test('kill -9 of the owner: the adopted server is stopped by stop', async (t) => {
    const { start } = scene(t)
    const first = await start()
    await first.kill()
    const second = await start()
    assert.equal(await second.stop(), 0)
    assert.equal(await findProcess(first.pid), undefined)
  })

  test('kill -9 of the owner: other settings at the next start restart the server', async (t) => {
    const { start } = scene(t)
    const first = await start()
    await first.kill()
    const second = await start({ settings: { max_connections: '33' } })
    assert.notEqual(second.pid, first.pid)
    assert.deepEqual(await query(second.adminUrl, 'SHOW max_connections'), [{ max_connections: '33' }])
  })

  test('kill -9 of the owner: a data directory moved meanwhile is served from its new place', async (t) => {
    const { dataDir, start } = scene(t)
    const moved = scene(t)
    const first = await start()
    await query(first.adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
    await first.kill()
    rmSync(moved.dataDir, { recursive: true })
    renameSync(dataDir, moved.dataDir)
    const second = await moved.start()
    assert.equal(second.adminUrl, first.adminUrl)
    assert.equal(await findProcess(first.pid), undefined)
    assert.deepEqual(await query(second.adminUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])
  })

  test('kill -9 of both: the next start recovers', async (t) => {
    const { start } = scene(t)
    const first = await start()
    await query(first.adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
    await first.kill()
    process.kill(first.pid, 'SIGKILL')
    const second = await start()
    assert.equal(second.adminUrl, first.adminUrl)
    assert.deepEqual(await query(second.adminUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])
  })

  test('kill -9 of the server: it runs again, with its data and on its port', async (t) => {
    const { start } = scene(t)
    const owner = await start()
    await query(owner.adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
    for (let round = 0; round < 2; round++) {
      process.kill(await serverPid(owner), 'SIGKILL')
      await restarted(owner, round + 1)
      assert.deepEqual(await query(owner.adminUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])
    }
    assert.equal(await owner.stop(), 0)
  })

  test('kill -9 of the server: a session that goes on computing is ended, so that the server can start', async (t) => {
    const { start } = scene(t)
    const owner = await start()
    const busy = assert.rejects(query(owner.adminUrl, 'SELECT count(*) FROM generate_series(1, 1000000000000) AS n'))
    const [session] = await until('a session computes', async () => {
      const sql = `SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series(1,%' AND pid <> pg_backend_pid()`
      const rows = await query(owner.adminUrl, sql)
      return rows.length === 1 && rows
    })
    process.kill(owner.pid, 'SIGKILL')
    await busy.catch(() => undefined)
    await restarted(owner)
    assert.equal(await findProcess(Number(session?.pid)), undefined)
  })

  test('kill -9 of the server: stop during the restart leaves nothing running', async (t) => {
    const { dataDir, start } = scene(t)
    const owner = await start()
    process.kill(owner.pid, 'SIGKILL')
    await until('the restart begins', () => owner.lines.some((line) => line.includes('starting it again')))
    assert.equal(await owner.stop(), 0)
    const pid = Number(readIfThere(join(dataDir, 'cluster', 'postmaster.pid'))?.split('\n')[0] ?? owner.pid)
    assert.equal(await findProcess(pid), undefined)
  })

  test('a server that cannot start any more: the supervisor gives up and says why', async (t) => {
    const { start } = scene(t)
    const owner = await start()
    rmSync(join(owner.clusterDir, 'global', 'pg_control'))
    process.kill(owner.pid, 'SIGKILL')
    await until('it gives up', () => owner.lines.includes('gave up'))
    assert.equal(owner.lines.filter((line) => line.includes('starting it again')).length, 5)
    assert.match(owner.lines.at(-2) ?? '', /stays down.*could not find the database system/)
    assert.equal(await owner.stop(), 0)
  })

  test('stale postmaster.pid: a pid that another program of the account has got does not confuse', async (t) => {
    const { dataDir, start } = scene(t)
    const first = await start()
    const pidFile = join(dataDir, 'cluster', 'postmaster.pid')
    const content = readFileSync(pidFile, 'utf8')
    const { uid, gid } = statSync(pidFile)
    await first.stop()
    const other = spawn('sleep', ['600'], {
      uid,
      gid,
      cwd: '/',
      stdio: 'ignore'
    })
    t.after(() => other.kill('SIGKILL'))
    await once(other, 'spawn')
    writeFileSync(pidFile, content.replace(String(first.pid), String(other.pid)))

    const second = await start()
    assert.notEqual(second.pid, other.pid)
    assert.equal(other.exitCode ?? other.signalCode, null)
    assert.deepEqual(await query(second.adminUrl, 'SELECT 1 AS one'), [{ one: 1 }])
  })

  test('stale postmaster.pid: a pid that is dead, or no pid at all, does not confuse', async (t) => {
    const { dataDir, start } = scene(t)
    const pidFile = join(dataDir, 'cluster', 'postmaster.pid')
    const first = await start()
    const content = readFileSync(pidFile, 'utf8')
    await first.stop()
    writeFileSync(pidFile, content)
    const second = await start()
    await second.stop()
    assert.notEqual(second.pid, first.pid)
  })
})

for (const withInitdb of [true, false]) {
  const killed = withInitdb ? 'the owner and initdb' : 'the owner'
  test(`kill -9 of ${killed} during the first start: the next start begins anew`, async (t) => {
    const { dataDir, launch, start } = scene(t)
    const programs = await killDuringInitdb(launch, dataDir)
    for (const pid of programs) process.kill(pid, withInitdb ? 'SIGKILL' : 'SIGCONT')
    assert.equal(existsSync(join(dataDir, 'cluster')), false)

    const owner = await start()
    assert.deepEqual(await query(owner.adminUrl, 'SELECT 1 AS one'), [{ one: 1 }])
    await owner.stop()
    await (await start()).stop()
    assert.deepEqual(
      readdirSync(dataDir).filter((entry) => entry.startsWith('cluster-draft-')),
      []
    )
  })
}

/** Kills an owner while its initdb is halfway, and answers the processes of that, which stand still. */
async function killDuringInitdb(launch: () => ChildProcess, dataDir: string): Promise<number[]> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const child = launch()
    const ended = once(child, 'exit')
    const draft = await until('initdb is at work', () => {
      const entries = readdirSync(dataDir)
      const name = entries.find((entry) => entry.startsWith('cluster-draft-')) ?? ''
      return existsSync(join(dataDir, name, 'data', 'base')) ? name : entries.includes('cluster') && 'too late'
    })
    const programs = (await findProcessesByCommand('/')).filter(({ command }) => command?.includes(draft))
    for (const { pid } of programs) process.kill(pid, 'SIGSTOP')
    if (programs.length === 0)
      await until('the server is there', () => existsSync(join(dataDir, 'cluster', 'postmaster.pid')))
    child.kill('SIGKILL')
    await ended
    if (programs.length > 0) return programs.map(({ pid }) => pid)
    removeServer(dataDir)
    mkdirSync(dataDir)
  }
  throw new Error('initdb was always faster')
}

async function restarted(owner: Owner, times = 1): Promise<void> {
  await until('the server runs again', () => owner.lines.filter((line) => line.includes('runs again')).length === times)
}

async function serverPid(owner: Owner): Promise<number> {
  return Number(readFileSync(join(owner.clusterDir, 'postmaster.pid'), 'utf8').split('\n')[0])
}

function readIfThere(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined
}
