import { adoptPostmaster, clearOrphans } from './adoption.ts'
import { prepareBinaries } from './binaries.ts'
import { checkSettings, clusterNameOf, configure, ensureCluster, ensurePassword } from './cluster.ts'
import { ensureDatabases, urlOf } from './connection.ts'
import { findCluster, makeDataDirectory, placeCluster, writeTextFile } from './data-directory.ts'
import { EmbeddedPostgresError, errnoOf, waysOut } from './errors.ts'
import { retireForgotten } from './forgotten.ts'
import { type OwnerLock, takeOwnerLock } from './owner-lock.ts'
import { findPlatformPackage } from './platform-package.ts'
import { chooseFreePort, host, portFile, rememberedPort, requireFreePort } from './port.ts'
import { startPostmaster } from './postmaster.ts'
import { rootDirectory } from './root-directory.ts'
import type { Postmaster, Server } from './server.ts'
import { chooseServerAccount, isRoot } from './server-account.ts'
import { stopPostmaster } from './shutdown.ts'
import { supervise } from './supervisor.ts'

/** How to run the embedded server. */
export interface EmbeddedPostgresOptions {
  /**
   * Holds the cluster, the password file and the log; created with mode 0700 when missing. Under root it is opened to
   * 0710 for the account that the server runs as, or, below a folder which that account cannot enter, points to a
   * cluster in /var/lib.
   */
  dataDir: string
  /** Databases created when missing. Default: none. */
  databases?: string[]
  /** Default: the port of the last start, at first a free one between 20000 and 29999. */
  port?: number
  /** Further settings, as in postgresql.conf. */
  settings?: Record<string, string>
  /** Takes one line for each thing worth knowing. Default: says nothing. */
  log?: (line: string) => void
  /** Called when the server died more than five times within a minute and stays down. */
  onExit?: (error: EmbeddedPostgresError) => void
}

/** A running server of this process. */
export interface EmbeddedPostgres {
  readonly host: '127.0.0.1'
  readonly port: number
  /** URL of the superuser, with its password. */
  readonly adminUrl: string
  /** Process id of the server; another after a crash and restart. */
  readonly pid: number
  /** The folder of the cluster; below `dataDir`, or in /var/lib where root keeps `dataDir` out of reach. */
  readonly clusterDir: string
  /** URL of the superuser for a database of this name. */
  urlOf: (database: string) => string
  /** Ends all sessions and the server; resolves when it is gone, also when called again. */
  stop: () => Promise<void>
}

