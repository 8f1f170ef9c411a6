import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Rejected, type Task } from '../../core/provider.ts'
import type { Place } from './instances.ts'
import { quoteIdentifier } from './quoting.ts'
import { disableLogin, loginsOf } from './roles.ts'
import type { AdminServer } from './server.ts'

/** So much of what a command says is logged. */
const SAID_CHARACTERS = 4_000

/**
 * Runs the operator's command before a database is dropped. Nobody can log in any more by then, so what it saves is the last
 * state. It finds the database by libpq's own variables (`PGHOST`, …), as the admin, and `OSB_INSTANCE_ID`.
 * @throws {Rejected} 500 when the command fails: the database is kept, closed, and another delete tries again
 */
export async function backUp({ server, maintenance, names }: Place, command: string, task: Task): Promise<void> {
  const [row] = await maintenance.query<{ whole: boolean }>(
    'SELECT datconnlimit <> -2 AS whole FROM pg_database WHERE datname = $1',
    [names.database]
  )
  // One whose DROP was interrupted has been saved before, and can be read no more
  if (row?.whole !== true) return
  await task.progress('Backing up the database.')
  for (const login of await loginsOf(maintenance, names)) await disableLogin(maintenance, names, login)
  await maintenance.query(`ALTER DATABASE ${quoteIdentifier(names.database)} ALLOW_CONNECTIONS true`)
  const settings = connectionSettings(server, names.database)
  const { code, said } = await run(command, { ...settings, OSB_INSTANCE_ID: task.instanceId }, task.signal)
  if (code === 0) return
  task.log.error({ code, said: said.replaceAll(settings.PGPASSWORD || '\0', '(password)') }, 'The backup failed.')
  await maintenance.query(`ALTER DATABASE ${quoteIdentifier(names.database)} ALLOW_CONNECTIONS false`)
  throw new Rejected(500, 'The backup before the removal failed, and the database is kept.', { instanceUsable: false })
}

/** What libpq reads, and every program that is built on it. */
function connectionSettings({ url: admin, startupOptions }: AdminServer, database: string) {
  const url = new URL(admin.toDatabase(database))
  const parameter = (name: string) => url.searchParams.get(name) ?? ''
  const { hostname } = url
  return {
    PGHOST: hostname === '' ? parameter('host') : decodeURIComponent(hostname).replace(/^\[(.+)\]$/, '$1'),
    PGPORT: String(admin.port),
    PGUSER: decodeURIComponent(url.username) || parameter('user'),
    PGPASSWORD: decodeURIComponent(url.password) || parameter('password'),
    PGDATABASE: database,
    PGOPTIONS: startupOptions,
    ...(parameter('sslmode') === '' ? {} : { PGSSLMODE: parameter('sslmode') }),
    ...(parameter('sslrootcert') === '' ? {} : { PGSSLROOTCERT: parameter('sslrootcert') })
  }
}

/** The broker's own secrets are not the command's. */
const KEPT_BACK = /^(?:BROKER_|POSTGRESQL_|DATABASE_URL$|OSB_)/

async function run(command: string, settings: Record<string, string>, signal: AbortSignal) {
  signal.throwIfAborted()
  const own = Object.entries(process.env).filter(([name]) => !KEPT_BACK.test(name))
  // A process group of its own: an abort has to reach what the shell has started, too
  const child = spawn(command, {
    shell: true,
    detached: process.platform !== 'win32',
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...Object.fromEntries(own), ...settings }
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-SAID_CHARACTERS)
  })
  const end = () => {
    if (child.pid === undefined) return
    if (process.platform === 'win32') child.kill()
    else process.kill(-child.pid, 'SIGTERM')
  }
  signal.addEventListener('abort', end, { once: true })
  try {
    const [code] = await once(child, 'close')
    signal.throwIfAborted()
    return { code: typeof code === 'number' ? code : -1, said }
  } finally {
    signal.removeEventListener('abort', end)
  }
}
