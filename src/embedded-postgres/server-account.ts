import type { Stats } from 'node:fs'
import { lstat, realpath, stat } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname } from 'node:path'
import { EmbeddedPostgresError, ignoring, waysOut } from './errors.ts'
import { findAccount, OWN_ACCOUNT, ownAccount } from './own-account.ts'

/** The account that owns the cluster and runs the server when this process is root, whom PostgreSQL refuses. */
export interface ServerAccount {
  uid: number
  gid: number
}

export const isRoot = process.getuid?.() === 0

/**
 * Chooses the account that runs the server; `undefined` means the account of this process. The owner of an existing
 * cluster runs it, so that a cluster created without root, or as `nobody` by an earlier version, keeps working under root.
 * A new cluster belongs to an account of its own, or to `nobody` where that cannot be created: initdb wants an account that
 * is in the password file.
 */
export async function chooseServerAccount(
  cluster: string | undefined,
  log: (line: string) => void
): Promise<ServerAccount | undefined> {
  if (process.platform === 'win32') return undefined
  if (!isRoot) {
    requireOwnName()
    return undefined
  }
  const owner = cluster === undefined ? undefined : await stat(cluster).catch(ignoring('ENOENT'))
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid }
  const account = (await ownAccount(log)) ?? (await findAccount('nobody'))
  if (account !== undefined) return account
  const message =
    `PostgreSQL does not run as root, and there is no account "${OWN_ACCOUNT}" or "nobody" to run it as: start the broker ` +
    'as an ordinary user.'
  throw new EmbeddedPostgresError('no-account', `${message} ${waysOut}`)
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
