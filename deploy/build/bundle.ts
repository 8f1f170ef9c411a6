import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { extname, join, relative } from 'node:path'
import { brotliCompressSync, constants } from 'node:zlib'
import { build, type Metafile, type Plugin } from 'esbuild'
import { readCatalogFile } from '../../src/core/catalog/read.ts'
import { noticesOf } from './notices.ts'

/**
 * `npm run bundle`: the program as `osb.mjs` and the parts of it in `lib`, which need Node and nothing else. A part is
 * loaded with what needs it: what is never asked for takes neither time nor memory. `--sourcemap` writes a map beside each,
 * for `node --enable-source-maps`.
 */

const root = join(import.meta.dirname, '../..')

export interface BundleOptions {
  /** Where `osb.mjs`, `lib` and the licences of what is in them are written. */
  readonly folder: string
  readonly sourcemap?: boolean
}

/** What is found where it is installed beside the bundle: `pg` has it on other systems, logs are JSON without it. */
const ABSENT = ['pg-native', 'cloudflare:sockets', 'pino-pretty']

/** What modules written for CommonJS expect to find. The names are those of nothing else in the bundle. */
const BANNER = `import { createRequire as bundleRequire } from 'node:module'
const require = bundleRequire(import.meta.url), __filename = import.meta.filename, __dirname = import.meta.dirname`

/** @returns the path of `osb.mjs` */
export async function buildBundle({ folder, sourcemap = false }: BundleOptions): Promise<string> {
  const program = join(folder, 'osb.mjs')
  // Names of parts have a hash of what is in them: those of another time would stay.
  await rm(join(folder, 'lib'), { recursive: true, force: true })
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { osb: 'src/cli/osb.js' },
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    chunkNames: 'lib/[name]-[hash]',
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node22',
    // Names stay: a stack that a user reports has to say something.
    minifyWhitespace: true,
    minifySyntax: true,
    // Node prints the line of an error that nobody caught.
    lineLimit: 160,
    legalComments: 'none',
    sourcemap: sourcemap && 'linked',
    external: ABSENT,
    banner: { js: BANNER },
    plugins: [packageFiles, viewerFiles],
    metafile: true,
    logLevel: 'warning'
  })
  await chmod(program, 0o755)
  await writeFile(join(folder, 'THIRD-PARTY-LICENSES.txt'), await noticesOf(packagesIn(metafile), root))
  return program
}

/** Paths of all that the bundle consists of, from the folder that it was built in. */
export async function bundleFiles(folder: string): Promise<string[]> {
  const parts = await readdir(join(folder, 'lib'))
  return ['osb.mjs', ...parts.toSorted().map((name) => `lib/${name}`)]
}

/** Folders of the packages that anything in the bundle comes from. */
function packagesIn({ inputs }: Metafile): string[] {
  const folders = Object.keys(inputs).flatMap((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? [])
  return [...new Set(folders)].toSorted()
}

/** Puts the contents in the place of the paths of `src/package-files.ts`. */
const packageFiles: Plugin = {
  name: 'package-files',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]src[\\/]package-files\.ts$/ }, async () => {
      const { value } = await readCatalogFile(join(root, 'catalog.yaml'))
      const { version, peerDependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
      return {
        contents: [
          `export const shippedCatalog = () => (${JSON.stringify(value)})`,
          `export const shippedMigrations = () => (${JSON.stringify(await textsIn('migrations'))})`,
          `export const shippedManifest = () => (${JSON.stringify({ version, peerDependencies })})`
        ].join('\n')
      }
    })
    onLoad({ filter: /[\\/]src[\\/]package-root\.ts$/ }, () => ({
      errors: [{ text: 'There is no folder of the package around a bundle: go through src/package-files.ts.' }]
    }))
  }
}

async function textsIn(folder: string): Promise<Record<string, string>> {
  const names = await readdir(join(root, folder))
  const texts = await Promise.all(names.map((name) => readFile(join(root, folder, name), 'utf8')))
  return Object.fromEntries(names.map((name, index) => [name, texts[index] ?? '']))
}

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.png': 'image/png'
}

/** What `/docs` loads; the rest of the viewer's folder are other builds of the same. */
const VIEWER = /^(?:swagger-ui(?:-bundle|-standalone-preset)\.js|.*\.css|.*\.png|oauth2-redirect\..*)$/

/** The viewer at `/docs` reads its files from a folder of its package: here they are in the bundle, compressed. */
const viewerFiles: Plugin = {
  name: 'viewer-files',
  setup({ onLoad, onResolve }) {
    const viewer = join(root, 'node_modules/@fastify/swagger-ui')
    onResolve({ filter: /^@fastify\/static$/ }, ({ importer }) =>
      importer.includes('swagger-ui') ? { path: 'viewer', namespace: 'viewer-files' } : undefined
    )
    onLoad({ filter: /.*/, namespace: 'viewer-files' }, async () => ({ contents: await viewerModule(viewer) }))
    onLoad({ filter: /swagger-ui[\\/]index\.js$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8')
      const reading = "await fsPromises.readFile(path.join(__dirname, './static/logo.svg'))"
      if (!source.includes(reading))
        return { errors: [{ text: `${relative(root, path)} reads its logo in another way.` }] }
      const logo = await readFile(join(viewer, 'static/logo.svg'), 'utf8')
      return { contents: source.replace(reading, () => `Buffer.from(${JSON.stringify(logo)})`) }
    })
  }
}

/** A module that does with the viewer's files what `@fastify/static` does. */
async function viewerModule(viewer: string): Promise<string> {
  const names = (await readdir(join(viewer, 'static'))).filter((name) => VIEWER.test(name))
  const files = await Promise.all(
    names.map(async (name) => ({
      name,
      type: TYPES[extname(name)],
      data: compressed(await readFile(join(viewer, 'static', name))).toString('base64')
    }))
  )
  return `
    import { brotliDecompressSync } from 'node:zlib'
    const files = ${JSON.stringify(files)}
    export default async (app) => {
      for (const { name, type, data } of files) {
        app.get('/' + name, { schema: { hide: true } }, (request, reply) =>
          reply.type(type).send(brotliDecompressSync(Buffer.from(data, 'base64'))))
      }
    }`
}

/** The best quality takes ten times as long, for a tenth of the size. */
function compressed(content: Buffer): Buffer {
  return brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } })
}

if (process.argv[1] === import.meta.filename) {
  const folder = join(root, 'dist/bundle')
  await mkdir(folder, { recursive: true })
  const path = await buildBundle({ folder, sourcemap: process.argv.includes('--sourcemap') })
  const parts = (await bundleFiles(folder)).map(async (name) => (await stat(join(folder, name))).size)
  const bytes = (await Promise.all(parts)).reduce((sum, size) => sum + size, 0)
  console.log(`${relative(process.cwd(), path)} and lib  ${(bytes / 1e6).toFixed(2)} MB`)
}
