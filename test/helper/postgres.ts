import { randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Client } from 'pg'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'

/** A real PostgreSQL server for the tests of one file. */
export interface TestPostgres {
  /** URL of the superuser. */
  adminUrl: string
  /** Makes an empty database and answers its URL. */
  createDatabase: () => Promise<string>
}

const folderPrefix = 'osb-test-postgres-'
let started: Promise<TestPostgres> | undefined

/** The server of this test process: started at the first call, gone with its folder when the process ends. */
export function testPostgres(): Promise<TestPostgres> {
  started ??= start()
  return started
}

async function start(): Promise<TestPostgres> {
  const dataDir = temporaryDataDir()
  // Durability is of no use to a server that is thrown away.
  const settings = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }
  const server = await startEmbeddedPostgres({ dataDir, settings })
  return { adminUrl: server.adminUrl, createDatabase: () => createDatabase(server) }
}

/** A data directory that is gone, with the server on it, when the process ends. */
export function temporaryDataDir(): string {
  removeForgotten()
  const dataDir = mkdtempSync(join(tmpdir(), `${folderPrefix}${process.pid}-`))
  // Not an `after` hook: it would run before those of the test file, whose pools are still open then. And 'exit' also
  // comes after an uncaught exception.
  process.once('exit', () => removeServer(dataDir))
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      removeServer(dataDir)
      process.kill(process.pid, signal)
    })
  }
  return dataDir
}

async function createDatabase({ adminUrl, urlOf }: EmbeddedPostgres): Promise<string> {
  const name = `test_${randomUUID().replaceAll('-', '')}`
  const client = new Client({ connectionString: adminUrl })
  await client.connect()
  await client.query(`CREATE DATABASE ${name} TEMPLATE template0`).finally(() => client.end())
  return urlOf(name)
}

/** Ends the server of a data directory and removes both; synchronous, since nothing else runs when a process exits. */
export function removeServer(dataDir: string): void {
  const pointer = join(dataDir, 'cluster-location') // where root cannot keep the cluster in a private TMPDIR
  const home = existsSync(pointer) ? readFileSync(pointer, 'utf8').trim() : dataDir
  const pidFile = join(home, 'cluster', 'postmaster.pid')
  const pid = serverPid(pidFile)
  if (pid !== undefined) {
    process.kill(pid, 'SIGQUIT')
    for (const end = Date.now() + 5_000; existsSync(pidFile) && Date.now() < end; ) pause(10)
    if (serverPid(pidFile) === pid) process.kill(pid, 'SIGKILL')
  }
  for (const path of [home, dataDir]) rmSync(path, { recursive: true, force: true, maxRetries: 10 })
}

/** The server that runs here; a pid file that a killed one left may name another program by now. */
function serverPid(pidFile: string): number | undefined {
  if (!existsSync(pidFile)) return undefined
  const pid = Number(readFileSync(pidFile, 'utf8').split('\n')[0])
  if (!(pid > 0) || !lives(pid)) return undefined
  const commandLine = `/proc/${pid}/cmdline`
  if (!existsSync('/proc/self/cmdline')) return pid
  return existsSync(commandLine) && readFileSync(commandLine, 'utf8').includes(dirname(pidFile)) ? pid : undefined
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

/** Servers of test processes that were killed with SIGKILL, which leaves no chance to clean up. */
function removeForgotten(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = Number(new RegExp(`^${folderPrefix}(\\d+)-`).exec(name)?.[1])
    if (Number.isNaN(pid) || lives(pid)) continue
    try {
      removeServer(join(tmpdir(), name))
    } catch {
      // Of another user.
    }
  }
}

function lives(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
