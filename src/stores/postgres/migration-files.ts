import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** One file of `migrations/`. */
export interface Migration {
  readonly version: number
  readonly name: string
  readonly checksum: string
  /** A file is one transaction with one step, unless it says that it runs in steps. */
  readonly inSteps: boolean
  readonly steps: readonly Step[]
}

/** What is committed at once. */
export interface Step {
  readonly text: string
  /** Run again and again, each time in a transaction of its own, until it changes no row. */
  readonly repeat: boolean
  /** The index that the step builds outside a transaction, and its table. */
  readonly index?: { readonly name: string; readonly table: string }
  /** Whether PostgreSQL refuses the statement inside a transaction. */
  readonly bare: boolean
}

/** Texts by the names of their files. */
type Texts = Readonly<Record<string, string>>

const FILE_NAME = /^(\d{4})_[a-z0-9_]+\.sql$/
/** First line of a file that runs in steps. */
const IN_STEPS = '-- in steps\n'
const SEPARATOR = /^-- step(: repeat)?$/m
const CONCURRENTLY = /\bCONCURRENTLY\b/i
const BUILD = /^CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS (\w+)\s+ON :schema\.(\w+)/

/** @throws {Error} when a file is named or numbered wrongly, or its steps cannot be told apart */
export async function readMigrations(source: string | Texts): Promise<Migration[]> {
  const texts = typeof source === 'string' ? await readTexts(source) : source
  const place = typeof source === 'string' ? source : 'this program'
  const migrations = Object.keys(texts)
    .toSorted()
    .map((name) => toMigration(name, texts[name] ?? '', place))
  for (const [index, { version, name }] of migrations.entries()) {
    if (version !== index + 1) throw new Error(`The migration ${name} in ${place} should have number ${index + 1}.`)
  }
  if (migrations.length === 0) throw new Error(`There are no migrations in ${place}.`)
  return migrations
}

async function readTexts(directory: string): Promise<Texts> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql'))
  const texts = await Promise.all(names.map((name) => readFile(join(directory, name), 'utf8')))
  return Object.fromEntries(names.map((name, index) => [name, texts[index] ?? '']))
}

function toMigration(name: string, written: string, place: string): Migration {
  const version = Number(FILE_NAME.exec(name)?.[1] ?? Number.NaN)
  if (Number.isNaN(version)) throw new Error(`The migration ${name} in ${place} must be named 0001_like_this.sql.`)
  // Git may have changed the line endings; it is still the same migration.
  const text = written.replaceAll('\r\n', '\n')
  const checksum = createHash('sha256').update(text).digest('hex')
  const inSteps = text.startsWith(IN_STEPS)
  const steps = inSteps ? stepsOf(name, text) : [{ text, repeat: false, bare: false }]
  return { version, name, checksum, inSteps, steps }
}

function stepsOf(name: string, text: string): Step[] {
  // The group of the separator stands between the texts: ": repeat" or undefined.
  const [, ...parts] = text.split(SEPARATOR)
  const steps: Step[] = []
  for (let at = 0; at < parts.length; at += 2) {
    steps.push(toStep(name, parts[at + 1]?.trim() ?? '', { repeat: parts[at] !== undefined }))
  }
  if (steps.length === 0) throw new Error(`The migration ${name} runs in steps, but has no line "-- step".`)
  return steps
}

function toStep(name: string, text: string, { repeat }: Pick<Step, 'repeat'>): Step {
  const bare = CONCURRENTLY.test(withoutComments(text))
  if (!bare) return { text, repeat, bare }
  const [, index, table] = BUILD.exec(withoutComments(text)) ?? []
  if (index !== undefined && table !== undefined) return { text, repeat: false, bare, index: { name: index, table } }
  if (/^DROP INDEX CONCURRENTLY IF EXISTS :schema\./.test(withoutComments(text))) return { text, repeat: false, bare }
  throw new Error(
    `A step of the migration ${name} cannot be repeated after a crash. Write CREATE INDEX CONCURRENTLY IF NOT EXISTS ` +
      'name ON :schema.table, or DROP INDEX CONCURRENTLY IF EXISTS :schema.name.'
  )
}

function withoutComments(text: string): string {
  return text.replace(/^\s*--.*$/gm, '').trim()
}
