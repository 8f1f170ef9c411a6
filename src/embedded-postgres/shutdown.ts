import { execFile } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { EmbeddedPostgresError, ignoring } from './errors.ts'
import { findProcess } from './processes.ts'
import { childOptions, type Postmaster, type Server } from './server.ts'

const run = promisify(execFile)
const fastMs = 30_000
const immediateMs = 10_000

/** Fast shutdown; harder when it takes too long. Resolves when the process is gone. */
export async function stopPostmaster(server: Server, { pid, gone }: Postmaster): Promise<void> {
  for (const [signal, waitMs] of [
    ['SIGINT', fastMs],
    ['SIGQUIT', immediateMs],
    ['SIGKILL', immediateMs]
  ] as const) {
    await signalPostmaster(server, pid, signal)
    if (await isGoneWithin(waitMs, { pid, gone })) return
    server.log(`embedded PostgreSQL (pid ${pid}) is still there ${waitMs / 1000} s after ${signal}`)
  }
  throw new EmbeddedPostgresError('start-failed', `The embedded PostgreSQL (pid ${pid}) cannot be stopped.`)
}

async function isGoneWithin(waitMs: number, { pid, gone }: Postmaster): Promise<boolean> {
  const reported = gone.then(() => true)
  for (const end = Date.now() + waitMs; Date.now() < end; ) {
    if (await Promise.race([reported, delay(50, false)])) return true
    if ((await findProcess(pid)) === undefined) return true
  }
  return false
}

async function signalPostmaster(server: Server, pid: number, signal: 'SIGINT' | 'SIGQUIT' | 'SIGKILL'): Promise<void> {
  if (process.platform !== 'win32' || signal === 'SIGKILL') {
    try {
      process.kill(pid, signal)
    } catch (error) {
      ignoring('ESRCH')(error)
    }
    return
  }
  // Windows has no signals: there, kill ends a process at once, and PostgreSQL listens on a pipe that pg_ctl knows.
  const mode = signal === 'SIGINT' ? 'fast' : 'immediate'
  await run(server.binaries.pgCtl, ['stop', '-D', server.directory.cluster, '-m', mode, '-W'], childOptions(server))
}
