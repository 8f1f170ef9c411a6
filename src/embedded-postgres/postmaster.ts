import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { configPath } from './cluster.ts'
import { type Access, askDataDirectory } from './connection.ts'
import { readTextFile } from './data-directory.ts'
import { EmbeddedPostgresError, errnoOf, ignoring, waysOut } from './errors.ts'
import { childOptions, type Postmaster, type Server } from './server.ts'
import { logPath, openLog, readLog } from './server-log.ts'
import { stopPostmaster } from './shutdown.ts'

const readyMs = 120_000 // recovery after a crash comes before it

/** Starts a server and waits until it takes connections. */
export async function startPostmaster(server: Server, access: Access): Promise<Postmaster> {
  const logFile = await openLog(server.directory.path)
  const logStart = (await logFile.stat()).size
  const arguments_ = ['-D', server.directory.cluster, '-c', `config_file=${configPath(server)}`]
  const child = spawn(server.binaries.postgres, arguments_, {
    ...childOptions(server),
    // A group of its own: Ctrl-C in the terminal must not reach it before the broker is done with it.
    detached: true,
    stdio: ['ignore', logFile.fd, logFile.fd]
  })
  child.unref()
  const gone = once(child, 'exit').then(
    ([code, signal]) => `it ended with ${signal ?? `code ${code}`}`,
    (error: unknown) => `it could not be run: ${error instanceof Error ? error.message : String(error)}`
  )
  const state: { end?: string } = {}
  void gone.then((end) => {
    state.end = end
  })
  try {
    for (const end = Date.now() + readyMs; state.end === undefined; await delay(20)) {
      if (child.pid !== undefined && (await isReady(server, access, child.pid))) return { pid: child.pid, gone }
      if (Date.now() > end) throw new EmbeddedPostgresError('start-failed', notReady(server))
    }
    throw startFailure(server, state.end, await readLog(server, logStart))
  } catch (error) {
    if (child.pid !== undefined && state.end === undefined) await stopPostmaster(server, { pid: child.pid, gone })
    throw error
  } finally {
    await logFile.close()
  }
}

function notReady({ directory }: Server): string {
  return `The embedded PostgreSQL was not ready after ${readyMs / 1000} seconds: see its log ${logPath(directory.path)}. ${waysOut}`
}

function startFailure({ directory }: Server, end: string, log: string): EmbeddedPostgresError {
  const message = `The embedded PostgreSQL did not start, ${end}. Its log (${logPath(directory.path)}) says:\n${log}\n${waysOut}`
  return new EmbeddedPostgresError(/could not bind/.test(log) ? 'port-taken' : 'start-failed', message)
}

/** True once the process serves our cluster to our password. */
export async function isReady(server: Server, access: Access, pid: number): Promise<boolean> {
  const file = await readPidFile(server.directory.cluster)
  if (file?.pid !== pid || file.status !== 'ready' || file.port !== access.port) return false
  const answer = await askDataDirectory(access).catch((error: unknown) => {
    // 28P01 invalid_password: not our server, or not our password, and asking again will not change it.
    if (errnoOf(error) !== '28P01') return undefined
    const message = `The server at port ${access.port} refuses the password kept in ${server.directory.path}.`
    throw new EmbeddedPostgresError('bad-data-dir', message)
  })
  return (
    answer !== undefined &&
    (await realpath(answer).catch(ignoring('ENOENT'))) === (await realpath(server.directory.cluster))
  )
}

/** `postmaster.pid`: pid, folder, start time, port, socket folder, address, shared memory, status, one a line. */
export async function readPidFile(cluster: string): Promise<{ pid: number; port: number; status: string } | undefined> {
  const lines = (await readTextFile(join(cluster, 'postmaster.pid')))?.split('\n')
  const pid = Number(lines?.[0])
  if (lines === undefined || !Number.isInteger(pid) || pid <= 0) return undefined
  return { pid, port: Number(lines[3]), status: lines[7]?.trim() ?? '' }
}
