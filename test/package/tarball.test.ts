import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { cpSync, globSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import manifest from '../../package.json' with { type: 'json' }
import { OsbClient } from '../../src/client/client.ts'
import { httpTransport } from '../../src/client/transport.ts'
import { end, listening, plainEnvironment, watch } from '../server/broker-process.ts'

const root = join(import.meta.dirname, '../..')
const bin = join(root, 'node_modules/.bin')
const folder = mkdtempSync(join(tmpdir(), 'osb-package-'))
const project = join(folder, 'project')
const tarball = join(folder, `${manifest.name}-${manifest.version}.tgz`)
const environment = { ...plainEnvironment(), PATH: [bin, process.env.PATH].join(delimiter), NO_COLOR: '1' }
const served = {
  BROKER_STORAGE: 'memory',
  BROKER_PORT: '0',
  BROKER_USERNAME: 'platform',
  BROKER_PASSWORD: 'p',
  BROKER_CATALOG_PATH: 'catalog.yaml',
  BROKER_DEFAULT_PROVIDER: 'example'
}
/** For the slowest program: an installation that finds nothing in the cache of npm, on a busy machine. */
const timeoutMs = 240_000
const sources = ['src', 'plugins', 'routes', 'schemas']

/** What `npm pack` says of a package. */
interface Packed {
  readonly size: number
  readonly unpackedSize: number
  readonly files: readonly { readonly path: string }[]
}
let packed: Packed

before(async () => {
  // In a copy: dist/ of the checkout may be in use, or stale.
  const copy = join(folder, 'copy')
  for (const entry of [...sources, ...manifest.files.filter((name) => name !== 'dist')]) {
    cpSync(join(root, entry), join(copy, entry), { recursive: true })
  }
  for (const entry of ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'README.md', 'LICENSE']) {
    cpSync(join(root, entry), join(copy, entry))
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  const answer = await run('npm', ['pack', '--json', '--silent', '--pack-destination', folder], copy)
  // `prepack` prints before it.
  packed = JSON.parse(answer.slice(answer.indexOf('[\n')))[0]
})
after(() => rmSync(folder, { recursive: true, force: true }))

test('package: holds what is compiled, the migrations, the catalog and the papers, and nothing else', (t) => {
  const compiled = globSync(`{${sources.join(',')}}/**/*.{ts,js}`, { cwd: root }).flatMap((file) => {
    const path = `dist/${file.replace(/\.[jt]s$/, '')}`
    return [`${path}.js`, `${path}.d.ts`]
  })
  const migrations = globSync('migrations/*.sql', { cwd: root })
  const papers = ['CHANGELOG.md', 'LICENSE', 'README.md', 'SECURITY.md', 'THIRD_PARTY_LICENSES.md']
  assert.ok(compiled.length > 300 && migrations.length > 1)
  assert.deepEqual(
    packed.files.map(({ path }) => path).sort(),
    [...compiled, ...migrations, ...papers, 'catalog.yaml', 'package.json'].sort()
  )
  t.diagnostic(`${Math.round(packed.size / 1024)} kB, unpacked ${Math.round(packed.unpackedSize / 1024)} kB`)
})

test('package: publint finds nothing', async () => {
  assert.match(await run(join(bin, 'publint'), ['--strict', tarball], root), /All good!/)
})

test('package: the types of every entry are found and are right', async () => {
  // esm-only: what `require` would get is not asked. Node.js from 22.12 on can require ES modules, and we demand 22.19.
  await run(join(bin, 'attw'), ['--profile', 'esm-only', '--no-emoji', tarball], root)
})

test('package: installed in a fresh project it is embedded, tried and run', { timeout: 280_000 }, async (t) => {
  cpSync(join(import.meta.dirname, 'project'), project, { recursive: true })
  const { '@types/node': nodeTypes } = manifest.devDependencies
  const wanted = [tarball, `fastify@${manifest.dependencies.fastify}`, `@types/node@${nodeTypes}`]
  const flags = ['--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund']
  await run('npm', ['install', ...flags, ...wanted], project)

  await t.test('in TypeScript, with all libraries checked', async () => {
    await run(join(bin, 'tsc'), ['-p', '.'], project)
    const said = await run(process.execPath, ['compiled/app.js'], project)
    assert.deepEqual(JSON.parse(said), { valid: true, seats: 2, contract: true, conforms: true })
  })

  await t.test('in JavaScript', async () => {
    const said = await run(process.execPath, ['plain.js'], project)
    assert.deepEqual(JSON.parse(said), { unguarded: 401, offered: ['examples'] })
  })

  await t.test('as the program osb', async () => {
    const osb = join(project, 'node_modules/.bin/osb')
    assert.match(await run(osb, ['--help'], project), /^usage: osb COMMAND/)
    await run(osb, ['lint', '--strict', join(project, 'node_modules', manifest.name, 'catalog.yaml')], project)
    const broker = await listening(watch(spawn(osb, ['serve'], { cwd: project, env: { ...environment, ...served } })))
    const client = new OsbClient({ transport: httpTransport({ url: broker.url }), username: 'platform', password: 'p' })
    const { services } = await client.catalog()
    assert.deepEqual(
      services.map(({ name }) => name),
      ['examples']
    )
    assert.deepEqual(await end(broker, 'SIGTERM'), { code: 0, signal: null })
  })
})

/** Runs a program to its end; fails with all that it said. */
async function run(program: string, args: readonly string[], cwd: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(program, args, { cwd, env: environment, timeout: timeoutMs })
    return stdout
  } catch (error) {
    if (!(error instanceof Error && 'stdout' in error && 'stderr' in error)) throw error
    throw new Error(`${program} ${args.join(' ')}: ${error.message}\n${error.stdout}\n${error.stderr}`, {
      cause: error
    })
  }
}
