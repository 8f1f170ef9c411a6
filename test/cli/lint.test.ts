import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join, relative } from 'node:path'
import { text as readText } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { PlanOptions } from '../../src/providers/postgresql/index.ts'
import { buildApp, credentials } from '../helper/app.ts'
import { osb, plainEnvironment, scene, temporaryFolder, type Variables } from '../server/broker-process.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const shipped = join(root, 'catalog.yaml')
const seed = join(root, 'test/fixtures/seed-catalog.yaml')
const shippedText = readFileSync(shipped, 'utf8')

test('osb lint: the shipped catalog has nothing to say and ends with 0', async (t) => {
  for (const args of [[shipped], [shipped, '--strict'], [relative(process.cwd(), shipped)]]) {
    const { code, stdout, stderr } = await lint(t, args)
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '', stderr: `${args[0]}: 0 errors, 0 warnings\n` })
  }
})

const known = Object.keys(PlanOptions.properties).join(', ')

/** Number of the first line that has the words. */
function lineOf(text: string, words: string): number {
  return text.slice(0, text.indexOf(words)).split('\n').length
}

test("osb lint: the seed's catalog has a warning with its place, which --strict turns into 1", async (t) => {
  const line = `${seed}:21:17: warning: services[0:example-db].plans[0:small].schemas.service_instance.create.parameters.$schema is draft-07: Cloud Controller takes draft-04 and draft-06 only (the same in 3 other schemas) (spec: Input Parameters Schema Object)\n`
  const plain = await lint(t, [seed])
  assert.deepEqual(plain, { code: 0, stdout: line, stderr: `${seed}: 0 errors, 1 warning\n` })
  assert.deepEqual(await lint(t, [seed, '--strict']), { ...plain, code: 1 })
})

test('osb lint: faults are listed in the order of the file, each with line and column, and end with 1', async (t) => {
  const text = shippedText.replace('bindable: true', 'bindable: yes').replace('connection_limit: 50', 'connections: 50')
  const file = fileWith(t, text)
  const { code, stdout, stderr } = await lint(t, [file])
  assert.equal(code, 1)
  assert.deepEqual(stdout.trimEnd().split('\n'), [
    `${file}:8:5: error: services[0:postgres].bindable must be true or false, got "yes" (spec: Service Offering Object)`,
    `${file}:${lineOf(text, 'connections: 50')}:13: error: services[0:postgres].plans[1:pro].x-broker.options.connections is not known (known: ${known}) (by the provider "postgresql") (docs/catalog.md: x-broker)`
  ])
  assert.equal(stderr, `${file}: 2 errors, 0 warnings\n`)
})

test('osb lint: options that contradict each other are an error at the place of one of them', async (t) => {
  const text = shippedText.replace(
    'connection_limit: 50',
    'connection_limit: 50\n            database_connection_limit: 49'
  )
  const file = fileWith(t, text)
  const { code, stdout } = await lint(t, [file])
  assert.equal(code, 1)
  assert.equal(
    stdout,
    `${file}:${lineOf(text, 'database_connection_limit')}:13: error: services[0:postgres].plans[1:pro].x-broker.options.database_connection_limit must be at least 50, the connection_limit of each binding, not 49 (by the provider "postgresql") (docs/catalog.md: x-broker)\n`
  )
})

test('osb lint --json: each finding is an object on a line', async (t) => {
  const file = fileWith(t, shippedText.replace('provider: postgresql', 'provider: 5'))
  const { code, stdout } = await lint(t, [file, '--json'])
  assert.equal(code, 1)
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.deepEqual(lines[0], {
    level: 'error',
    file,
    line: 19,
    column: 7,
    path: 'services[0:postgres].x-broker.provider',
    message: 'must be a string, got the number 5',
    section: 'docs/catalog.md: x-broker'
  })
})

test('osb lint: a provider of an author is not checked, and that is said', async (t) => {
  const file = fileWith(t, shippedText.replace('provider: postgresql', 'provider: mine'))
  const { code, stdout } = await lint(t, [file, '--strict'])
  assert.equal(code, 0)
  assert.match(stdout, /^\S+:19:7: info: services\[0:postgres\]\.x-broker\.provider "mine" is not a built-in provider/)
})

