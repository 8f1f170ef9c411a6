import { createHash } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { type Entry, tarGz, zip } from './archive-formats.ts'
import { buildBundle, bundleFiles } from './bundle.ts'

/**
 * `npm run release:archives`: the bundle as an archive for each system, with a launcher, and their SHA-256 sums. The
 * bundle is the same everywhere; what differs is the launcher and the format.
 */

const root = join(import.meta.dirname, '../..')

const SYSTEMS = ['linux', 'macos', 'freebsd', 'windows']

/** @returns the names of the files in `folder`, the sums last */
export async function makeArchives(folder: string): Promise<string[]> {
  const { name, version, engines } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  await buildBundle({ folder })
  const parts = (await bundleFiles(folder)).map(async (path) => ({
    path,
    content: await readFile(join(folder, path)),
    executable: path === 'osb.mjs'
  }))
  const from = (path: string, executable = false) => entryFrom(join(root, path), executable)
  const shared = [
    ...(await Promise.all(parts)),
    await from('README.md'),
    await from('LICENSE'),
    await entryFrom(join(folder, 'THIRD-PARTY-LICENSES.txt'), false),
    // What the Node.js buildpack of Cloud Foundry looks for
    {
      path: 'package.json',
      content: Buffer.from(`${JSON.stringify({ name, version, private: true, engines }, undefined, 2)}\n`),
      executable: false
    }
  ]
  const script = await from('deploy/launchers/osb.cmd')
  const launchers = {
    unix: await from('deploy/launchers/osb', true),
    windows: { ...script, content: Buffer.from(script.content.toString().replaceAll('\n', '\r\n')) }
  }
  const sums: string[] = []
  const names: string[] = []
  for (const system of SYSTEMS) {
    const directory = `osb-${version}-${system}`
    const launcher = system === 'windows' ? launchers.windows : launchers.unix
    const entries = [launcher, ...shared].map((entry) => ({ ...entry, path: `${directory}/${entry.path}` }))
    const file = `${directory}.${system === 'windows' ? 'zip' : 'tar.gz'}`
    const archive = system === 'windows' ? zip(entries) : tarGz(entries)
    await writeFile(join(folder, file), archive)
    names.push(file)
    sums.push(`${createHash('sha256').update(archive).digest('hex')}  ${file}\n`)
  }
  await writeFile(join(folder, 'SHA256SUMS'), sums.join(''))
  return [...names, 'SHA256SUMS']
}

async function entryFrom(file: string, executable: boolean): Promise<Entry> {
  return { path: file.replace(/^.*[\\/]/, ''), content: await readFile(file), executable }
}

if (process.argv[1] === import.meta.filename) {
  const folder = join(root, 'dist/release')
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  for (const name of await makeArchives(folder)) {
    const { length } = await readFile(join(folder, name))
    console.log(`${join(relative(process.cwd(), folder), name)}  ${(length / 1e6).toFixed(2)} MB`)
  }
}
