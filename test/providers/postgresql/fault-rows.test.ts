import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type FaultRow, faultRows } from './fault-rows.ts'

const tests = join(import.meta.dirname, '..', '..')
const here = import.meta.dirname

test('fault rows: each is shown by tests that there are, or says why not', () => {
  assert.deepEqual(
    faultRows.map(({ row }) => row),
    Array.from({ length: 34 }, (_, index) => index + 1)
  )
  assert.deepEqual(faultRows.flatMap(problemsOf), [])
})

test('fault rows: what a title claims to show is in the table', () => {
  const claimed = readdirSync(here)
    .filter((file) => file.endsWith('.test.ts') && file !== 'fault-rows.test.ts')
    .flatMap((file) => titlesIn(join(here, file)).flatMap((title) => rowsOf(title).map((row) => `${row} ${file}`)))
  const listed = faultRows.flatMap(({ row, files = [] }) => files.map((file) => `${row} ${file}`))
  assert.deepEqual([...new Set(claimed)].sort(), listed.sort())
})

test('fault rows: a row without a test, or with one that there is not, is found', () => {
  const row = { row: 5, fault: 'f', answer: 'a' }
  assert.deepEqual(problemsOf({ ...row, files: ['faults.test.ts'] }), [])
  assert.deepEqual(problemsOf(row), ['row 5 has no test, and does not say why'])
  assert.deepEqual(problemsOf({ ...row, files: ['life.test.ts'] }), ['row 5: no title in life.test.ts carries it'])
  assert.deepEqual(problemsOf({ ...row, framework: ['routes/catalog.test.ts: GET nothing'] }), [
    'row 5: no title in routes/catalog.test.ts begins with "GET nothing"'
  ])
  assert.deepEqual(problemsOf({ ...row, files: ['faults.test.ts'], pending: 'p' }), ['row 5 has tests, and is pending'])
})

function problemsOf({ row, files = [], framework = [], pending }: FaultRow): string[] {
  const found = files.length + framework.length
  if (pending !== undefined) return found === 0 ? [] : [`row ${row} has tests, and is pending`]
  if (found === 0) return [`row ${row} has no test, and does not say why`]
  return [
    ...files
      .filter((file) => !titlesIn(join(here, file)).some((title) => rowsOf(title).includes(row)))
      .map((file) => `row ${row}: no title in ${file} carries it`),
    ...framework.flatMap((name) => {
      const [file = '', ...rest] = name.split(': ')
      const beginning = rest.join(': ')
      if (titlesIn(join(tests, file)).some((title) => title.startsWith(beginning))) return []
      return [`row ${row}: no title in ${file} begins with "${beginning}"`]
    })
  ]
}

/** As they stand in the source, with `…` for placeholders. */
function titlesIn(path: string): string[] {
  const calls = readFileSync(path, 'utf8').matchAll(/^\s*test\(\s*(['"`])(.*?)(?<!\\)\1/gm)
  return [...calls].map(([, , title = '']) => title.replaceAll(/\$\{[^}]*\}/g, '…'))
}

function rowsOf(title: string): number[] {
  return [...title.matchAll(/\[row (\d+)\]/g)].map(([, row]) => Number(row))
}
