import { readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { relationTo } from './adoption.ts'
import type { DataDirectory } from './data-directory.ts'
import { EmbeddedPostgresError } from './errors.ts'
import { type OwnerLock, takeOwnerLock } from './owner-lock.ts'
import { readPidFile } from './postmaster.ts'
import { findProcess } from './processes.ts'

/**
 * Looks after clusters in /var/lib whose data directory, of the same path, was removed: a server that still runs there
 * is stopped. The data stays and is reported, since the directory may only be missing because its disk is not mounted.
 */
export async function retireForgotten({ path, home }: DataDirectory, log: (line: string) => void): Promise<void> {
  const prefix = basename(home).replace(/-.*/, '-')
  for (const name of await readdir(dirname(home))) {
    const forgotten = join(dirname(home), name)
    if (!name.startsWith(prefix) || forgotten === home) continue
    log(`an earlier cluster of ${path} lies at ${forgotten}: delete it unless its data is wanted`)
    const lock = await takeUnlessOwned(forgotten)
    if (lock === undefined) continue
    await stopServer(join(forgotten, 'cluster')).finally(lock.release)
  }
}

async function stopServer(cluster: string): Promise<void> {
  const file = await readPidFile(cluster)
  const running = file === undefined ? undefined : await findProcess(file.pid)
  if (running?.command === undefined || relationTo(cluster, running) === 'other') return
  process.kill(running.pid, 'SIGINT')
}

async function takeUnlessOwned(home: string): Promise<OwnerLock | undefined> {
  return await takeOwnerLock(home).catch((error: unknown) => {
    if (error instanceof EmbeddedPostgresError && error.code === 'in-use') return undefined
    throw error
  })
}