/**
 * Runs a PostgreSQL server on 127.0.0.1 and keeps it running until `stop`. A server that an earlier process left
 * running on the same data directory, because it was killed, is taken over.
 *
 * @throws EmbeddedPostgresError saying what happened and what to do
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  checkSettings(options.settings ?? {})
  const platform = findPlatformPackage()
  const path = await makeDataDirectory(options.dataDir).catch((error: unknown) => {
    throw explained(error, options.dataDir)
  })
  const locks: OwnerLock[] = []
  try {
    locks.push(await takeOwnerLock(path))
    const found = await findCluster(path)
    const log = (text: string) => options.log?.(text.replaceAll('\n', ' '))
    const account = await chooseServerAccount(found?.cluster, log)
    const directory = await placeCluster(path, found, account)
    // A copied data directory points to the same cluster as its original.
    if (directory.home !== path) locks.push(await takeOwnerLock(directory.home))
    if (directory.home !== path && found === undefined) await retireForgotten(directory, log)
    const copies = account === undefined ? async () => path : () => rootDirectory(account)
    const binaries = await prepareBinaries(platform, account, copies)
    return await run({ binaries, directory, account, settings: options.settings ?? {}, log }, options, locks)
  } catch (error) {
    await release(locks)
    throw explained(error, path)
  }
}

function explained(error: unknown, path: string): unknown {
  const code = errnoOf(error)
  if (error instanceof EmbeddedPostgresError || !(error instanceof Error) || code === undefined) return error
  // chown and setuid to an account that a user namespace leaves out, or without the right to.
  if (isRoot && ['EINVAL', 'EPERM'].includes(code)) {
    const message = `PostgreSQL does not run as root, and this root cannot use another account (${error.message}): start the broker as an ordinary user. ${waysOut}`
    return new EmbeddedPostgresError('no-account', message, { cause: error })
  }
  if (!['EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'ENOTDIR', 'EEXIST', 'EDQUOT'].includes(code)) return error
  const message = `The embedded PostgreSQL cannot use its data directory ${path} (${error.message}): make it writable for this user and see that the disk has room, or choose another (BROKER_DATA_DIR).`
  return new EmbeddedPostgresError('bad-data-dir', message, { cause: error })
}

async function run(server: Server, options: EmbeddedPostgresOptions, locks: OwnerLock[]): Promise<EmbeddedPostgres> {
  const password = await ensurePassword(server.directory)
  const credentials = { password, clusterName: clusterNameOf(server.directory.cluster, password) }
  await ensureCluster(server, password)
  const { port, postmaster } = await adoptOrStart(server, credentials, options.port)
  try {
    await writeTextFile(portFile(server.directory.path), String(port))
    await ensureDatabases({ port, password }, options.databases ?? [])
  } catch (error) {
    await stopPostmaster(server, postmaster)
    throw error
  }
  const supervisor = supervise(postmaster, {
    start: () => launch(server, credentials, port),
    stop: (running) => stopPostmaster(server, running),
    log: server.log,
    onExit: options.onExit ?? (() => undefined)
  })
  return {
    host,
    port,
    adminUrl: urlOf({ port, password }, 'postgres'),
    clusterDir: server.directory.cluster,
    get pid() {
      return supervisor.pid
    },
    urlOf: (database) => urlOf({ port, password }, database),
    stop: async () => {
      await supervisor.stop()
      await release(locks)
    }
  }
}

interface Credentials {
  password: string
  clusterName: string
}

async function adoptOrStart(
  server: Server,
  credentials: Credentials,
  wanted: number | undefined
): Promise<{ port: number; postmaster: Postmaster }> {
  const running = await adoptPostmaster(server, credentials.password)
  const port = wanted ?? (await rememberedPort(server.directory.path)) ?? running?.port
  if (running !== undefined && port !== undefined) {
    const changed = await configure(server, port, credentials.clusterName)
    if (!changed) {
      server.log(`embedded PostgreSQL taken over from an earlier process (pid ${running.pid}, port ${port})`)
      return { port, postmaster: running }
    }
    await stopPostmaster(server, running)
  }
  if (port !== undefined) return { port, postmaster: await launch(server, credentials, port) }
  return await startOnFreePort(server, credentials)
}

async function startOnFreePort(server: Server, credentials: Credentials) {
  for (let attempt = 1; ; attempt++) {
    const port = await chooseFreePort()
    try {
      return { port, postmaster: await launch(server, credentials, port) }
    } catch (error) {
      // Another program was faster at taking the port; nobody knows it yet, so any other is as good.
      if (attempt === 5 || !(error instanceof EmbeddedPostgresError) || error.code !== 'port-taken') throw error
    }
  }
}

async function launch(server: Server, { password, clusterName }: Credentials, port: number): Promise<Postmaster> {
  const running = await adoptPostmaster(server, password)
  if (running !== undefined) return running
  await clearOrphans(server, clusterName)
  await requireFreePort(port, server.directory.path)
  await configure(server, port, clusterName)
  const postmaster = await startPostmaster(server, { port, password })
  server.log(`embedded PostgreSQL runs (pid ${postmaster.pid}, port ${port}, ${server.directory.cluster})`)
  return postmaster
}

async function release(locks: OwnerLock[]): Promise<void> {
  for (const lock of locks.splice(0)) await lock.release()
}
