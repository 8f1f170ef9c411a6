import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Rejected, type Task } from '../../core/provider.ts'
import { lockShortage } from './dump-locks.ts'
import { codeOf } from './faults.ts'
import type { Place } from './instances.ts'
import { quoteIdentifier } from './quoting.ts'
import { rollBackPrepared } from './removal.ts'
import { revoke } from './revocation.ts'
import { loginsOf } from './roles.ts'
import type { AdminServer } from './server.ts'

/** So much of what a command says is logged. */
const SAID_CHARACTERS = 4_000
/** So much of an instance's id is in the name of its dump. */
const ID_CHARACTERS = 120

/** Timeout of a lock, because a session of a database administrator can hold one forever. */
const LOCK_MS = 60_000
/** How long a program may take to end after an abort, before it is killed. */
const END_MS = 5_000

/** How a database is saved: by a command of the operator's, or by `pg_dump` into a directory. */
export type Backup = { readonly command: string } | { readonly directory: string }

/**
 * Saves a database before it is dropped. Nobody can log in any more by then, so it is the last state. The command, or
 * `pg_dump`, finds it by libpq's own variables (`PGHOST`, …), as the admin; `OSB_INSTANCE_ID` says whose it is.
 * @throws {Rejected} 500 when it fails: the database is kept, closed, and another delete tries again
 */
export async function backUp(place: Place, backup: Backup, task: Task): Promise<void> {
  const { server, maintenance, names } = place
  const { database } = names
  const [row] = await maintenance.query<{ whole: boolean }>(
    'SELECT datconnlimit <> -2 AS whole FROM pg_database WHERE datname = $1',
    [database]
  )
  // One whose DROP was interrupted has been saved before, and can be read no more
  if (row?.whole !== true) return
  await task.progress('Backing up the database.')
  const [failure] = await revoke(place, await loginsOf(maintenance, names))
  if (failure !== undefined) throw failure
  // A prepared transaction may hold locks for which pg_dump would wait in vain
  await rollBackPrepared(place)
  await maintenance.query(`ALTER DATABASE ${quoteIdentifier(database)} ALLOW_CONNECTIONS true`)
  const settings = { ...connectionSettings(server, database), OSB_INSTANCE_ID: task.instanceId }
  const tooLarge = await lockShortage({ server, maintenance, names })
  const { code, said } =
    tooLarge !== undefined
      ? { code: -1, said: tooLarge }
      : 'command' in backup
        ? await run([backup.command], settings, task.signal)
        : await dumpInto(backup.directory, settings, task.signal)
  if (code === 0) return
  task.log.error({ code, said: said.replaceAll(settings.PGPASSWORD || '\0', '(password)') }, 'The backup failed.')
  await maintenance.query(`ALTER DATABASE ${quoteIdentifier(database)} ALLOW_CONNECTIONS false`)
  throw new Rejected(500, 'The backup before the removal failed, and the database is kept.', { instanceUsable: false })
}

/** How a program ended, and the end of what it said. */
interface Ended {
  readonly code: number
  readonly said: string
}

/** A dump gets its name when it is whole, and only the broker's user can read it. */
async function dumpInto(directory: string, settings: Settings, signal: AbortSignal): Promise<Ended> {
  const time = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')
  // An id may be longer than a file's name, and hold what separates folders
  const id = encodeURIComponent(settings.OSB_INSTANCE_ID).slice(0, ID_CHARACTERS)
  const file = join(directory, `${id}-${settings.PGDATABASE}-${time}.dump`)
  const part = `${file}.part`
  await writeFile(part, '', { mode: 0o600 })
  const command = ['pg_dump', '--format=custom', '--no-password', `--lock-wait-timeout=${LOCK_MS}`, `--file=${part}`]
  const ended = await run(command, settings, signal).catch(async (error: unknown) => {
    await rm(part, { force: true })
    throw error
  })
  if (ended.code === 0) await rename(part, file)
  else await rm(part, { force: true })
  return ended
}

type Settings = ReturnType<typeof connectionSettings> & { readonly OSB_INSTANCE_ID: string }

/** What libpq reads, and every program that is built on it. */
function connectionSettings({ url, startupOptions }: AdminServer, database: string) {
  return { ...url.environment(database), PGOPTIONS: startupOptions }
}

/** The broker's own secrets are not the command's. */
const KEPT_BACK = /^(?:BROKER_|POSTGRESQL_|DATABASE_URL$|OSB_)/

/** Runs a program with its arguments; one word alone is a command line for a shell. */
async function run(
  [program = '', ...args]: readonly string[],
  settings: Settings,
  signal: AbortSignal
): Promise<Ended> {
  signal.throwIfAborted()
  const own = Object.entries(process.env).filter(([name]) => !KEPT_BACK.test(name))
  // A process group of its own: an abort has to reach what the shell has started, too
  const child = spawn(program, args, {
    shell: args.length === 0,
    detached: process.platform !== 'win32',
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...Object.fromEntries(own), ...settings }
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-SAID_CHARACTERS)
  })
  let killing: NodeJS.Timeout | undefined
  const abort = () => {
    send(child, 'SIGTERM')
    killing = setTimeout(() => send(child, 'SIGKILL'), END_MS)
  }
  signal.addEventListener('abort', abort, { once: true })
  try {
    const [code] = await once(child, 'close')
    signal.throwIfAborted()
    return { code: typeof code === 'number' ? code : -1, said }
  } catch (error) {
    if (child.pid !== undefined || !(error instanceof Error)) throw error
    return { code: -1, said: `${program} cannot be run: ${error.message}` }
  } finally {
    clearTimeout(killing)
    signal.removeEventListener('abort', abort)
  }
}

/** Sends a signal to a program and its children. */
function send({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, signal)
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error
  }
}
