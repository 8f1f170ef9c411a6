import type { Binaries } from './binaries.ts'
import type { DataDirectory } from './data-directory.ts'
import type { ServerAccount } from './server-account.ts'

/** Everything that stays the same while the server is stopped and started. */
export interface Server {
  binaries: Binaries
  directory: DataDirectory
  account: ServerAccount | undefined
  settings: Readonly<Record<string, string>>
  log: (line: string) => void
}

/** A running server. */
export interface Postmaster {
  pid: number
  /** Resolves with what is known about the end, once the process is gone. */
  gone: Promise<string>
}

/** How every program of PostgreSQL is started. */
export function childOptions({ binaries, directory, account }: Server) {
  return {
    // Not ours: it may be a folder that the account cannot enter, and initdb wants to know where it is.
    cwd: directory.home,
    env: { ...environment(), [libraryVariable]: binaries.lib },
    windowsHide: true,
    // macOS has -2 for nobody, which spawn wants signed and chown unsigned.
    ...(account === undefined ? {} : { uid: account.uid | 0, gid: account.gid | 0 })
  }
}

const libraryVariable = process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH'

// Ours holds the broker's secrets, which a superuser of the server could read, and perhaps PG… variables that mislead.
function environment(): NodeJS.ProcessEnv {
  const names = process.platform === 'win32' ? ['PATH', 'SystemRoot', 'TEMP', 'TMP', 'USERPROFILE'] : ['PATH']
  return { ...Object.fromEntries(names.map((name) => [name, process.env[name]])), LC_ALL: 'C' }
}
