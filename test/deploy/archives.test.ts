import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { crc32, inflateRawSync } from 'node:zlib'
import { tarGz, zip } from '../../deploy/build/archive-formats.ts'
import { makeArchives } from '../../deploy/build/archives.ts'
import { bundleFiles } from '../../deploy/build/bundle.ts'
import { plainEnvironment, temporaryFolder } from '../server/broker-process.ts'
import { run } from './program.ts'

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'))
const shared = ['LICENSE', 'README.md', 'THIRD-PARTY-LICENSES.txt', 'lib', 'osb.mjs', 'package.json']

test('npm run release:archives: an archive for each system, the sums, and a launcher that starts', async (t) => {
  const folder = temporaryFolder(t)
  const names = await makeArchives(folder)
  const unix = ['linux', 'macos', 'freebsd'].map((system) => `osb-${version}-${system}`)
  const windows = `osb-${version}-windows`
  assert.deepEqual(names, [...unix.map((name) => `${name}.tar.gz`), `${windows}.zip`, 'SHA256SUMS'])

  const sums = readFileSync(join(folder, 'SHA256SUMS'), 'utf8').trimEnd().split('\n')
  const sumOf = (name: string) =>
    createHash('sha256')
      .update(readFileSync(join(folder, name)))
      .digest('hex')
  assert.deepEqual(
    sums,
    names.slice(0, -1).map((name) => `${sumOf(name)}  ${name}`)
  )

  for (const name of unix) execFileSync('tar', ['-xzf', `${name}.tar.gz`], { cwd: folder })
  for (const { path, content } of unzipped(readFileSync(join(folder, `${windows}.zip`)))) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), content)
  }
  for (const name of [...unix, windows]) {
    const launcher = name === windows ? 'osb.cmd' : 'osb'
    assert.deepEqual(readdirSync(join(folder, name)).toSorted(), [...shared, launcher].toSorted())
    assert.deepEqual(readdirSync(join(folder, name, 'lib')).toSorted(), readdirSync(join(folder, 'lib')).toSorted())
    for (const file of await bundleFiles(folder)) {
      assert.ok(readFileSync(join(folder, name, file)).equals(readFileSync(join(folder, file))), file)
    }
  }
  assert.doesNotMatch(readFileSync(join(folder, windows, 'osb.cmd'), 'utf8'), /[^\r]\n/)

  // As somebody has it on the path: a link, in a folder of another name
  mkdirSync(join(folder, 'bin'))
  symlinkSync(`../${unix[0]}/osb`, join(folder, 'bin/osb'))
  const { NODE_COMPILE_CACHE: _ofTheTests, ...plain } = plainEnvironment()
  const env = { ...plain, HOME: folder, PATH: `${dirname(process.execPath)}:${process.env.PATH}` }
  const help = await run(t, [join(folder, 'bin/osb'), '--help'], { env, cwd: folder })
  assert.deepEqual([help.code, help.stderr], [0, ''])
  assert.match(help.stdout, /^usage: osb COMMAND\n/)
  assert.ok(readdirSync(join(folder, '.cache/osb')).length > 0, 'compiled code is kept')

  const alone = await run(t, ['/bin/sh', join(folder, 'bin/osb')], { env: { PATH: withoutNode(folder) }, cwd: folder })
  assert.equal(alone.code, 1)
  assert.match(alone.stderr, /^osb needs Node\.js 22\.19 or newer[^\n]*\n$/)
})

test('archives: the same files make the same bytes, and come out as they went in', (t) => {
  const folder = temporaryFolder(t)
  const entries = [
    { path: 'a/empty', content: Buffer.alloc(0), executable: false },
    { path: 'a/full', content: Buffer.alloc(512, 'x'), executable: true },
    { path: 'a/ünicode', content: Buffer.from('µ'.repeat(1_000)), executable: false }
  ]
  assert.ok(tarGz(entries).equals(tarGz(entries)) && zip(entries).equals(zip(entries)))
  writeFileSync(join(folder, 'a.tar.gz'), tarGz(entries))
  execFileSync('tar', ['-xzf', 'a.tar.gz'], { cwd: folder })
  for (const { path, content } of entries) assert.ok(readFileSync(join(folder, path)).equals(content), path)
  assert.deepEqual(
    unzipped(zip(entries)),
    entries.map(({ path, content }) => ({ path, content }))
  )
  rmSync(join(folder, 'a'), { recursive: true })
  assert.throws(() => tarGz([{ path: 'x'.repeat(101), content: Buffer.alloc(0), executable: false }]), /too long/)
})

/** A folder with what a launcher calls, but Node. */
function withoutNode(folder: string): string {
  const path = join(folder, 'tools')
  mkdirSync(path)
  for (const tool of ['readlink', 'dirname']) {
    symlinkSync(execFileSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).trim(), join(path, tool))
  }
  return path
}

/** Reads an archive by its directory, as every program does, and checks its sums. */
function unzipped(archive: Buffer): { path: string; content: Buffer }[] {
  const end = archive.lastIndexOf(Buffer.from('PK\x05\x06'))
  const count = archive.readUInt16LE(end + 10)
  let at = archive.readUInt32LE(end + 16)
  return Array.from({ length: count }, () => {
    assert.equal(archive.readUInt32LE(at), 0x02014b50)
    const [sum, packed, size] = [16, 20, 24].map((offset) => archive.readUInt32LE(at + offset))
    const nameLength = archive.readUInt16LE(at + 28)
    const path = archive.subarray(at + 46, at + 46 + nameLength).toString()
    const file = archive.readUInt32LE(at + 42)
    const start = file + 30 + archive.readUInt16LE(file + 26) + archive.readUInt16LE(file + 28)
    const content = inflateRawSync(archive.subarray(start, start + (packed ?? 0)))
    assert.deepEqual([crc32(content), content.length], [sum, size], path)
    at += 46 + nameLength
    return { path, content }
  })
}
