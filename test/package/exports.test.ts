import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { entries } from '../docs/check/entries.ts'

/** A name that a module exports, and the file that declares it. */
interface Export {
  readonly name: string
  readonly file: string
}

const root = join(import.meta.dirname, '../..')
test('package: every export of every entry says what it is', () => {
  const sources = Object.values(entries)
  assert.equal(sources.length, 5)
  const found = sources.flatMap((source) => exportsOf(join(root, source)))
  assert.ok(found.length > 100, `only ${found.length} exports were found`)
  assert.deepEqual(found.filter((one) => !isDocumented(readFileSync(one.file, 'utf8'), one.name)).map(shown), [])
})

test('package: an export without a comment is seen', () => {
  assert.equal(isDocumented('/** What it is. */\nexport function a() {}', 'a'), true)
  assert.equal(isDocumented('/** Of another. */\nconst b = 1\nexport function a() {}', 'a'), false)
  assert.equal(isDocumented('/** The schema. */\nexport const A = 1\nexport type A = typeof A', 'A'), true)
  assert.equal(isDocumented('export interface A {}', 'A'), false)
})

function exportsOf(file: string): Export[] {
  const source = readFileSync(file, 'utf8')
  const declared = [...source.matchAll(declarations())].map(([, name = '']) => ({ name, file }))
  const passedOn = [...source.matchAll(/^export (\*|(?:type )?\{[^}]*\}) from '([^']+)'/gm)]
  return [
    ...declared,
    ...passedOn.flatMap(([, names = '', specifier = '']) => {
      const all = exportsOf(join(dirname(file), specifier))
      if (names === '*') return all
      const wanted = names.replace(/[{}]|\btype\b/g, '').split(',')
      return wanted.map((name) => named(all, name.trim(), specifier)).filter((one) => one !== undefined)
    })
  ]
}

function named(all: readonly Export[], name: string, specifier: string): Export | undefined {
  if (name === '') return undefined
  const one = all.find((candidate) => candidate.name === name)
  assert.ok(one !== undefined, `${name} was not found in ${specifier}`)
  return one
}

function isDocumented(source: string, name: string): boolean {
  return [...source.matchAll(declarations(name))].some(({ index }) => source.slice(0, index).endsWith('*/\n'))
}

function declarations(name = String.raw`\w+`): RegExp {
  return new RegExp(
    String.raw`^export (?:abstract )?(?:const|(?:async )?function\*?|class|interface|type) (${name})\b`,
    'gm'
  )
}

function shown({ name, file }: Export): string {
  return `${file.slice(root.length + 1)} ${name}`
}
