import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Result } from '../../src/conformance/index.ts'
import { richCatalog } from '../conformance/mutants/catalog.ts'
import { scene, temporaryFolder } from '../server/broker-process.ts'

const password = 'conf0rmance'
const variables = { BROKER_STORAGE: 'memory', BROKER_USERNAME: 'kit', BROKER_PASSWORD: password }

/** A broker of its own for a test, whose plan `sync` answers at once. */
async function conforming(t: TestContext) {
  const { run, serve } = scene(t)
  const file = join(temporaryFolder(t), 'catalog.json')
  writeFileSync(file, JSON.stringify(richCatalog()))
  return { run, broker: await serve({ ...variables, BROKER_CATALOG_PATH: file }) }
}

test('osb conformance URL: a line for each check, a summary by section, and 0 for a broker that conforms', async (t) => {
  const { run, broker } = await conforming(t)
  const program = run(['conformance', broker.url, '--username', 'kit', '--password', password, '--plan', 'sync'])
  const { code } = await program.ended
  assert.equal(code, 0, program.stdout + program.stderr)
  assert.match(program.stdout, /^✔ provision\/identical-answers-200$/m)
  assert.match(program.stdout, /^Provisioning +[1-9]\d* passed/m)
  assert.match(program.stdout, / 0 MUST failed, 0 SHOULD failed, \d+ skipped\. The broker conforms\.$/m)
  assert.doesNotMatch(program.stdout + program.stderr, new RegExp(password))
})

test('osb conformance --json: one object a check, nothing else on stdout', async (t) => {
  const { run, broker } = await conforming(t)
  const program = run(['conformance', '--json', '--plan', 'sync'], {
    OSB_URL: broker.url,
    OSB_USERNAME: 'kit',
    OSB_PASSWORD: password
  })
  assert.deepEqual(await program.ended, { code: 0, signal: null })
  const results: Result[] = program.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.ok(results.length > 100, `${results.length} checks`)
  assert.equal(new Set(results.map(({ id }) => id)).size, results.length, 'ids are unique')
  for (const { id, section, level, status, detail } of results) {
    assert.match(id, /^[a-z-]+\/[a-z0-9-]+$/)
    assert.notEqual(section, '')
    assert.match(level, /^(MUST|SHOULD)$/)
    assert.match(status, /^(passed|skipped)$/)
    assert.equal(detail === '', status === 'passed', id)
  }
})

test('osb conformance --junit: XML on stdout; a MUST that fails ends with 1', async (t) => {
  const { run, broker } = await conforming(t)
  const program = run(['conformance', broker.url.replace('//', '//kit:wrong@'), '--junit'])
  assert.equal((await program.ended).code, 1)
  assert.match(program.stdout, /^<\?xml .*<failure message="MUST: .*answered 401, not 200/s)
  assert.match(program.stderr, /1 MUST failed/)
})

test('osb conformance: what cannot be tried is said in one line', async (t) => {
  const { run, broker } = await conforming(t)
  const known = ['--username', 'kit', '--password', password]
  const refused: [string[], RegExp][] = [
    [['conformance'], /^Name the URL of a broker/],
    [['conformance', 'not a url'], /^The URL of a broker is like .*, not not a url\.\n$/],
    [['conformance', broker.url, '--json', '--junit', ...known], /^Give --json or --junit, not both\.\n$/],
    [['conformance', broker.url, ...known, '--only', 'nothing'], /^There is no check "nothing"\.\n$/],
    [['conformance', 'http://127.0.0.1:9'], /^.*cannot be reached.*\n$/],
    [
      ['conformance', broker.url, ...known, '--service', 'nothing'],
      /^The catalog has no service offering "nothing"\. It has: .*\n$/
    ],
    [['conformance', broker.url, ...known, '--plan', 'nothing'], /has no plan "nothing"\. It has: .*\n$/],
    [['conformance', broker.url, ...known, '--parameters', '[1]'], /^--parameters must be an object/],
    [['conformance', broker.url, ...known, '--poll-timeout', 'soon'], /^--poll-timeout is a number of seconds/],
    [['conformance', broker.url, ...known, '--ca', '/nothing.pem'], /^--ca cannot be read/]
  ]
  for (const [args, expected] of refused) {
    const program = run(args)
    assert.deepEqual(await program.ended, { code: 1, signal: null }, args.join(' '))
    assert.match(program.stderr, expected)
    assert.equal(program.stderr.split('\n').length, 2, program.stderr)
  }
})
