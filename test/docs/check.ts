import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sections } from '../../docs/.vitepress/pages.ts'
import manifest from '../../package.json' with { type: 'json' }
import { Environment } from '../../src/config.ts'
import { type Class, classOf } from './check/classes.ts'
import { askHelp, commandFaults } from './check/commands.ts'
import { catalogFaults, parseFaults } from './check/data.ts'
import { linkFaults, navigationFaults } from './check/links.ts'
import { type Block, type Fault, readPage } from './check/page.ts'
import { siteFaults } from './check/site.ts'
import { BlockProject } from './check/typescript.ts'
import { variableFaults } from './check/variables.ts'
import { startWalkedBroker } from './check/walk.ts'
import { configurationTable, withTable } from './configuration-table.ts'

/* npm run docs:check: what the documentation says is true, as far as a machine can tell. See CONTRIBUTING.md. */

const root = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'osb-docs-'))
// The command line is started dozens of times: with its sources compiled once it takes a third.
process.env.NODE_COMPILE_CACHE ??= join(folder, 'compiled')
process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 10 }))

/** A list of what was, and the words of others. */
const leftOut = ['CHANGELOG.md', 'THIRD_PARTY_LICENSES.md']
const files = globSync(['*.md', 'docs/**/*.md', 'examples/**/*.md'], { cwd: root }).filter(
  (file) => !leftOut.includes(file)
)
const pages = files.sort().map((file) => readPage(file.replaceAll('\\', '/'), readFileSync(join(root, file), 'utf8')))
const blocks = pages.flatMap((page) => page.blocks)
const byClass = Map.groupBy(blocks, (block) => (typeof classOf(block) === 'object' ? undefined : classOf(block)))
const of = (kind: Class): Block[] => byClass.get(kind) ?? []

const faults = [
  ...blocks.map(classOf).filter((one): one is Fault => typeof one === 'object'),
  ...linkFaults(pages, root),
  ...navigationFaults(pages, sections),
  ...variableFaults(pages, variables()),
  ...tableFaults(),
  ...of('parsed').flatMap(parseFaults),
  ...of('catalog').flatMap(catalogFaults),
  ...(await Promise.all([codeFaults(), ranFaults()])).flat()
]

for (const { page, line, message } of faults) console.log(`${page}:${line}: ${message}`)
const counts = [...byClass].map(([kind, some]) => `${some.length} ${kind ?? 'of no class'}`)
console.log(`${pages.length} pages, ${blocks.length} blocks (${counts.join(', ')}): ${faults.length} faults`)
if (faults.length > 0 || blocks.length === 0) process.exitCode = 1

/** Types, then the blocks that are run, then the commands, then the site. */
async function codeFaults(): Promise<Fault[]> {
  const code = join(folder, 'code')
  mkdirSync(code)
  const project = new BlockProject(blocks, { root, folder: code })
  const typed = await project.typeFaults()
  const ran = await project.runFaults()
  const reference = { root, scripts: new Set(Object.keys(manifest.scripts)), help: askHelp(root) }
  const commands = [...of('commands'), ...of('walk'), ...of('shape')]
  const checked = await Promise.all(
    commands.map((block) => commandFaults(block, reference, classOf(block) === 'shape'))
  )
  return [...typed, ...ran, ...checked.flat(), ...(await siteFaults(root, join(folder, 'site')))]
}

/** What is tried on a broker: one for all, page after page. */
async function ranFaults(): Promise<Fault[]> {
  const data = join(folder, 'walk')
  mkdirSync(data)
  const broker = await startWalkedBroker(data)
  try {
    const found: Fault[] = []
    for (const block of of('sql')) found.push(...(await broker.execute(block)))
    for (const walk of Map.groupBy(of('walk'), ({ page }) => page).values()) {
      const failed = await broker.walk(walk)
      // Those that follow would find what this one has left behind.
      if (failed.length > 0) return [...found, ...failed]
    }
    return found
  } finally {
    await broker.stop()
  }
}

/** Those of the server, and those that the command line, and commands that it runs, know by name. */
function variables(): Set<string> {
  const sources = globSync('src/**/*.ts', { cwd: root }).map((file) => readFileSync(join(root, file), 'utf8'))
  const others = sources.flatMap((source) => source.match(/\bOSB_[A-Z_]+\b/g) ?? [])
  return new Set([...Object.keys(Environment.properties), ...others])
}

function tableFaults(): Fault[] {
  const page = 'docs/configuration.md'
  const source = readFileSync(join(root, page), 'utf8')
  if (source === withTable(source, configurationTable())) return []
  return [{ page, line: 1, message: 'its table is not that of src/config.ts: run `npm run docs:table`' }]
}
