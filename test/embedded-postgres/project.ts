import { chmodSync, constants, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findPlatformPackage } from '../../src/embedded-postgres/platform-package.ts'

/** A copy of the code and the packages it needs, as a checkout of its own. */
export interface Project {
  /** Its `owner-process.ts`. */
  script: string
  /** The folder of its binaries. */
  native: string
}

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Without the links, and with the programs not executable, as npm leaves them where scripts are off. */
export function makeProject(folder: string): Project {
  const copy = (path: string) => cpSync(join(root, path), join(folder, path), { recursive: true, dereference: true })
  copy('src/embedded-postgres')
  for (const file of ['package-files.ts', 'package-root.ts']) copy(join('src', file))
  copy('test/embedded-postgres/owner-process.ts')
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (/^(pg|postgres|split2|xtend)/.test(name) && !name.startsWith('pg-boss')) copy(join('node_modules', name))
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  const source = dirname(findPlatformPackage().native)
  const target = join(folder, 'node_modules', findPlatformPackage().name)
  mkdirSync(dirname(target), { recursive: true })
  cpSync(source, target, { recursive: true, verbatimSymlinks: true, mode: constants.COPYFILE_FICLONE })
  const native = join(target, 'native')
  for (const link of linksOf(native)) rmSync(join(target, link), { force: true })
  for (const name of readdirSync(join(native, 'bin'))) chmodSync(join(native, 'bin', name), 0o644)
  return { script: join(folder, 'test/embedded-postgres/owner-process.ts'), native }
}

/** Takes the right to write from a whole tree. */
export function makeReadOnly(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isDirectory()) chmodSync(join(entry.parentPath, entry.name), 0o555)
  }
  chmodSync(folder, 0o555)
}

function linksOf(native: string): string[] {
  const links: { target: string }[] = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8'))
  return links.map(({ target }) => target)
}
