import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { test } from 'node:test'

/**
 * Imports point one way: schemas ← core ← stores, runners, providers ← plugins ← routes ← app ← server ← cli. A part
 * may import itself and the parts of a lower rank, so parts of one rank stay replaceable one by one.
 */
const ranks: Record<string, number> = {
  schemas: 0,
  'src/package-root': 0,
  'src/telemetry': 0,
  'src/package-files': 1,
  'src/client': 1,
  'src/core': 1,
  'src/postgres': 1.5,
  'src/conformance': 2,
  'src/config': 2,
  'src/embedded-postgres': 2,
  'src/kept-secrets': 2,
  'src/platforms': 2,
  'src/log': 3,
  'src/postgresql-servers': 3,
  'src/tls': 3,
  'src/providers': 2,
  'src/runners': 2,
  'src/stores': 2,
  'src/testing': 2,
  'src/telemetry-sdk': 3,
  plugins: 3,
  routes: 4,
  'src/app': 5,
  'src/server': 6,
  'src/cli': 7,
  'src/index': 8
}

const roots = ['src', 'plugins', 'routes', 'schemas']
const maxLines = 300
const badName = /^utils?\.ts$|manager|helper/i
const keptOutOfCore = /^(fastify|fastify-plugin|@fastify\/.*|pg|pg-boss|@opentelemetry\/.*)(\/|$)/
/** The SDK of OpenTelemetry is one part's: the rest, and whoever embeds the broker, knows its API alone. */
const sdk = /^@opentelemetry\/(?!api$)/

/** Source text by path from the root of the repository. */
type Sources = Record<string, string>
interface Import {
  specifier: string
  /** Leaves nothing behind at run time. */
  typeOnly: boolean
}

const tree = readTree()

test('source files: the tree holds them, and each keeps the rules of imports', () => {
  assert.ok(Object.keys(tree).length > 0, 'no source file was found')
  assert.deepEqual(faultsOf(tree), [])
})

test('source files: no import cycle at run time', () => {
  assert.deepEqual(cyclesOf(tree), [])
})

test('import direction: an import of a lower part is accepted', () => {
  const core =
    "import { Type } from '@sinclair/typebox'\nimport { a } from '../../schemas/common.ts'\nexport * from './b.ts'"
  assert.deepEqual(faultsOf({ 'src/core/a.ts': core }), [])
  assert.deepEqual(
    faultsOf({ 'routes/catalog.ts': "import '../plugins/auth.ts'\nimport { fp } from 'fastify-plugin'" }),
    []
  )
  assert.deepEqual(faultsOf({ 'src/index.ts': "export { a } from './app.ts'\nexport { b } from './cli/b.ts'" }), [])
})

const violations: [string, string, string, RegExp][] = [
  [
    'a store that imports a plugin',
    'src/stores/memory.ts',
    "import { a } from '../../plugins/auth.ts'",
    /may not import/
  ],
  ['a type import upwards', 'src/core/a.ts', "import type { App } from '../app.ts'", /may not import/],
  ['a dynamic import upwards', 'plugins/a.ts', "await import('../src/app.ts')", /may not import/],
  ['a re-export upwards', 'plugins/a.ts', "export * from '../routes/catalog.ts'", /may not import/],
  [
    'an import over several lines',
    'plugins/a.ts',
    "import {\n  a, // one\n  b\n} from '../routes/a.ts'",
    /may not import/
  ],
  ['a part of the same rank', 'src/runners/a.ts', "import { a } from '../stores/memory.ts'", /may not import/],
  ['a test file', 'src/app.ts', "import { a } from '../test/build.ts'", /outside the source tree/],
  ['a part of no rank', 'src/misc/a.ts', 'export const a = 1', /belongs to no part/],
  ['a path without .ts', 'src/app.ts', "import { a } from './config.js'", /without \.ts/],
  ['fastify in core', 'src/core/a.ts', "import type { FastifyInstance } from 'fastify'", /may not use/],
  ['pg-boss in core', 'src/core/a.ts', "import PgBoss from 'pg-boss'", /may not use/],
  ['a library in schemas', 'schemas/a.ts', "import { Ajv } from 'ajv'", /may not use/],
  ['OpenTelemetry in core', 'src/core/a.ts', "import { trace } from '@opentelemetry/api'", /may not use/],
  ['its SDK in a plugin', 'plugins/a.ts', "import { Tracer } from '@opentelemetry/sdk-trace'", /may not use/],
  ['a library in telemetry', 'src/telemetry/a.ts', "import { Pool } from 'pg'", /may not use/],
  ['a default export', 'src/app.ts', 'export default function app() {}', /default export/],
  ['a renamed default export', 'src/app.ts', 'const a = 1\nexport { a as default }', /default export/],
  ['a file too long', 'src/app.ts', 'export {}\n'.repeat(maxLines + 1), /lines/],
  ['a file named utils', 'src/core/utils.ts', 'export {}', /name/],
  ['a file named manager', 'src/core/store-manager.ts', 'export {}', /name/]
]
for (const [what, file, source, expected] of violations) {
  test(`import direction: ${what} is refused`, () => {
    const faults = faultsOf({ [file]: source })
    assert.equal(faults.length, 1, faults.join('\n'))
    assert.match(faults[0] ?? '', expected)
  })
}

test('import direction: comments and strings are no imports', () => {
  const source = "/* import '../a.js' */\n// import '../app.ts'\nexport const a = 'http://x' // import('../app.ts')\n"
  assert.deepEqual(importsOf(`${source}import { b } from './b.ts'`), [{ specifier: './b.ts', typeOnly: false }])
})

