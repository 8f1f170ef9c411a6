import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { chooseFreePort } from '../../../src/embedded-postgres/port.ts'
import { chooseServerAccount, type ServerAccount } from '../../../src/embedded-postgres/server-account.ts'

const READY_MS = 60_000
/** How long a shutdown may take before the server is told to end at once. */
const SHUTDOWN_MS = 5_000
const RESTARTS = 5

export interface ClusterOptions {
  /** Folder with `initdb` and `postgres`. */
  readonly bin: string
  /** Holds the cluster and its password; kept by `stop`. */
  readonly dataDir: string
  readonly settings?: Readonly<Record<string, string>>
}

/** A running server of any major. */
export interface Cluster {
  /** Of the superuser. */
  readonly adminUrl: string
  readonly clusterDir: string
  stop(): Promise<void>
}

/** Starts a server from the programs of a folder, and starts it again when it ends, five times at most. */
export async function startCluster({ bin, dataDir, settings = {} }: ClusterOptions): Promise<Cluster> {
  const account = await chooseServerAccount(undefined, console.log)
  // PostgreSQL refuses root, so another account has to reach the cluster then.
  chmodSync(dataDir, 0o711)
  const clusterDir = join(dataDir, 'cluster')
  const library = join(bin, '..', 'lib')
  const env = {
    PATH: process.env.PATH,
    TZ: 'UTC',
    ...(existsSync(library) ? { LD_LIBRARY_PATH: library } : {})
  }
  const run = { ...account, cwd: dataDir, env }
  const password = makeCluster(bin, { dataDir, clusterDir, account, run })
  const port = await chooseFreePort()
  const all = { listen_addresses: '127.0.0.1', port: String(port), unix_socket_directories: '', ...settings }
  const set = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  let stopping = false
  let restarts = 0
  let child: ChildProcess
  const launch = () => {
    child = spawn(join(bin, 'postgres'), ['-D', clusterDir, ...set], { ...run, stdio: 'ignore' })
    child.once('exit', () => {
      restarts += 1
      if (!stopping && restarts <= RESTARTS) launch()
    })
  }
  launch()
  const adminUrl = `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`
  const stop = async () => {
    stopping = true
    await end(child)
  }
  try {
    await answering(adminUrl)
  } catch (error) {
    await stop()
    throw error
  }
  return { adminUrl, clusterDir, stop }
}

interface Making {
  readonly dataDir: string
  readonly clusterDir: string
  readonly account: ServerAccount | undefined
  readonly run: object
}

/** Runs `initdb` unless an earlier start has. Answers the superuser's password. */
function makeCluster(bin: string, { dataDir, clusterDir, account, run }: Making): string {
  const passwordFile = join(dataDir, 'password')
  if (existsSync(passwordFile)) return readFileSync(passwordFile, 'utf8')
  const password = randomBytes(16).toString('hex')
  writeFileSync(passwordFile, password, { mode: 0o600 })
  mkdirSync(clusterDir, { mode: 0o700 })
  if (account !== undefined) for (const path of [clusterDir, passwordFile]) chownSync(path, account.uid, account.gid)
  const initdb = ['-D', clusterDir, '-U', 'postgres', '--pwfile', passwordFile, '-A', 'scram-sha-256', '-E', 'UTF8']
  execFileSync(join(bin, 'initdb'), [...initdb, '--locale=C', '--no-sync'], run)
  return password
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGINT')
  const late = setTimeout(() => child.kill('SIGQUIT'), SHUTDOWN_MS)
  await exited
  clearTimeout(late)
}

async function answering(connectionString: string): Promise<void> {
  for (const end = Date.now() + READY_MS; ; ) {
    const client = new Client({ connectionString })
    client.on('error', () => undefined)
    try {
      await client.connect()
      return await client.end()
    } catch (error) {
      if (Date.now() > end) throw error
      await sleep(100)
    }
  }
}
