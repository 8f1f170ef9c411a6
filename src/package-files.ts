import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CatalogSource } from '../schemas/catalog.ts'
import { packageRoot } from './package-root.ts'

/**
 * What ships beside the code and is read when the program runs. The bundle has a module of its own in this one's place,
 * which carries the contents (`deploy/build/bundle.ts`): so nothing else in `src/` may look for files of this package.
 */

/** The catalog that ships: the path of its file, or in the bundle the catalog itself. */
export function shippedCatalog(): string | CatalogSource {
  return join(packageRoot(), 'catalog.yaml')
}

/** The migrations that ship: the path of their folder, or in the bundle their texts by the names of their files. */
export function shippedMigrations(): string | Readonly<Record<string, string>> {
  return join(packageRoot(), 'migrations')
}

/** What is asked of our `package.json`. */
export interface Manifest {
  readonly version: string
  readonly peerDependencies: Readonly<Record<string, string>>
}

export function shippedManifest(): Manifest {
  return JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'))
}
