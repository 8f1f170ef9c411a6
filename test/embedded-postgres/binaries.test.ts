import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { prepareBinaries } from '../../src/embedded-postgres/binaries.ts'
import { findPlatformPackage } from '../../src/embedded-postgres/platform-package.ts'
import { findProcess } from '../../src/embedded-postgres/processes.ts'
import { isRoot } from '../../src/embedded-postgres/server-account.ts'
import { makeProject, makeReadOnly } from './project.ts'
import { publicFolder, query, scene, withoutRoot } from './scene.ts'

const linux = process.platform === 'linux' ? false : 'the links are those of the Linux packages'

describe('binaries', { concurrency: 4 }, () => {
  test('binaries: missing links and executable bits are added where they belong', { skip: linux }, async (t) => {
    const { script, native } = makeProject(publicFolder(t))
    assert.equal(existsSync(join(native, 'lib', 'libicuuc.so.60')), false)
    const { start } = scene(t)
    const owner = await start({ script })
    assert.deepEqual(await query(owner.adminUrl, 'SELECT 1 AS one'), [{ one: 1 }])
    assert.ok(existsSync(join(native, 'lib', 'libicuuc.so.60')))
    assert.ok((await findProcess(owner.pid))?.command?.startsWith(native))
  })

  test('binaries: an installation that cannot be written is copied to the data directory', {
    skip: linux
  }, async (t) => {
    const folder = publicFolder(t)
    const { script, native } = makeProject(folder)
    makeReadOnly(folder)
    const { dataDir, start } = scene(t)
    const account = withoutRoot(dataDir) // root may write anywhere
    const owner = await start({ script, ...account })
    assert.deepEqual(await query(owner.adminUrl, 'SELECT 1 AS one'), [{ one: 1 }])
    assert.equal(existsSync(join(native, 'lib', 'libicuuc.so.60')), false)
    assert.ok((await findProcess(owner.pid))?.command?.startsWith(join(dataDir, 'binaries-')))
    assert.equal(await owner.stop(), 0)
    await (await start({ script, ...account })).stop()
    assert.equal(readdirSync(dataDir).filter((name) => name.startsWith('binaries-')).length, 1)
  })

  test('binaries: copies made at once agree, and a damaged one is replaced', { skip: linux }, async (t) => {
    const hidden = join(publicFolder(t), 'private')
    mkdirSync(hidden)
    const { native } = makeProject(hidden)
    makeReadOnly(native)
    chmodSync(hidden, 0o700)
    const copies = publicFolder(t)
    const source = { ...findPlatformPackage(), native }
    // To root the folder is no obstacle, but it is to the account.
    const account = isRoot ? { uid: 65_534, gid: 65_534 } : undefined
    const prepare = () => prepareBinaries(source, account, async () => copies)
    const [first, ...others] = await Promise.all([prepare(), prepare(), prepare()])
    for (const other of others) assert.deepEqual(other, first)
    assert.equal(readdirSync(copies).length, 1)
    assert.match(await version(first.postgres), /PostgreSQL\) 18/)

    truncateSync(first.postgres, 1000)
    const repaired = await prepare()
    assert.match(await version(repaired.postgres), /PostgreSQL\) 18/)
  })
})

async function version(postgres: string): Promise<string> {
  const account = isRoot ? { uid: 65_534, gid: 65_534, cwd: '/' } : {}
  return (await promisify(execFile)(postgres, ['--version'], account)).stdout
}
