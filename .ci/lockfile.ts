import { readFileSync, writeFileSync } from 'node:fs'

const file = new URL('../package-lock.json', import.meta.url)

/** What package-lock.json says of one package. */
export interface Locked {
  readonly version?: string
  readonly resolved?: string
  readonly integrity?: string
  readonly license?: string
  readonly dev?: boolean
  readonly link?: boolean
  readonly hasInstallScript?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

/** By the folder that it is installed in; the package itself is `''`. */
export type Lockfile = Readonly<Record<string, Locked>>

export function readLockfile(): Lockfile {
  return JSON.parse(readFileSync(file, 'utf8')).packages
}

/** `@scope/name` of `node_modules/a/node_modules/@scope/name`. */
export function nameOf(folder: string): string {
  return folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length)
}

/** Where the npm registry has a package. */
export function registryUrl(name: string, version: string): string {
  return `https://registry.npmjs.org/${name}/-/${name.replace(/^@[^/]+\//, '')}-${version}.tgz`
}

/**
 * Folders of what comes along with the package: all that its dependencies need, optional ones included, optional peers
 * not.
 */
export function broughtAlong(lockfile: Lockfile): string[] {
  const found = new Set<string>()
  const visit = (folder: string) => {
    const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta } = lockfile[folder] ?? {}
    const peers = Object.keys(peerDependencies ?? {}).filter((name) => peerDependenciesMeta?.[name]?.optional !== true)
    for (const name of [...Object.keys({ ...dependencies, ...optionalDependencies }), ...peers]) {
      const needed = resolve(lockfile, folder, name)
      if (needed === undefined || found.has(needed)) continue
      found.add(needed)
      visit(needed)
    }
  }
  visit('')
  return [...found].sort()
}

/** As Node.js looks for it: in the nearest `node_modules` above. */
function resolve(lockfile: Lockfile, from: string, name: string): string | undefined {
  for (let folder = from; ; ) {
    const candidate = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`
    if (candidate in lockfile) return candidate
    if (folder === '') return undefined
    folder = folder.slice(0, Math.max(0, folder.lastIndexOf('node_modules/') - 1))
  }
}

/** npm leaves out where packages come from when the machine is configured so, and does not add it later. */
function addSources(): void {
  const content = JSON.parse(readFileSync(file, 'utf8'))
  for (const [folder, locked] of Object.entries<Locked>(content.packages)) {
    if (!folder.includes('node_modules/') || locked.resolved !== undefined || locked.version === undefined) continue
    const { version, ...rest } = locked
    content.packages[folder] = { version, resolved: registryUrl(nameOf(folder), version), ...rest }
  }
  writeFileSync(file, `${JSON.stringify(content, null, 2)}\n`)
}

if (import.meta.main) addSources()
