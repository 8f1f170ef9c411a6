import { chmod, lstat, mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EmbeddedPostgresError, ignoring, waysOut } from './errors.ts'
import { canReach, type ServerAccount } from './server-account.ts'

const name = 'osb-embedded-postgres'

// In the order of how well they keep data: /var/tmp survives a reboot, the last may not.
const parents = ['/var/lib', '/var/tmp', tmpdir()]

/**
 * A folder of root's that the server's account can reach: for what cannot stay in a private checkout or data directory.
 *
 * @throws EmbeddedPostgresError `bad-data-dir`
 */
export async function rootDirectory(account: ServerAccount): Promise<string> {
  const refusals: string[] = []
  for (const parent of parents) {
    const path = join(parent, name)
    const refusal = await establish(path, account)
    if (refusal === undefined) return path
    refusals.push(`${path} ${refusal}`)
  }
  const message = `Found no place that the PostgreSQL account (uid ${account.uid}) can reach: ${refusals.join('; ')}.`
  throw new EmbeddedPostgresError('bad-data-dir', `${message} ${waysOut}`)
}

async function establish(path: string, account: ServerAccount): Promise<string | undefined> {
  try {
    const made = await mkdir(path, { mode: 0o711 }).then(() => true, ignoring('EEXIST'))
    if (made) await chmod(path, 0o711) // umask may have narrowed it
    if (!(await isTrusted(path))) return 'exists and is not a folder that only root can write'
    return (await canReach(path, account)) ? undefined : 'is not reachable'
  } catch (error) {
    return `cannot be made (${error instanceof Error ? error.message : String(error)})`
  }
}

/** /var/tmp is open to everyone: another user may have planted the folder, with binaries of theirs for us to run. */
export async function isTrusted(path: string): Promise<boolean> {
  const stats = await lstat(path)
  return stats.isDirectory() && stats.uid === 0 && (stats.mode & 0o022) === 0
}
