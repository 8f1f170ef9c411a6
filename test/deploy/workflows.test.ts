import assert from 'node:assert/strict'
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { build } from 'esbuild'
import { parse } from 'yaml'

const root = join(import.meta.dirname, '../..')
const names = globSync('.github/workflows/*.yml', { cwd: root }).toSorted()
const texts = names.map((name): [string, string] => [name, readFileSync(join(root, name), 'utf8')])
const folder = mkdtempSync(join(tmpdir(), 'osb-workflows-'))
after(() => rmSync(folder, { recursive: true }))
let parser: typeof import('@actions/workflow-parser')
before(async () => {
  // The package imports JSON as bundlers take it and Node does not.
  const outfile = join(folder, 'parser.cjs')
  const entryPoints = ['@actions/workflow-parser']
  await build({ entryPoints, absWorkingDir: root, outfile, bundle: true, platform: 'node', format: 'cjs' })
  parser = createRequire(import.meta.url)(outfile)
})

const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

test('workflows: there are CI and the release', () => {
  for (const name of ['ci', 'release']) assert.ok(names.includes(join('.github/workflows', `${name}.yml`)), name)
})

for (const [name, text] of texts) {
  test(`${name}: GitHub's own parser accepts it, with its expressions`, async () => {
    assert.deepEqual(await parserFaults(name, text), [])
  })

  test(`${name}: every action is pinned, every job bounded, and rights are given one by one`, () => {
    assert.deepEqual(faultsOf(text), [])
  })
}

test('workflows: an action has one version', () => {
  const pins = new Set(texts.flatMap(([, text]) => [...text.matchAll(/uses: (\S+@\S+ # \S+)/g)].map(([, pin]) => pin)))
  const actions = [...pins].map((pin) => pin?.split('@')[0])
  assert.equal(new Set(actions).size, actions.length, [...pins].join('\n'))
})

const [ci = ''] = texts.flatMap(([name, text]) => (name.endsWith('ci.yml') ? [text] : []))
const damages: [string, (text: string) => string, RegExp][] = [
  ['a tag in place of a hash', (text) => text.replace(/@[0-9a-f]{40} # v6\.0\.2/, '@v6'), /not pinned/],
  ['a hash without its version', (text) => text.replace(/ # v6\.0\.2/, ''), /not pinned/],
  ['a job without a limit', (text) => text.replace(/ {4}timeout-minutes: 60\n/, ''), /no timeout/],
  ['rights for all jobs', (text) => text.replace('contents: read', 'contents: write'), /rights/],
  ['a script that is not there', (text) => text.replace('npm ci\n', 'npm run conformity\n'), /npm run conformity/],
  ['a file that is not there', (text) => text.replace('make-env.sh', 'env.sh'), /deploy\/compose\/env\.sh/]
]
for (const [what, damage, fault] of damages) {
  test(`workflows: ${what} is seen`, () => {
    const faults = faultsOf(damage(ci))
    assert.ok(
      faults.some((text) => fault.test(text)),
      faults.join('\n')
    )
  })
}

test('workflows: an unknown key, a bad expression and a job that is not there are seen', async () => {
  for (const [from, to] of [
    ['timeout-minutes', 'timeout-minute'],
    ['github.ref }}', 'githu.ref }}'],
    ['    runs-on: ubuntu-24.04\n', '    runs-on: ubuntu-24.04\n    needs: nothing\n']
  ] as const) {
    assert.notDeepEqual(await parserFaults('ci.yml', ci.replace(from, to)), [], to)
  }
})

async function parserFaults(name: string, content: string): Promise<string[]> {
  const { context, value } = parser.parseWorkflow({ name, content }, new parser.NoOperationTraceWriter())
  const errors = context.errors.getErrors()
  if (value === undefined || errors.length > 0) return errors.map(({ message }) => message)
  const { errors: found = [] } = await parser.convertWorkflowTemplate(context, value)
  return found.map(({ Message }) => Message)
}

function faultsOf(text: string): string[] {
  const workflow = parse(text)
  const faults: string[] = []
  for (const line of text.split('\n').filter((line) => /^\s*(?:- )?uses:/.test(line))) {
    if (!/uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(line)) faults.push(`${line.trim()} is not pinned`)
  }
  if (JSON.stringify(workflow.permissions) !== '{"contents":"read"}')
    faults.push('all jobs have more rights than to read')
  if (workflow.concurrency === undefined) faults.push('it runs several times at once')
  for (const [id, job] of Object.entries<Record<string, unknown>>(workflow.jobs)) {
    if (typeof job['timeout-minutes'] !== 'number') faults.push(`${id} has no timeout`)
  }
  for (const [, script = ''] of text.matchAll(/npm run ([\w:-]+)/g)) {
    if (!(script in scripts)) faults.push(`there is no npm run ${script}`)
  }
  for (const [, path = ''] of text.matchAll(/\b((?:deploy|src|test|\.ci)\/[\w./-]*\w)/g)) {
    if (!existsSync(join(root, path))) faults.push(`there is no ${path}`)
  }
  return faults
}
