import manifest from '../../../package.json' with { type: 'json' }

/** The entries of the package, as programs import them, and the sources that they are compiled from. */
export const entries: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(manifest.exports).flatMap(([path, entry]) =>
    typeof entry === 'string'
      ? []
      : [[manifest.name + path.slice(1), entry.default.replace('./dist/', '').replace(/\.js$/, '.ts')]]
  )
)
