import { createHash, randomBytes } from 'node:crypto'
import { chmod, chown, lstat, mkdir, open, readFile, realpath, rename, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { EmbeddedPostgresError, ignoring } from './errors.ts'
import { isTrusted, rootDirectory } from './root-directory.ts'
import { canReach, isRoot, type ServerAccount } from './server-account.ts'

/**
 * The folder that holds everything of one embedded server.
 *
 * Normally the cluster lies in it. Under root the server runs as another account, which cannot enter a folder below a
 * private one such as /root: then the cluster lies in `/var/lib/osb-embedded-postgres` and the data directory holds a
 * pointer to it. The name there is random, so a data directory that was removed and made again starts afresh and
 * never finds an old cluster; and /var/lib outlives a reboot, unlike /tmp.
 */
export interface DataDirectory {
  path: string
  /** The folder around the cluster, ours; the data directory itself, or its place below /var/lib. */
  home: string
  cluster: string
}

const clusterName = 'cluster'
const pointerName = 'cluster-location'

/** Makes the folder when it is missing, and answers its real path. */
export async function makeDataDirectory(dataDir: string): Promise<string> {
  const path = resolve(dataDir)
  // Not in one call: its mode would go to the parents too, and shut the server's account out of them.
  await mkdir(dirname(path), { recursive: true })
  const made = await mkdir(path, { mode: 0o700 }).then(() => true, ignoring('EEXIST'))
  if (made) await chmod(path, 0o700)
  const real = await realpath(path)
  if ((await stat(real)).isDirectory()) return real
  throw new EmbeddedPostgresError('bad-data-dir', `${real} is not a folder: set BROKER_DATA_DIR to one.`)
}

/** The cluster that exists already, in the folder or where its pointer says. */
export async function findCluster(path: string): Promise<DataDirectory | undefined> {
  const home = await readTextFile(join(path, pointerName))
  if (home !== undefined) return await elsewhere(path, home)
  const cluster = join(path, clusterName)
  return (await stat(cluster).catch(ignoring('ENOENT'))) ? { path, home: path, cluster } : undefined
}

async function elsewhere(path: string, home: string): Promise<DataDirectory> {
  const found = await lstat(home).catch(ignoring('ENOENT', 'EACCES'))
  if (found === undefined || (isRoot && !(await isTrusted(home)))) {
    // Never silently an empty server instead: the tenants' data would seem lost, or be overwritten when it comes back.
    const message = `The cluster of ${path} was made by root at ${home}, and is gone or out of reach: bring it back, or remove ${path} to start with an empty server.`
    throw new EmbeddedPostgresError('bad-data-dir', message)
  }
  return { path, home, cluster: join(home, clusterName) }
}

/** Chooses where a new cluster goes, or checks that the server's account can still get at the one there is. */
export async function placeCluster(
  path: string,
  found: DataDirectory | undefined,
  account: ServerAccount | undefined
): Promise<DataDirectory> {
  const inside = found ?? { path, home: path, cluster: join(path, clusterName) }
  if (account === undefined) return inside
  if (inside.home === path) await admit(path, account)
  if (await canReach(inside.home, account)) return inside
  if (found === undefined) return await placeElsewhere(path, account)
  const message = `The account of PostgreSQL (uid ${account.uid}) cannot reach its cluster ${found.cluster}: let it search the folders above (chmod o+x), or run the broker as another user than root.`
  throw new EmbeddedPostgresError('bad-data-dir', message)
}

/** Lets the account, and no one else, pass through a private data directory. Folders above it are not ours to change. */
async function admit(path: string, account: ServerAccount): Promise<void> {
  const stats = await stat(path)
  if (stats.uid !== 0 || (stats.mode & 0o077) !== 0 || !(await canReach(dirname(path), account))) return
  await chown(path, 0, account.gid)
  await chmod(path, 0o710)
}

async function placeElsewhere(path: string, account: ServerAccount): Promise<DataDirectory> {
  const hash = createHash('sha256').update(path).digest('hex').slice(0, 12)
  const home = join(await rootDirectory(account), `${hash}-${randomBytes(6).toString('hex')}`)
  await mkdir(home, { mode: 0o700 })
  await chown(home, 0, account.gid)
  await chmod(home, 0o710)
  await writeTextFile(join(path, pointerName), home)
  return { path, home, cluster: join(home, clusterName) }
}

/** The content without its line end; undefined when there is no such file. */
export async function readTextFile(path: string): Promise<string | undefined> {
  return (await readFile(path, 'utf8').catch(ignoring('ENOENT')))?.trimEnd()
}

/** Writes whole or not at all, also when the machine stops meanwhile. */
export async function writeTextFile(path: string, text: string, mode = 0o600): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  const file = await open(draft, 'wx', mode)
  try {
    await file.chmod(mode)
    await file.writeFile(`${text}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(draft, path)
}
