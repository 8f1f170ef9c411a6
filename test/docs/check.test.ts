import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { classOf } from './check/classes.ts'
import { commandFaults, type Reference } from './check/commands.ts'
import { catalogFaults, parseFaults } from './check/data.ts'
import { linkFaults, navigationFaults } from './check/links.ts'
import { type Block, readPage } from './check/page.ts'
import { commandsIn } from './check/shell.ts'
import { BlockProject } from './check/typescript.ts'
import { variableFaults } from './check/variables.ts'
import { startWalkedBroker } from './check/walk.ts'
import { configurationTable, withTable } from './configuration-table.ts'

const root = join(import.meta.dirname, '../..')
const reference: Reference = {
  root,
  scripts: new Set(['start', 'test', 'build']),
  help: async (name = '') =>
    name === '' ? '  serve  run\n  lint   check\n' : '  --against URL\n  -p, --parameter KEY=VALUE'
}

const block = (info: string, text: string): Block => {
  const [found] = readPage('docs/a.md', `\`\`\`${info}\n${text}\n\`\`\``).blocks
  assert.ok(found !== undefined)
  return found
}
const messages = (faults: readonly { message: string }[]) => faults.map(({ message }) => message)

test('documentation: a page is taken apart into blocks, links and anchors, with their lines', () => {
  const source =
    '# The `x` and y\n\ntext [a](b.md#c) `[no](link)`\n\n  ```ts runnable\n  const a = 1\n  ```\n\n## The x and y\n'
  const page = readPage('docs/a.md', source)
  assert.deepEqual([...page.anchors], ['the-x-and-y', 'the-x-and-y-1'])
  assert.deepEqual(page.links, [{ line: 3, target: 'b.md#c' }])
  assert.deepEqual(page.blocks, [
    { page: 'docs/a.md', line: 6, language: 'ts', words: ['runnable'], text: 'const a = 1' }
  ])
})

for (const [info, expected] of [
  ['ts', 'typed'],
  ['ts provider.ts', 'typed'],
  ['ts runnable', 'run'],
  ['sh', 'commands'],
  ['sh walk', 'walk'],
  ['sh shape', 'shape'],
  ['yaml catalog catalog.yaml', 'catalog'],
  ['sql', 'sql'],
  ['text', 'unchecked'],
  ['nginx unchecked', 'unchecked']
] as const) {
  test(`documentation: a block of \`${info}\` is ${expected}`, () => assert.equal(classOf(block(info, '')), expected))
}

for (const info of ['', 'mermaid', 'ts later', 'sh walk shape', 'constructor']) {
  test(`documentation: a block of \`${info}\` has no class`, () =>
    assert.equal(typeof classOf(block(info, '')), 'object'))
}

test('documentation: commands are found behind pipes, lists, assignments, in substitutions, and in no comment', () => {
  const script = [
    'A=1 npm ci && npm start # osb no',
    `curl -u "$(cat .data/credentials)" \\`,
    `  -d '{"a": "$(not run)"}' 2>&1 | tee out > /dev/null`,
    'kubectl apply -f - <<EOF',
    'osb: no',
    'EOF',
    'osb lint a.yaml'
  ].join('\n')
  assert.deepEqual(
    commandsIn(script).map(({ line, words }) => [line, words.slice(0, 2).join(' ')]),
    [
      [0, 'npm ci'],
      [0, 'npm start'],
      [1, 'cat .data/credentials'],
      [2, 'curl -u'],
      [2, 'tee out'],
      [3, 'kubectl apply'],
      [6, 'osb lint']
    ]
  )
})

for (const [script, expected] of [
  ['osb lint a.yaml --against b.yaml -p a=b', undefined],
  ['osb lint --agains b.yaml', /osb lint --help does not know --agains/],
  ['osb lintt', /there is no osb lintt; there are serve, lint/],
  ['npm run build && npm test', undefined],
  ['npm run nothing', /no script nothing/],
  ['npx node src/cli/osb.js serve', undefined],
  ['npx node src/cli/nothing.js', /src\/cli\/nothing.js is not there/],
  ['frobnicate', /nobody knows the program frobnicate/],
  ['cf create-service a b c', /mark the block as `sh shape`/],
  ['# nothing', /no command/]
] as const) {
  test(`documentation: \`${script}\` is ${expected === undefined ? 'accepted' : 'refused'}`, async () => {
    const faults = await commandFaults(block('sh', script), reference, false)
    if (expected === undefined) assert.deepEqual(faults, [])
    else assert.match(messages(faults).join('\n'), expected)
  })
}

test('documentation: the sub-commands of programs of others are known', async () => {
  assert.deepEqual(await commandFaults(block('sh shape', 'cf create-service a b c'), reference, true), [])
  const [fault] = await commandFaults(block('sh shape', 'cf make-service a b c'), reference, true)
  assert.match(fault?.message ?? '', /cf make-service is not among/)
})

test('documentation: of a console, what stands behind a prompt is checked, with its line', async () => {
  const faults = await commandFaults(block('console', '$ osb serve\nosb says things\n$ osb sing'), reference, false)
  assert.deepEqual(faults, [{ page: 'docs/a.md', line: 4, message: 'there is no osb sing; there are serve, lint' }])
})

