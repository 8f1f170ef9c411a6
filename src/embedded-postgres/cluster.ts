import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { chmod, chown, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { superuser } from './connection.ts'
import { type DataDirectory, readTextFile, writeTextFile } from './data-directory.ts'
import { EmbeddedPostgresError, ignoring, waysOut } from './errors.ts'
import { host } from './port.ts'
import { childOptions, type Server } from './server.ts'

const run = promisify(execFile)
const draftPrefix = 'cluster-draft-'
const ourSettings = ['port', 'listen_addresses', 'unix_socket_directories', 'cluster_name', 'data_directory']

/**
 * The superuser's password, made once. It is on disk before the cluster is made with it.
 *
 * @throws EmbeddedPostgresError `bad-data-dir` when a cluster is there and its password is not
 */
export async function ensurePassword(directory: DataDirectory): Promise<string> {
  const path = join(directory.path, 'password')
  const known = await readTextFile(path)
  if (known !== undefined && known !== '') return known
  if (await stat(directory.cluster).catch(ignoring('ENOENT'))) {
    const message = `${path} is missing, and with it the way into the server: bring it back, or remove ${directory.path} to start with an empty server.`
    throw new EmbeddedPostgresError('bad-data-dir', message)
  }
  const password = randomBytes(32).toString('base64url')
  await writeTextFile(path, password)
  return password
}

/** Makes the cluster unless it is there; an initdb that was cut short has left only a draft, which is thrown away. */
export async function ensureCluster(server: Server, password: string): Promise<void> {
  const { home, cluster } = server.directory
  await removeDrafts(home)
  if (await stat(cluster).catch(ignoring('ENOENT'))) return await requireSameMajor(server)
  const draft = join(home, draftPrefix + randomBytes(6).toString('hex'))
  const [data, passwordFile] = [join(draft, 'data'), join(draft, 'password')]
  await mkdir(draft, { mode: 0o700 })
  await mkdir(data, { mode: 0o700 })
  await writeTextFile(passwordFile, password)
  if (server.account !== undefined) {
    const { uid, gid } = server.account
    await chown(data, uid, gid)
    await chown(passwordFile, uid, gid)
    await chown(draft, 0, gid)
    await chmod(draft, 0o710)
  }
  await initdb(server, data, passwordFile)
  await rename(data, cluster)
  await syncFolder(home)
  await removeDrafts(home)
}

async function initdb(server: Server, data: string, passwordFile: string): Promise<void> {
  const options = ['-D', data, '--username', superuser, '--pwfile', passwordFile, '--auth=scram-sha-256']
  // The builtin provider needs no locales of the system, and sorts the same on all of them.
  options.push('--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8')
  options.push('--data-checksums', '--no-instructions')
  if (server.settings.fsync === 'off') options.push('--no-sync')
  try {
    await run(server.binaries.initdb, options, childOptions(server))
  } catch (cause) {
    const stderr = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : ''
    const reason = stderr === '' && cause instanceof Error ? cause.message : stderr
    throw new EmbeddedPostgresError('start-failed', `initdb could not make the cluster: ${reason}. ${waysOut}`, {
      cause
    })
  }
}

async function removeDrafts(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    if (!name.startsWith(draftPrefix)) continue
    // An initdb of a killed process may still be writing there; then it stays until the next start.
    await rm(join(home, name), { recursive: true, force: true, maxRetries: 5 }).catch(ignoring('ENOTEMPTY'))
  }
}

async function requireSameMajor({ directory, binaries }: Server): Promise<void> {
  const major = await readTextFile(join(directory.cluster, 'PG_VERSION'))
  if (major === binaries.major) return
  const message = `The cluster ${directory.cluster} was made by PostgreSQL ${major ?? '(unknown)'} and the installed one is ${binaries.major}: go back to the former version and dump the data, or remove ${directory.path} to start with an empty server.`
  throw new EmbeddedPostgresError('bad-data-dir', message)
}

/**
 * Stands in the titles of all its processes, so that those of a crashed server can be told from any other's. With the
 * path, since a copied data directory has the same password and its server may be running.
 */
export function clusterNameOf(cluster: string, password: string): string {
  return `osb-${createHash('sha256').update(`${cluster} ${password}`).digest('hex').slice(0, 16)}`
}

/** Writes the configuration, and tells whether it differs from what a running server was started with. */
export async function configure(server: Server, port: number, clusterName: string): Promise<boolean> {
  const { max_connections: connections = '200' } = server.settings
  const settings = {
    max_connections: connections,
    // Limits on what a session can take from all others; docs/postgresql.md has them under "Not isolated".
    // About 20 MB of shared memory. A session needs an entry for each table that it uses, such as pg_dump for all.
    max_locks_per_transaction: '256',
    // Connections that only the broker gets, whose admin is a superuser. PostgreSQL wants the sum to stay below the maximum.
    reserved_connections: String(Math.min(20, Math.floor(Number(connections) / 4))),
    // Of each session, for sorts and hashes that exceed work_mem. Sessions cannot raise it.
    temp_file_limit: '5GB',
    // DROP DATABASE waits for every client that has begun to log in, so one that sends no password delays each deprovision.
    authentication_timeout: '15s',
    password_encryption: 'scram-sha-256',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '%m [%p] ',
    // A failing CREATE ROLE … PASSWORD would be logged with its password.
    log_min_error_statement: 'panic',
    ...server.settings,
    listen_addresses: host,
    port: String(port),
    // TCP only: the path of a socket is limited to 107 bytes, which a deep checkout exceeds.
    unix_socket_directories: '',
    cluster_name: clusterName
  }
  const text = Object.entries(settings)
    .map(([name, value]) => `${name} = ${quote(value)}`)
    .join('\n')
  const path = configPath(server)
  if ((await readTextFile(path)) === text) return false
  await writeTextFile(path, text, 0o640)
  if (server.account !== undefined) await chown(path, 0, server.account.gid)
  return true
}

/** Beside the cluster, not in it: root must not write where the server's account could have placed a link. */
export function configPath({ directory }: Server): string {
  return join(directory.home, 'postgresql.conf')
}

/** @throws EmbeddedPostgresError `bad-setting` */
export function checkSettings(settings: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(settings)) {
    if (ourSettings.includes(name)) {
      throw new EmbeddedPostgresError('bad-setting', `The embedded PostgreSQL sets ${name} itself: leave it out.`)
    }
    if (!/^[a-z_][\w.]*$/i.test(name) || /[\n\r\0]/.test(value)) {
      throw new EmbeddedPostgresError('bad-setting', `${JSON.stringify(name)} is no setting of PostgreSQL on one line.`)
    }
  }
}

function quote(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
}

async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const folder = await open(path)
  await folder.sync().finally(() => folder.close())
}