test('import cycle: a cycle over three files is found once', () => {
  const sources = {
    'src/core/a.ts': "import { b } from './b.ts'",
    'src/core/b.ts': "export { c } from './c.ts'",
    'src/core/c.ts': "import { type A, a } from './a.ts'"
  }
  assert.deepEqual(cyclesOf(sources), ['src/core/a.ts → src/core/b.ts → src/core/c.ts → src/core/a.ts'])
})

test('import cycle: one that a type import closes is accepted', () => {
  const sources = { 'src/core/a.ts': "import { b } from './b.ts'", 'src/core/b.ts': "import type { A } from './a.ts'" }
  assert.deepEqual(cyclesOf(sources), [])
})

function readTree(): Sources {
  const root = join(import.meta.dirname, '..')
  const files = globSync(`{${roots.join(',')}}/**/*.{ts,mts,cts,js,mjs,cjs}`, { cwd: root }).sort()
  return Object.fromEntries(files.map((file) => [file.replaceAll('\\', '/'), readFileSync(join(root, file), 'utf8')]))
}

function faultsOf(sources: Sources): string[] {
  return Object.entries(sources).flatMap(([file, source]) => [
    ...shapeFaults(file, source),
    ...importsOf(source).flatMap(({ specifier }) => importFaults(file, specifier))
  ])
}

function shapeFaults(file: string, source: string): string[] {
  const faults: string[] = []
  const lines = source.trimEnd().split('\n').length
  if (lines > maxLines) faults.push(`${file} has ${lines} lines; split it (250 are enough, ${maxLines} the limit)`)
  if (badName.test(posix.basename(file))) faults.push(`${file} has a name that says nothing about what is in it`)
  if (/^export\s+default\b|^export\s*\{[^}]*\bas\s+default\b/m.test(withoutComments(source))) {
    faults.push(`${file} has a default export; name it`)
  }
  if (partOf(file) === undefined)
    faults.push(`${file} belongs to no part: give its folder a rank in test/imports.test.ts`)
  return faults
}

function importFaults(file: string, specifier: string): string[] {
  const part = partOf(file)
  if (part === undefined) return []
  if (!specifier.startsWith('.')) {
    return mayUse(part, specifier) ? [] : [`${file}: ${part} may not use ${specifier}`]
  }
  if (!specifier.endsWith('.ts')) return [`${file} imports ${specifier} without .ts`]
  const target = targetOf(file, specifier)
  if (!roots.includes(target.split('/')[0] ?? '')) return [`${file} imports ${specifier}, outside the source tree`]
  const targetPart = partOf(target)
  if (targetPart === undefined || targetPart === part) return []
  const above = (ranks[targetPart] ?? 0) >= (ranks[part] ?? 0)
  return above ? [`${file}: ${part} may not import ${targetPart} (${specifier})`] : []
}

function mayUse(part: string, specifier: string): boolean {
  if (sdk.test(specifier)) return part === 'src/telemetry-sdk'
  if (part === 'schemas') return specifier === '@sinclair/typebox'
  if (part === 'src/telemetry') return specifier === '@opentelemetry/api'
  return (ranks[part] ?? 0) > 1 || !keptOutOfCore.test(specifier)
}

/** The entry of `ranks` a file belongs to: `src/app.ts` and everything under `src/app/` to `src/app`. */
function partOf(file: string): string | undefined {
  const [top = '', next = ''] = file.split('/')
  const part = top === 'src' ? `src/${next.replace(/\.ts$/, '')}` : top
  return part in ranks ? part : undefined
}

function targetOf(file: string, specifier: string): string {
  return posix.join(posix.dirname(file), specifier)
}

function importsOf(source: string): Import[] {
  const text = withoutComments(source)
  const clause = String.raw`(?:[\w$]+|\*(?:\s+as\s+[\w$]+)?|\{[^}]*\})(?:\s*,\s*(?:\*\s+as\s+[\w$]+|\{[^}]*\}))?\s*from\s*`
  const statement = new RegExp(
    String.raw`^\s*(?:import|export)\s*(type\b(?!\s*from))?\s*(?:${clause})?['"]([^'"]+)['"]`,
    'gm'
  )
  const call = /\bimport\s*\(\s*['"`]([^'"`]+)['"`]/g
  const found = (specifier: string | undefined, typeOnly: boolean): Import => ({ specifier: specifier ?? '', typeOnly })
  return [
    ...[...text.matchAll(statement)].map(([, type, specifier]) => found(specifier, type !== undefined)),
    ...[...text.matchAll(call)].map(([, specifier]) => found(specifier, false))
  ]
}

/** Strings are matched to be kept, so that the `//` of an address starts no comment. */
function withoutComments(source: string): string {
  const token = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\])*`/g
  return source.replace(token, (text) => (text.startsWith('/') ? ' ' : text))
}

function cyclesOf(sources: Sources): string[] {
  const edges = new Map(
    Object.entries(sources).map(([file, source]) => {
      const kept = importsOf(source).filter(({ specifier, typeOnly }) => !typeOnly && specifier.startsWith('.'))
      return [file, kept.map(({ specifier }) => targetOf(file, specifier))]
    })
  )
  const cycles: string[] = []
  const done = new Set<string>()
  const visit = (file: string, trail: string[]): void => {
    const start = trail.indexOf(file)
    if (start >= 0) cycles.push([...trail.slice(start), file].join(' → '))
    if (start >= 0 || done.has(file)) return
    for (const target of edges.get(file) ?? []) visit(target, [...trail, file])
    done.add(file)
  }
  for (const file of edges.keys()) visit(file, [])
  return cycles
}
