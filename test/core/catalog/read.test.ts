import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { stringify } from 'yaml'
import { CatalogError, loadCatalog } from '../../../src/core/catalog/index.ts'
import { choice, goodCatalog } from './helper.ts'

async function fileWith(t: TestContext, content: string | Uint8Array, name = 'catalog.yaml'): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'osb-catalog-'))
  t.after(() => rm(directory, { recursive: true }))
  const path = join(directory, name)
  await writeFile(path, content)
  return path
}

async function refusalOf(path: string): Promise<string> {
  const error: unknown = await loadCatalog(path, choice).catch((reason: unknown) => reason)
  assert.ok(error instanceof CatalogError)
  return error.message
}

test('read catalog: JSON, YAML and an object give the same bytes', async (t) => {
  const { bytes } = await loadCatalog(goodCatalog(), choice)
  for (const [name, content] of [
    ['catalog.json', JSON.stringify(goodCatalog(), null, '\t')],
    ['catalog.yaml', stringify(goodCatalog())],
    ['catalog.yml', JSON.stringify(goodCatalog())],
    ['catalog', `\ufeff${JSON.stringify(goodCatalog())}`]
  ] as const) {
    const loaded = await loadCatalog(await fileWith(t, content, name), choice)
    assert.equal(loaded.bytes.toString(), bytes.toString())
  }
})

test('read catalog: YAML in its flow style is YAML', async (t) => {
  const loaded = await loadCatalog(await fileWith(t, '{ services: [] } # nothing yet'), choice)
  assert.deepEqual(loaded.served, { services: [] })
})

test('read catalog: anchors and aliases are written out', async (t) => {
  const path = await fileWith(t, 'a: &a { x: 1 }\nb: *a\nservices: []\n')
  assert.equal((await loadCatalog(path, choice)).bytes.toString(), '{"a":{"x":1},"b":{"x":1},"services":[]}')
})

test('read catalog: dates, octals and yes stay what YAML 1.2 says', async (t) => {
  const path = await fileWith(t, 'a: 2020-01-01\nb: 010\nc: yes\nd: 1_000\nservices: []\n')
  const { served } = await loadCatalog(path, choice)
  assert.deepEqual(served, { a: '2020-01-01', b: 10, c: 'yes', d: '1_000', services: [] })
})

test('read catalog: the time is that of the file, in whole seconds', async (t) => {
  const path = await fileWith(t, 'services: []')
  await utimes(path, new Date(), new Date('2026-01-02T03:04:05.678Z'))
  assert.equal((await loadCatalog(path, choice)).lastModified.toISOString(), '2026-01-02T03:04:05.000Z')
})

test('read catalog: rules that a file breaks are listed under its path', async (t) => {
  const path = await fileWith(t, 'services: 5')
  assert.equal(
    await refusalOf(path),
    `BROKER_CATALOG_PATH: the catalog ${path} has 1 error:\n  services must be an array, got the number 5`
  )
})

/** Files that cannot be read; each refusal is one line that names variable, path and reason. */
const unreadable: { what: string; content: string | Uint8Array; name?: string; reason: RegExp }[] = [
  { what: 'an empty file', content: '', reason: /the file is empty$/ },
  { what: 'white space', content: ' \n\t\n', reason: /the file is empty$/ },
  { what: 'comments alone', content: '# nothing\n', reason: /the file is empty$/ },
  { what: 'an empty JSON file', content: '', name: 'c.json', reason: /the file is empty$/ },
  { what: 'bytes that are no UTF-8', content: Uint8Array.of(0xff, 0xfe, 0x00), reason: /it is not UTF-8 text$/ },
  {
    what: 'YAML with a fault',
    content: 'services:\n  - name: a\n   id: b\n',
    reason: / at line 3, column \d+$/
  },
  { what: 'YAML with an open bracket', content: 'services: [a, b', reason: / at line 1, column \d+$/ },
  { what: 'an unknown anchor', content: 'services: *nowhere', reason: /nowhere/ },
  { what: 'two documents', content: 'services: []\n---\nservices: []\n', reason: /multiple documents.* at line 2/ },
  {
    what: 'a duplicate key',
    content: 'services: []\na: 1\na: 2\n',
    reason: /keys must be unique at line 3, column 1$/
  },
  { what: 'a tag of JavaScript', content: 'a: !!js/function "x"\n', reason: /tag.* at line 1/i },
  { what: 'a timestamp tag', content: 'a: !!timestamp 2020-01-01\n', reason: /tag.* at line 1/i },
  { what: 'a binary tag', content: 'a: !!binary aGk=\n', reason: /tag.* at line 1/i },
  {
    what: 'JSON with a fault',
    content: '{\n  "a": 1,\n  "b": x\n}',
    name: 'c.json',
    reason: /unexpected "x" at line 3, column 8$/
  },
  {
    what: 'JSON that ends early',
    content: '{"a": [1,\n2',
    name: 'c.json',
    reason: /unexpected end at line 2, column 2$/
  },
  {
    what: 'YAML in a JSON file',
    content: 'services: []',
    name: 'c.json',
    reason: /unexpected "services" at line 1, column 1$/
  },
  {
    what: 'a duplicate key in JSON',
    content: '{"a": {"b": ":", "c": [{"b": 1}], "\\u0062": 2},\n "a": 1}',
    name: 'c.json',
    reason: /duplicate key "b" at line 1, column 35$/
  },
  {
    what: 'a duplicate key in JSON of another extension',
    content: '{"a": 1,\n "a": 1}',
    reason: /keys must be unique at line 2, column 2$/
  },
  { what: 'nesting without end', content: '['.repeat(100_000), reason: /nested too deeply at line 1/ },
  {
    what: 'a huge file',
    content: 'x'.repeat(5 * 1024 * 1024),
    reason: /it has 5242880 bytes; at most 4194304 are read$/
  },
  {
    what: 'an alias bomb',
    content: ['a0: &a0 [x, x, x]', ...Array.from({ length: 30 }, (_, i) => bombLine(i + 1)), 'services: []'].join('\n'),
    reason: /alias/i
  },
  {
    what: 'thousands of aliases',
    content: `a: &a x\nb: [${'*a , '.repeat(5_000)}]\n`,
    reason: /more than 1000 aliases$/
  }
]

