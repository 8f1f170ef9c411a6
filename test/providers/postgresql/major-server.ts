import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, chownSync, existsSync, globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { Client } from 'pg'
import { chooseFreePort } from '../../../src/embedded-postgres/port.ts'
import { chooseServerAccount } from '../../../src/embedded-postgres/server-account.ts'

const STARTS_MS = 30_000
const PAUSE_MS = 100

/** A server with the programs of its own major version, gone with the test process. */
export interface MajorServer {
  /** The folder of pg_dump and pg_restore. */
  readonly bin: string
  /** URL of the superuser. */
  readonly adminUrl: string
}

let started: Promise<MajorServer | undefined> | undefined

/** Starts a server from the first folder, of `PG_BIN_DIRS` or of Debian, that has a server and a pg_dump. Undefined without one. */
export function majorServer(): Promise<MajorServer | undefined> {
  started ??= start()
  return started
}

async function start(): Promise<MajorServer | undefined> {
  const folders = [...(process.env.PG_BIN_DIRS ?? '').split(delimiter), ...globSync('/usr/lib/postgresql/*/bin')]
  const complete = (bin: string) =>
    ['initdb', 'postgres', 'pg_dump', 'pg_restore'].every((one) => existsSync(join(bin, one)))
  const bin = folders.find((folder) => folder !== '' && complete(folder))
  if (bin === undefined) return undefined
  const account = await chooseServerAccount(undefined, console.log)
  const folder = mkdtempSync(join(tmpdir(), 'osb-major-server-'))
  let server: ChildProcess | undefined
  process.once('exit', () => {
    server?.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true, maxRetries: 10 })
  })
  chmodSync(folder, 0o711)
  const home = join(folder, 'home')
  mkdirSync(home)
  const password = randomBytes(16).toString('hex')
  const passwordFile = join(home, 'password')
  writeFileSync(passwordFile, password)
  if (account !== undefined) for (const path of [home, passwordFile]) chownSync(path, account.uid, account.gid)
  const data = join(home, 'data')
  const options = { ...account, cwd: home, env: { PATH: process.env.PATH, TZ: 'UTC' } }
  const initdb = ['-D', data, '-U', 'postgres', '--pwfile', passwordFile, '-A', 'scram-sha-256', '-E', 'UTF8']
  execFileSync(join(bin, 'initdb'), [...initdb, '--locale=C', '--no-sync'], options)
  const port = await chooseFreePort()
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    fsync: 'off',
    max_prepared_transactions: 4,
    max_locks_per_transaction: 16
  }
  const set = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  server = spawn(join(bin, 'postgres'), ['-D', data, ...set], { ...options, stdio: 'ignore' })
  server.unref()
  const adminUrl = `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`
  await answering(adminUrl)
  return { bin, adminUrl }
}

async function answering(connectionString: string): Promise<void> {
  for (const end = Date.now() + STARTS_MS; ; ) {
    const client = new Client({ connectionString })
    try {
      await client.connect()
      return await client.end()
    } catch (error) {
      if (Date.now() > end) throw error
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
  }
}
