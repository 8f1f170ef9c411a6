import type { Stats } from 'node:fs'
import { lstat, readFile, realpath, stat } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname } from 'node:path'
import { EmbeddedPostgresError, ignoring, waysOut } from './errors.ts'

/** The account that owns the cluster and runs the server when this process is root, whom PostgreSQL refuses. */
export interface ServerAccount {
  uid: number
  gid: number
}

export const isRoot = process.getuid?.() === 0

/**
 * Whom to run the server as: `undefined` means as ourselves. The owner of an existing cluster decides, so that a
 * cluster made without root goes on working under root; a new one goes to `nobody`, since initdb wants an account
 * that stands in the password file and every distribution has that one.
 */
export async function chooseServerAccount(cluster: string | undefined): Promise<ServerAccount | undefined> {
  if (process.platform === 'win32') return undefined
  if (!isRoot) {
    requireOwnName()
    return undefined
  }
  const owner = cluster === undefined ? undefined : await stat(cluster).catch(ignoring('ENOENT'))
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid }
  const accounts = await readFile('/etc/passwd', 'utf8').catch(ignoring('ENOENT'))
  const fields = accounts
    ?.split('\n')
    .find((line) => line.startsWith('nobody:'))
    ?.split(':')
  const [uid, gid] = [Number(fields?.[2]) >>> 0, Number(fields?.[3]) >>> 0]
  if (fields === undefined || uid === 0) {
    const message = 'PostgreSQL does not run as root, and there is no account "nobody" to run it as: start the broker'
    throw new EmbeddedPostgresError('no-account', `${message} as an ordinary user. ${waysOut}`)
  }
  return { uid, gid }
}

// initdb ends with "could not look up effective user ID" under a uid that has no name, as containers may run.
function requireOwnName(): void {
  try {
    userInfo()
  } catch (cause) {
    const message =
      `PostgreSQL needs an account for uid ${process.getuid?.()}, which has none in /etc/passwd: ` +
      `run as a user that has a name (in a container: "--user node"). ${waysOut}`
    throw new EmbeddedPostgresError('no-account', message, { cause })
  }
}

/** True when the account may search the folder and every folder above it. Access lists are not considered. */
export async function canReach(folder: string, account: ServerAccount): Promise<boolean> {
  for (let path = await realpath(folder); ; path = dirname(path)) {
    if (!mayUse(await lstat(path), account, 0o1)) return false
    if (path === dirname(path)) return true
  }
}

/** True when the permission bits (4 read, 2 write, 1 execute) are granted to the account. */
export function mayUse(stats: Stats, account: ServerAccount, bits: number): boolean {
  const shift = stats.uid === account.uid ? 6 : stats.gid === account.gid ? 3 : 0
  return ((stats.mode >> shift) & bits) === bits
}