function bombLine(level: number): string {
  return `a${level}: &a${level} [${Array.from({ length: 9 }, () => `*a${level - 1} `).join(', ')}]`
}

for (const { what, content, name, reason } of unreadable) {
  test(`read catalog: ${what} is refused in one line`, async (t) => {
    const path = await fileWith(t, content, name)
    const message = await refusalOf(path)
    assert.ok(message.startsWith(`BROKER_CATALOG_PATH: the catalog ${path} cannot be read: `), message)
    assert.match(message, reason)
    assert.equal(message.includes('\n'), false)
  })
}

test('read catalog: aliases that multiply a large text are refused', async (t) => {
  const path = await fileWith(t, `a: &a ${'x'.repeat(100_000)}\nb: [${'*a , '.repeat(900)}]\nservices: []\n`)
  assert.match(await refusalOf(path), /is larger than 4194304 characters/)
})

test('read catalog: merge keys are refused, not ignored', async (t) => {
  const path = await fileWith(t, 'a: &a { x: 1 }\nb: { <<: *a }\nservices: []\n')
  assert.match(await refusalOf(path), /b\["<<"\] is a merge key, which YAML 1.2 does not have/)
})

test('read catalog: a YAML 1.1 directive changes nothing', async (t) => {
  const path = await fileWith(t, '%YAML 1.1\n---\na: yes\nservices: []\n')
  assert.deepEqual((await loadCatalog(path, choice)).served, { a: 'yes', services: [] })
})

for (const [name, content] of [
  ['catalog.json', '{"services": [], "__proto__": {"polluted": true}}'],
  ['catalog.yaml', 'services: []\n__proto__: { polluted: true }\n']
] as const) {
  test(`read catalog: __proto__ in ${name} is refused and pollutes nothing`, async (t) => {
    assert.match(await refusalOf(await fileWith(t, content, name)), /__proto__ is not allowed as a key/)
    assert.equal('polluted' in {}, false)
  })
}

test('read catalog: JSON nested 100,000 deep is an error, not a crash', async (t) => {
  const path = await fileWith(t, `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`, 'catalog.json')
  assert.match(await refusalOf(path), /is nested more than 64 levels deep/)
})

test('read catalog: a missing file is refused in one line', async () => {
  assert.equal(
    await refusalOf('/nowhere/catalog.yaml'),
    'BROKER_CATALOG_PATH: the catalog /nowhere/catalog.yaml cannot be read: there is no such file'
  )
})

test('read catalog: a directory is refused in one line', async () => {
  assert.match(await refusalOf(tmpdir()), /cannot be read: it is a directory$/)
})

test('read catalog: a device is refused in one line', { skip: process.platform === 'win32' }, async () => {
  assert.match(await refusalOf('/dev/zero'), /cannot be read: it is not a regular file$/)
})

// Root may read everything.
const mayReadAll = process.getuid === undefined || process.getuid() === 0
test('read catalog: a file without permission is refused in one line', { skip: mayReadAll }, async (t) => {
  const path = await fileWith(t, 'services: []')
  await chmod(path, 0o000)
  assert.match(await refusalOf(path), /cannot be read: permission denied$/)
})

/** Texts that JSON.parse refuses, and the place of the fault. */
for (const [text, place] of [
  ['[1,]', 'unexpected "]" at line 1, column 4'],
  ['{"a":1,}', 'unexpected "}" at line 1, column 8'],
  ['{"a" 1}', 'unexpected "1" at line 1, column 6'],
  ['{a: 1}', 'unexpected "a" at line 1, column 2'],
  ['{"a": 01}', 'unexpected "1" at line 1, column 8'],
  ['{"a": "x\ty"}', 'unexpected "\\"x" at line 1, column 7'],
  ['{"a": "\\x"}', 'unexpected "\\"" at line 1, column 7'],
  ['{"a": [}', 'unexpected "}" at line 1, column 8'],
  ['{"a": 1]', 'unexpected "]" at line 1, column 8'],
  ['{} {}', 'unexpected "{" at line 1, column 4'],
  ['{"a": 1', 'unexpected end at line 1, column 8'],
  ['{"a": truth}', 'unexpected "truth" at line 1, column 7']
] as const) {
  test(`read catalog: the fault of ${text} is found`, async (t) => {
    assert.throws(() => JSON.parse(text), SyntaxError)
    const path = await fileWith(t, text, 'catalog.json')
    assert.equal(await refusalOf(path), `BROKER_CATALOG_PATH: the catalog ${path} cannot be read: ${place}`)
  })
}
