import { randomBytes } from 'node:crypto'
import type { Stats } from 'node:fs'
import { access, chmod, constants, copyFile, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { errnoOf, ignoring } from './errors.ts'
import { type Entry, fingerprint, type Link, makeLinks, readLinks, walk } from './package-files.ts'
import type { PlatformPackage } from './platform-package.ts'
import { canReach, mayUse, type ServerAccount } from './server-account.ts'

const draftPrefix = 'binaries-draft-'
const draftMs = 3_600_000

/** Programs that the server's account can run. */
export interface Binaries {
  initdb: string
  postgres: string
  pgCtl: string
  lib: string
  /** Major version, as in a cluster's PG_VERSION. */
  major: string
}

/**
 * Makes the package's programs runnable. Used where they are when that works or a missing link or executable bit can be
 * added there; otherwise (read-only, or out of reach of the server's account) from a copy in the folder of `copies`.
 */
export async function prepareBinaries(
  source: PlatformPackage,
  account: ServerAccount | undefined,
  copies: () => Promise<string>
): Promise<Binaries> {
  const entries = await walk(source.native)
  const links = await readLinks(source.native)
  if (await repairInPlace(source.native, entries, links, account)) return binariesIn(source.native, source.version)
  const native = await copyOnce(source, entries, links, await copies())
  return binariesIn(native, source.version)
}

function binariesIn(native: string, version: string): Binaries {
  const program = (name: string) => join(native, 'bin', process.platform === 'win32' ? `${name}.exe` : name)
  return {
    initdb: program('initdb'),
    postgres: program('postgres'),
    pgCtl: program('pg_ctl'),
    lib: join(native, 'lib'),
    major: version.split('.')[0] ?? version
  }
}

async function repairInPlace(
  native: string,
  entries: Entry[],
  links: Link[],
  account: ServerAccount | undefined
): Promise<boolean> {
  if (account !== undefined && !(await canReach(native, account))) return false
  if (account !== undefined && !entries.every(({ stats }) => mayUse(stats, account, stats.isDirectory() ? 5 : 4))) {
    return false
  }
  try {
    await makeLinks(links)
    if (process.platform === 'win32') return true
    for (const { path, stats } of programsOf(native, entries)) {
      if (await mayRun(path, stats, account)) continue
      await chmod(path, (stats.mode & 0o777) | 0o111)
    }
    return true
  } catch (error) {
    if (['EACCES', 'EPERM', 'EROFS'].includes(errnoOf(error) ?? '')) return false
    throw error
  }
}

async function mayRun(path: string, stats: Stats, account: ServerAccount | undefined): Promise<boolean> {
  if (account !== undefined) return mayUse(stats, account, 1)
  return (await access(path, constants.X_OK).then(() => true, ignoring('EACCES'))) ?? false
}

function programsOf(native: string, entries: Entry[]): Entry[] {
  return entries.filter(({ path, stats }) => stats.isFile() && dirname(path) === join(native, 'bin'))
}

/**
 * The copy is complete once it has its name: it is built beside and renamed, and of two processes that do so at once one
 * wins. Its name and the check tell by sizes, so that a damaged copy or a repaired installation is copied anew.
 */
async function copyOnce(source: PlatformPackage, entries: Entry[], links: Link[], folder: string): Promise<string> {
  const print = fingerprint(source.native, entries)
  const copy = join(folder, `binaries-${source.version}-${print}`)
  if (await isIntact(copy, print)) return join(copy, 'native')
  await removeOldDrafts(folder)
  const draft = join(folder, draftPrefix + randomBytes(6).toString('hex'))
  try {
    await mkdir(draft)
    await chmod(draft, 0o755)
    await copyTree(entries, links, { from: source.native, to: join(draft, 'native') })
    const placed = await rename(draft, copy).then(() => true, ignoring('EEXIST', 'ENOTEMPTY'))
    if (!placed && !(await isIntact(copy, print))) {
      // Aside rather than away: programs that run from it keep their files until they end.
      await rename(copy, `${draft}-damaged`)
      await rename(draft, copy)
    }
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
  return join(copy, 'native')
}

/** Of processes that were killed while they copied, and damaged copies. */
async function removeOldDrafts(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(draftPrefix)) continue
    const stats = await stat(join(folder, name)).catch(ignoring('ENOENT'))
    if (stats === undefined || Date.now() - stats.ctimeMs < draftMs) continue
    await rm(join(folder, name), { recursive: true, force: true })
  }
}

async function copyTree(entries: Entry[], links: Link[], { from, to }: { from: string; to: string }): Promise<void> {
  const moved = (path: string) => join(to, relative(from, path))
  for (const { path, stats } of entries) {
    if (stats.isDirectory()) await mkdir(moved(path))
    else await copyFile(path, moved(path), constants.COPYFILE_FICLONE)
    const runs = stats.isDirectory() || dirname(path) === join(from, 'bin')
    await chmod(moved(path), runs ? 0o755 : 0o644)
  }
  await makeLinks(links.map(({ source, target }) => ({ source: moved(source), target: moved(target) })))
}

async function isIntact(copy: string, print: string): Promise<boolean> {
  const native = join(copy, 'native')
  if (!(await stat(native).catch(ignoring('ENOENT')))) return false
  return fingerprint(native, await walk(native)) === print
}
