import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { chooseFreePort } from '../../../src/embedded-postgres/port.ts'
import { chooseServerAccount } from '../../../src/embedded-postgres/server-account.ts'

/*
 * npm run test:postgresql [FILE…]: the suites of the provider on the embedded server, then on a server of each folder that
 * PG_BIN_DIRS names (as PATH does), such as /usr/lib/postgresql/15/bin.
 */

const FOLDER = 'test/providers/postgresql'
const START_MS = 30_000

const files = process.argv.slice(2)
const outcomes = new Map<string, number>()
outcomes.set('embedded', await runTests({}))
for (const bin of (process.env.PG_BIN_DIRS ?? '').split(delimiter).filter((folder) => folder !== '')) {
  const version = execFileSync(join(bin, 'postgres'), ['--version'], { encoding: 'utf8' }).trim()
  outcomes.set(version, await onServer(bin, (adminUrl) => runTests({ TEST_POSTGRESQL_ADMIN_URL: adminUrl })))
}
for (const [server, code] of outcomes) console.log(`${server}: ${code === 0 ? 'passed' : `ended with ${code}`}`)
process.exitCode = [...outcomes.values()].every((code) => code === 0) ? 0 : 1

/** Exit code of the test runner. */
async function runTests(more: Record<string, string>): Promise<number> {
  const args = ['test/run.ts', ...(files.length === 0 ? [FOLDER] : files)]
  const runner = spawn(process.execPath, args, { stdio: 'inherit', env: { ...process.env, ...more } })
  const [code] = await once(runner, 'exit')
  return typeof code === 'number' ? code : -1
}

/** A cluster that is thrown away; PostgreSQL refuses root, so that it runs as somebody else then. */
async function onServer(bin: string, run: (adminUrl: string) => Promise<number>): Promise<number> {
  const account = await chooseServerAccount(undefined, console.log)
  const folder = mkdtempSync(join(tmpdir(), 'osb-major-'))
  chmodSync(folder, 0o711)
  const home = mkdtempSync(join(folder, 'server-'))
  const password = randomBytes(16).toString('hex')
  const passwordFile = join(home, 'password')
  writeFileSync(passwordFile, password)
  if (account !== undefined) for (const path of [home, passwordFile]) chownSync(path, account.uid, account.gid)
  const data = join(home, 'data')
  const options = { ...account, cwd: home, env: { PATH: process.env.PATH, TZ: 'UTC' } }
  const port = await chooseFreePort()
  let server: ChildProcess | undefined
  try {
    const initdb = ['-D', data, '-U', 'postgres', '--pwfile', passwordFile, '-A', 'scram-sha-256', '-E', 'UTF8']
    execFileSync(join(bin, 'initdb'), [...initdb, '--locale=C'], options)
    const settings = {
      port,
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      fsync: 'off',
      max_prepared_transactions: 4
    }
    const set = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    server = spawn(join(bin, 'postgres'), ['-D', data, ...set], { ...options, stdio: 'ignore' })
    const adminUrl = `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`
    await answering(adminUrl)
    await prepare(adminUrl)
    return await run(adminUrl)
  } finally {
    if (server !== undefined && server.exitCode === null) {
      server.kill('SIGINT')
      await once(server, 'exit')
    }
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The files share the server, and each has an admin of its own: from PostgreSQL 16 on, one cannot use the other's group. */
async function prepare(connectionString: string): Promise<void> {
  const client = new Client({ connectionString })
  await client.connect()
  await client.query('CREATE ROLE osb_tenant NOLOGIN').finally(() => client.end())
}

async function answering(connectionString: string): Promise<void> {
  for (const end = Date.now() + START_MS; ; ) {
    const client = new Client({ connectionString })
    try {
      await client.connect()
      return await client.end()
    } catch (error) {
      if (Date.now() > end) throw error
      await sleep(100)
    }
  }
}
