import { createHash } from 'node:crypto'
import type { Stats } from 'node:fs'
import { lstat, readdir, readFile, stat, symlink } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { EmbeddedPostgresError, ignoring } from './errors.ts'

/** A file or folder of the package. */
export interface Entry {
  path: string
  stats: Stats
}

/** A link that npm packages cannot carry; the package makes it after install, unless scripts are off. */
export interface Link {
  source: string
  target: string
}

export async function makeLinks(links: Link[]): Promise<void> {
  for (const { source, target } of links) {
    if (await stat(target).catch(ignoring('ENOENT'))) continue
    await symlink(relative(dirname(target), source), target).catch(ignoring('EEXIST'))
  }
}

export async function readLinks(native: string): Promise<Link[]> {
  const text = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(ignoring('ENOENT'))
  const content: unknown = JSON.parse(text ?? '[]')
  if (!Array.isArray(content)) return []
  return content
    .filter(isLink)
    .map((link) => ({ source: inside(native, link.source), target: inside(native, link.target) }))
}

function isLink(value: unknown): value is Link {
  if (typeof value !== 'object' || value === null || !('source' in value) || !('target' in value)) return false
  return typeof value.source === 'string' && typeof value.target === 'string'
}

function inside(native: string, path: string): string {
  const full = resolve(dirname(native), path)
  if (full.startsWith(native + sep)) return full
  throw new EmbeddedPostgresError('no-binary', `${native} lists a link outside of itself: ${path}`)
}

export function fingerprint(root: string, entries: Entry[]): string {
  const lines = entries
    .filter(({ stats }) => stats.isFile())
    .map(({ path, stats }) => `${relative(root, path)} ${stats.size}`)
  return createHash('sha256').update(lines.sort().join('\n')).digest('hex').slice(0, 12)
}

/** Files and folders from the top down; links are left out, they are made from the package's list. */
export async function walk(folder: string): Promise<Entry[]> {
  const found: Entry[] = [{ path: folder, stats: await lstat(folder) }]
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const stats = await lstat(path)
    if (stats.isDirectory()) found.push(...(await walk(path)))
    else if (stats.isFile()) found.push({ path, stats })
  }
  return found
}
