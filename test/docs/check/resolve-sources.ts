import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { entries } from './entries.ts'

/* With `node --import`: what is imported from the package comes from its sources, which need no build. */
const root = join(import.meta.dirname, '../../..')
registerHooks({
  resolve(specifier, context, nextResolve) {
    const source = Object.hasOwn(entries, specifier) ? entries[specifier] : undefined
    return source === undefined
      ? nextResolve(specifier, context)
      : { url: pathToFileURL(join(root, source)).href, format: 'module-typescript', shortCircuit: true }
  }
})
