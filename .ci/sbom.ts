import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { broughtAlong, readLockfile } from './lockfile.ts'

// Writes sbom.cdx.json and sbom.spdx.json: what `npm install` of the package brings along. npm makes them, of a folder
// that has nothing else: with --omit=dev it would leave out what development needs too.
const target = resolve(process.argv[2] ?? 'dist')
const manifest = JSON.parse(readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8'))
const { devDependencies: _, peerDependencies: __, peerDependenciesMeta: ___, ...shipped } = manifest
const lockfile = readLockfile()
const packages = Object.fromEntries(broughtAlong(lockfile).map((folder) => [folder, lockfile[folder]]))

const temporary = mkdtempSync(join(tmpdir(), 'osb-sbom-'))
try {
  // npm calls the whole by the name of the folder.
  const folder = join(temporary, manifest.name)
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), JSON.stringify(shipped))
  const locked = { name: manifest.name, version: manifest.version, lockfileVersion: 3, requires: true }
  writeFileSync(
    join(folder, 'package-lock.json'),
    JSON.stringify({ ...locked, packages: { '': shipped, ...packages } })
  )
  mkdirSync(target, { recursive: true })
  for (const [format, name] of Object.entries({ cyclonedx: 'sbom.cdx.json', spdx: 'sbom.spdx.json' })) {
    const text = execFileSync('npm', ['sbom', `--sbom-format=${format}`, '--package-lock-only'], {
      cwd: folder,
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
      shell: process.platform === 'win32'
    })
    writeFileSync(join(target, name), text)
    console.log(join(target, name))
  }
} finally {
  rmSync(temporary, { recursive: true })
}