test('osb lint: several files are checked, one fault ends with 1', async (t) => {
  const file = fileWith(t, 'services: 5\n')
  const { code, stdout, stderr } = await lint(t, [shipped, file])
  assert.equal(code, 1)
  assert.equal(stdout, `${file}:1:1: error: services must be an array, got the number 5 (spec: Catalog Management)\n`)
  assert.equal(stderr, `${shipped}: 0 errors, 0 warnings\n${file}: 1 error, 0 warnings\n`)
})

test('osb lint -: reads standard input, JSON as a broker serves it', async (t) => {
  const plan = { id: 'p', name: 'small', description: 'Small' }
  const service = { id: 's', name: 'toy', description: 'A toy', bindable: 1, plans: [plan] }
  const program = spawn(process.execPath, [osb, 'lint', '-'], { stdio: 'pipe', env: plainEnvironment() })
  t.after(() => program.kill('SIGKILL'))
  program.stdin.end(JSON.stringify({ services: [service] }, null, 2))
  const [stdout, [code]] = await Promise.all([readText(program.stdout), once(program, 'close')])
  assert.equal(code, 1)
  assert.deepEqual(stdout.trimEnd().split('\n'), [
    '-:2:3: info: services name no provider: nothing of x-broker was checked (spec: Catalog Management)',
    '-:7:7: error: services[0:toy].bindable must be true or false, got the number 1 (spec: Service Offering Object)'
  ])
})

test('osb lint: a file that is not there ends with 1 and one line', async (t) => {
  assert.deepEqual(await lint(t, ['/nowhere/catalog.yaml']), {
    code: 1,
    stdout: '',
    stderr: '/nowhere/catalog.yaml cannot be read: there is no such file\n'
  })
})

test('osb lint: no file, and --against with two files, end with 1 and say what is wanted', async (t) => {
  const none = await lint(t, [])
  assert.deepEqual([none.code, none.stdout], [1, ''])
  assert.match(none.stderr, /^usage: osb lint FILE\.\.\. \[options\]\n/)
  const two = await lint(t, [shipped, seed, '--against', shipped])
  assert.deepEqual(two, { code: 1, stdout: '', stderr: '--against compares one FILE.\n' })
})

test('osb lint --against a file: what breaks has its place in the new file, what went in the old', async (t) => {
  const file = fileWith(t, shippedText.replace('[owner, reader]', '[owner]').replace(/ {6}- id: c27d1c0e[\s\S]*$/, ''))
  const { code, stdout, stderr } = await lint(t, [file, '--against', shipped])
  assert.equal(code, 1)
  const [narrowed, removed, ...others] = stdout.trimEnd().split('\n')
  assert.deepEqual(others, [])
  assert.ok(
    narrowed?.startsWith(
      `${file}:${lineOf(shippedText, 'service_binding:') + 2}:15: breaks: services[0:postgres].plans[0:free].schemas.service_binding.create.parameters takes less than it did: role no longer takes "reader". Binds that were accepted are refused (400), for example: `
    )
  )
  assert.ok(
    removed?.startsWith(
      `${shipped}:${lineOf(shippedText, '- id: c27d1c0e')}:9: breaks: services[0:postgres].plans[1:pro] was removed. Instances that live`
    )
  )
  assert.equal(stderr, `${file}: 0 errors, 0 warnings, 2 breaks\n`)
})

test('osb lint --against a file: a change ends with 0, with --strict 1; an addition with 0', async (t) => {
  const file = fileWith(t, shippedText.replace('free: true', 'free: false'))
  const plain = await lint(t, [file, '--against', shipped])
  assert.equal(plain.code, 0)
  assert.match(
    plain.stdout,
    /^\S+:24:9: changes: services\[0:postgres\]\.plans\[0:free\]\.free is false, and was true\. /
  )
  assert.deepEqual(await lint(t, [file, '--against', shipped, '--strict']), { ...plain, code: 1 })
  const back = await lint(t, [shipped, '--against', file, '--strict'])
  assert.equal(back.code, 0)
  assert.equal(back.stderr, `${shipped}: 0 errors, 0 warnings, 1 addition\n`)
})

