import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { findAccount } from '../../src/embedded-postgres/own-account.ts'
import { findProcess } from '../../src/embedded-postgres/processes.ts'
import { isTrusted } from '../../src/embedded-postgres/root-directory.ts'
import { isRoot } from '../../src/embedded-postgres/server-account.ts'
import { makeProject } from './project.ts'
import { publicFolder, query, scene, until, withoutRoot } from './scene.ts'

const skip = isRoot ? false : 'only root has to run the server as another account'
const base = '/var/lib/osb-embedded-postgres'

describe('root', { concurrency: 4 }, () => {
  test('root: the server runs as another account, in a data directory that only this account may pass', {
    skip
  }, async (t) => {
    const { dataDir, start } = scene(t)
    chmodSync(dataDir, 0o700)
    const owner = await start()
    const { uid, gid } = statSync(owner.clusterDir)
    assert.equal((await findProcess(owner.pid))?.uid, uid)
    assert.deepEqual({ uid, gid }, (await findAccount('osb-postgres')) ?? (await findAccount('nobody')))
    assert.equal(dirname(owner.clusterDir), dataDir)
    const folder = statSync(dataDir)
    assert.deepEqual([folder.uid, folder.gid, folder.mode & 0o777], [0, gid, 0o710])
    for (const name of ['password', 'port', 'postgres.log']) {
      const file = statSync(join(dataDir, name))
      assert.deepEqual([name, file.uid, file.mode & 0o777], [name, 0, 0o600])
    }
  })

  test('root: below a private folder, the cluster goes to /var/lib and is found again', { skip }, async (t) => {
    const { dataDir: parent, start } = scene(t)
    const dataDir = join(parent, 'data')
    const first = await start({ dataDir })
    assert.equal(dirname(dirname(first.clusterDir)), base)
    assert.equal(statSync(parent).mode & 0o777, 0o700)
    assert.equal(statSync(dataDir).mode & 0o777, 0o700)
    await query(first.adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
    await first.kill()
    const second = await start({ dataDir })
    assert.equal(second.pid, first.pid)
    await second.stop()
    const third = await start({ dataDir })
    assert.deepEqual(await query(third.adminUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])

    // A copy of the data directory points to the same cluster: it must not run beside its original.
    const copy = join(parent, 'copy')
    cpSync(dataDir, copy, { recursive: true })
    await assert.rejects(start({ dataDir: copy }), { code: 'in-use' })
  })

  test('root: a data directory that was removed starts afresh', { skip }, async (t) => {
    const { dataDir: parent, start } = scene(t)
    const dataDir = join(parent, 'data')
    const first = await start({ dataDir })
    await query(first.adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
    await first.kill()
    rmSync(dataDir, { recursive: true })
    t.after(() => rmSync(dirname(first.clusterDir), { recursive: true, maxRetries: 10 }))
    const second = await start({ dataDir })
    assert.notEqual(second.clusterDir, first.clusterDir)
    assert.ok(second.lines.some((line) => line.includes(`an earlier cluster of ${dataDir} lies at`)))
    await until('the forgotten server is gone', async () => (await findProcess(first.pid)) === undefined)
    await assert.rejects(query(second.adminUrl, 'SELECT answer FROM kept'), { code: '42P01' })
  })

  test('root: a cluster that is gone from /var/lib is not replaced by an empty one', { skip }, async (t) => {
    const { dataDir: parent, start } = scene(t)
    const dataDir = join(parent, 'data')
    const first = await start({ dataDir })
    await first.stop()
    rmSync(dirname(first.clusterDir), { recursive: true })
    await assert.rejects(start({ dataDir }), { code: 'bad-data-dir', message: /gone or out of reach.*remove/ })
  })

  test('root: a checkout below a private folder runs from a copy of the programs', { skip }, async (t) => {
    const folder = publicFolder(t)
    const { script, native } = makeProject(folder)
    chmodSync(folder, 0o700)
    const { start } = scene(t)
    const other = scene(t)
    const [first, second] = await Promise.all([start({ script }), other.start({ script })])
    for (const owner of [first, second]) {
      assert.deepEqual(await query(owner.adminUrl, 'SELECT 1 AS one'), [{ one: 1 }])
      assert.ok((await findProcess(owner.pid))?.command?.startsWith(join(base, 'binaries-')))
    }
    assert.equal(existsSync(join(native, 'lib', 'libicuuc.so.60')), false)
    assert.equal(readdirSync(base).filter((name) => name.startsWith('binaries-draft')).length, 0)
  })

  test('root: the cluster of an ordinary account goes on running as that account', { skip }, async (t) => {
    const { dataDir, start } = scene(t)
    const first = await start(withoutRoot(dataDir))
    const { uid } = statSync(first.clusterDir)
    await query(first.adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
    await first.kill()
    const second = await start()
    assert.equal(second.pid, first.pid)
    await second.stop()
    const third = await start()
    assert.equal((await findProcess(third.pid))?.uid, uid)
    assert.deepEqual(await query(third.adminUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])
  })

  test('root: an ordinary account is told that it cannot use the data directory of root', { skip }, async (t) => {
    const { dataDir, start } = scene(t)
    await (await start()).stop()
    await assert.rejects(start({ uid: 65_534 }), {
      code: 'bad-data-dir',
      message: new RegExp(`cannot use.*${dataDir}`)
    })
    assert.match(readFileSync(join(dataDir, 'port'), 'utf8'), /^\d+\n$/)
  })

  test('root: a folder that another user has planted is not trusted', { skip }, async (t) => {
    const folder = publicFolder(t)
    const make = (name: string, mode: number, uid: number) => {
      const path = join(folder, name)
      mkdirSync(path)
      chownSync(path, uid, uid)
      chmodSync(path, mode)
      return path
    }
    const good = make('good', 0o711, 0)
    symlinkSync(good, join(folder, 'link'))
    assert.equal(await isTrusted(good), true)
    assert.equal(await isTrusted(make('planted', 0o711, 65_534)), false)
    assert.equal(await isTrusted(make('open', 0o777, 0)), false)
    assert.equal(await isTrusted(make('group', 0o775, 0)), false)
    assert.equal(await isTrusted(join(folder, 'link')), false)
  })
})
