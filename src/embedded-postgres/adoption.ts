import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { EmbeddedPostgresError, ignoring } from './errors.ts'
import { isReady, readPidFile } from './postmaster.ts'
import { exists, findProcess, findProcessesByCommand, type ProcessInfo } from './processes.ts'
import type { Postmaster, Server } from './server.ts'
import { stopPostmaster } from './shutdown.ts'

const adoptMs = 60_000
const lingerMs = 5_000
const endMs = 15_000

/**
 * The server of this cluster that an earlier process of ours left running, once it takes connections. What a crash has
 * left behind is cleared away.
 */
export async function adoptPostmaster(
  server: Server,
  password: string
): Promise<(Postmaster & { port: number }) | undefined> {
  const { cluster } = server.directory
  for (const end = Date.now() + adoptMs; Date.now() < end; await delay(50)) {
    const file = await readPidFile(cluster)
    if (file === undefined) return undefined
    const found = await findProcess(file.pid)
    const relation = found === undefined ? 'other' : relationTo(cluster, found)
    if (found === undefined || relation === 'other') {
      // PostgreSQL takes a living process of its account for a server, be it another program that got the pid, or a
      // zombie. Its check of the shared memory is what keeps two servers apart, and does not need the file.
      if (exists(file.pid)) await rm(join(cluster, 'postmaster.pid'), { force: true })
      return undefined
    }
    if (relation === 'moved') {
      await stopPostmaster(server, { pid: file.pid, gone: watch(found) })
      continue
    }
    if (file.status !== 'ready' || !(await isReady(server, { port: file.port, password }, file.pid))) continue
    return { pid: file.pid, port: file.port, gone: watch(found) }
  }
  const pid = (await readPidFile(cluster))?.pid
  const message = `${join(cluster, 'postmaster.pid')} names process ${pid}, which lives and does not let us in: end it if it is a PostgreSQL server (kill -INT ${pid}), otherwise delete the file.`
  throw new EmbeddedPostgresError('start-failed', message)
}

/** Polls, since the end of a process that is not our child is not reported to us. */
async function watch(started: ProcessInfo): Promise<string> {
  for (;;) {
    const now = await findProcess(started.pid).catch(() => started)
    if (now === undefined || now.startMark !== started.startMark) return 'it is gone'
    await delay(1_000, undefined, { ref: false })
  }
}

/** `moved`: it serves this folder, which had another path when it started, and would not find its files on a reload. */
export function relationTo(cluster: string, { command, cwd }: ProcessInfo): 'serves' | 'moved' | 'other' {
  if (command === undefined) return 'serves' // not known; only a connection can tell
  const started = / -D (.+) -c config_file=/.exec(command)?.[1]
  if (started === undefined || (cwd !== undefined && cwd !== cluster)) return 'other'
  if (started === cluster) return 'serves'
  // Where its working folder is not told: a copied data directory names the server of the original, whose path exists.
  return cwd === cluster || !existsSync(started) ? 'moved' : 'other'
}

/**
 * Waits for the processes of a server that died without them, and ends those that stay: while one lives, the shared
 * memory is in use and a new server refuses to start.
 */
export async function clearOrphans(server: Server, clusterName: string): Promise<void> {
  const uid = server.account?.uid ?? process.getuid?.()
  for (const end = Date.now() + endMs; Date.now() < end; await delay(50)) {
    const found = await findProcessesByCommand(`postgres: ${clusterName}: `)
    const orphans = found.filter((info) => info.uid === uid)
    if (orphans.length === 0) return
    if (end - Date.now() > endMs - lingerMs) continue
    for (const { pid } of orphans) {
      server.log(`ending process ${pid}, left by an embedded PostgreSQL that died`)
      killIfThere(pid)
    }
    await delay(500)
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    ignoring('ESRCH')(error)
  }
}