test('osb lint --against a file: one with errors is not compared', async (t) => {
  const file = fileWith(t, shippedText.replace('bindable: true', 'bindable: 5'))
  const after = await lint(t, [file, '--against', seed])
  assert.equal(after.code, 1)
  assert.match(after.stdout, /info: \(catalog\) was not compared: it has errors\.\n$/)
  const before = await lint(t, [shipped, '--against', file])
  assert.equal(before.code, 1)
  assert.match(
    before.stderr,
    /cannot be compared, for it has errors: services\[0:postgres\]\.bindable must be true or false/
  )
})

test('osb lint --against a broker: compares with what it serves, with credentials of options or environment', async (t) => {
  const { file, url } = await served(t, (text) => text.replace('  bindable: true', '  bindable: false'))
  const { username, password } = credentials
  for (const [args, variables] of [
    [['--username', username, '--password', password], {}],
    [[], { OSB_USERNAME: username, OSB_PASSWORD: password }]
  ] as const) {
    const { code, stdout, stderr } = await lint(t, [file, '--against', url, ...args], variables)
    assert.equal(code, 1)
    const [broken, unseen, ...others] = stdout.trimEnd().split('\n')
    assert.match(broken ?? '', /:6:5: breaks: services\[0:toy\]\.bindable is false, and was true\. New bindings/)
    assert.match(unseen ?? '', /: info: \(catalog\) x-broker was not compared, for it is not served: provider, mode/)
    assert.deepEqual(others, [])
    assert.equal(stderr, `${file}: 0 errors, 0 warnings, 1 break\n`)
  }
})

test('osb lint --against a broker: the same catalog ends with 0', async (t) => {
  const { file, url } = await served(t, (text) => text)
  const variables = { OSB_USERNAME: credentials.username, OSB_PASSWORD: credentials.password }
  const { code, stdout } = await lint(t, [file, '--against', `${url}/`, '--json', '--strict'], variables)
  assert.equal(code, 0)
  assert.deepEqual(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).level),
    ['info']
  )
})

test('osb lint --against a broker: a refusal ends with 1 and one line without the password', async (t) => {
  const { file, url } = await served(t, (text) => text)
  const withUser = url.replace('//', '//someone:hush-password@')
  const { code, stdout, stderr } = await lint(t, [file, '--against', withUser])
  assert.deepEqual([code, stdout], [1, ''])
  assert.match(stderr, new RegExp(`^${url}/: the broker answered 401: [^\\n]*\\n$`))
  assert.doesNotMatch(stderr, /hush-password/)
  const half = await lint(t, [file, '--against', url, '--username', 'someone'])
  assert.match(half.stderr, /^Give both --username/)
})

test('osb lint --against a broker: none there, and none at all, end with 1 and one line', async (t) => {
  const gone = await lint(t, [shipped, '--against', 'http://127.0.0.1:1'])
  assert.deepEqual([gone.code, gone.stdout], [1, ''])
  assert.match(gone.stderr, /^http:\/\/127\.0\.0\.1:1\/ cannot be reached: connect ECONNREFUSED[^\n]*\n$/)

  const server = createServer((_request, response) => response.end('<html>')).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const other = await lint(t, [shipped, '--against', `http://127.0.0.1:${address.port}`])
  assert.equal(other.code, 1)
  assert.match(other.stderr, /cannot be compared, for it has errors: \(catalog\) unexpected "<"\n$/)
})

/** A broker that listens, and the file of a catalog that is to take the place of its own. */
async function served(t: TestContext, change: (text: string) => string) {
  const text = [
    'services:',
    '  - id: toy',
    '    name: toy',
    '    description: A toy',
    '    plan_updateable: true',
    '    bindable: true',
    '    x-broker: { provider: example }',
    '    plans:',
    '      - { id: plan-small, name: small, description: Small, x-broker: { mode: sync } }',
    ''
  ].join('\n')
  const app = await buildApp(t, { catalog: fileWith(t, text) })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  return { url, file: fileWith(t, change(text)) }
}

function fileWith(t: TestContext, text: string): string {
  const path = join(temporaryFolder(t), 'catalog.yaml')
  writeFileSync(path, text)
  return path
}

async function lint(t: TestContext, args: readonly string[], variables: Variables = {}) {
  const program = scene(t).run(['lint', ...args], variables)
  const { code } = await program.ended
  return { code, stdout: program.stdout, stderr: program.stderr }
}