test('documentation: YAML, JSON and catalogs are read', () => {
  assert.deepEqual(parseFaults(block('yaml', 'a: 1\n---\nb: [1]')), [])
  assert.equal(parseFaults(block('yaml', 'a: 1\nb: [1'))[0]?.line, 3)
  assert.match(messages(parseFaults(block('json', '{"a": }'))).join(), /no JSON/)
  const catalog =
    'services: [{ id: a, name: a, description: a, bindable: true, plans: [{ id: b, name: b, description: b }] }]'
  assert.deepEqual(catalogFaults(block('yaml catalog', catalog)), [])
  assert.match(
    messages(catalogFaults(block('yaml catalog', catalog.replace('true', '"yes"')))).join(),
    /bindable must be/
  )
})

test('documentation: variables that nothing reads, links that lead nowhere and pages outside the sidebar are faults', () => {
  const page = readPage(
    'docs/a.md',
    '# A\n[b](b.md) [a](#a) [c](#c) [d](/d)\n`BROKER_PORT`\n```sh\nOSB_COLOUR=red\n```\n'
  )
  assert.deepEqual(variableFaults([page], new Set(['BROKER_PORT'])), [
    { page: 'docs/a.md', line: 5, message: 'nothing reads the variable OSB_COLOUR' }
  ])
  assert.deepEqual(messages(linkFaults([page], root)), [
    'the link b.md leads to no file: docs/b.md',
    'the link #c leads to no heading of docs/a.md; there are #a',
    'the link /d is no page of the site'
  ])
  const section = { text: 'S', items: [{ text: 'B', link: '/b' }] }
  assert.deepEqual(messages(navigationFaults([page], [section])), [
    'docs/.vitepress/pages.ts does not name it',
    'docs/b.md is not there'
  ])
})

test('documentation: code is checked against the types of the package, and run, in the lines of its page', async (t) => {
  const importing =
    "import type { ServiceProvider } from 'fastify-open-service-broker'\nexport const name: ServiceProvider['name'] ="
  const source = [
    `\`\`\`ts named.ts\n${importing} 'a'\n\`\`\``,
    `\`\`\`ts\n${importing} 1\n\`\`\``,
    "```ts runnable\nimport { name } from './named.ts'\nif (name !== 'b') throw new Error('it is ' + name)\n```"
  ].join('\n')
  const project = new BlockProject(readPage('docs/a.md', source).blocks, { root, folder: temporaryFolder(t) })
  const [typed, ...more] = await project.typeFaults()
  assert.deepEqual(more, [])
  assert.equal(typed?.line, 7)
  assert.match(typed?.message ?? '', /Type 'number' is not assignable to type 'string'/)
  const ran = await project.runFaults()
  assert.deepEqual(
    ran.map(({ line }) => line),
    [10]
  )
  assert.match(ran[0]?.message ?? '', /it is a/)
})

test('documentation: a walk ends at the first command that fails, and SQL is rolled back', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'osb-docs-test-'))
  const broker = await startWalkedBroker(folder)
  // One hook, since hooks run in the order in which they were added, and the folder says where the server is.
  t.after(async () => {
    await broker.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  const login = 'curl -sS -u "$(cat .data/credentials)" -H "X-Broker-API-Version: 2.17"'
  const catalog = `${login} http://127.0.0.1:8080/v2/catalog`
  assert.deepEqual(await broker.walk([block('sh walk', `${catalog} | grep postgres\nvariable=1`)]), [])
  const unknown = readPage(
    'docs/a.md',
    `\`\`\`sh walk\n${catalog}\n\`\`\`\n\n\`\`\`sh walk\n${catalog}-not\necho on\n\`\`\``
  )
  const [fault, ...more] = await broker.walk(unknown.blocks)
  assert.deepEqual([fault?.line, more], [6, []])
  assert.match(fault?.message ?? '', /the walk ended with 22:.*404/s)
  assert.ok(!fault?.message.includes('\non\n'), 'what follows is not run')

  const role = block('sql', 'CREATE ROLE of_the_test; ALTER ROLE broker_admin NOLOGIN')
  assert.deepEqual(await broker.execute(role), [])
  assert.deepEqual(await broker.execute(role), [])
  assert.match(
    messages(await broker.execute(block('sql', 'CREATE ROLE a NOLOGGIN'))).join(),
    /unrecognized role option/
  )
})

test('documentation: the table of variables is written between its comments, and must have them', () => {
  const page = 'a\n<!-- table of npm run docs:table -->\nWHAT WAS\n<!-- end of the table -->\nb'
  const written = withTable(page, configurationTable())
  assert.match(written, /^\| `BROKER_PORT` \| `8080` \| 0 to 65535 \| port to listen on; 0: any free one \|$/m)
  assert.ok(!written.includes('WHAT WAS') && written.startsWith('a\n') && written.endsWith('\nb'))
  assert.throws(() => withTable('a', ''), /lost the comments/)
})

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'osb-docs-test-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
