import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pool, PoolClient } from 'pg'
import { shippedMigrations } from '../../package-files.ts'
import { type Tables, tablesOf } from './schema.ts'
import { sqlTypes } from './sql-types.ts'
import { connect } from './transactions.ts'
import { asUnavailable, sqlState } from './trouble.ts'

export interface MigrateOptions {
  /** Default: `osb`. It is made when it is not there. */
  schema?: string
  /** Default: `migrations/` of this package. */
  directory?: string
}

interface Migration {
  readonly version: number
  readonly name: string
  readonly text: string
  readonly checksum: string
}

/** By the names of the files. */
type Texts = Readonly<Record<string, string>>

interface Applied {
  version: number
  name: string
  checksum: string
}

const FILE_NAME = /^(\d{4})_[a-z0-9_]+\.sql$/

/**
 * Brings the schema to what this program needs and answers the names of the migrations applied. Several replicas may
 * call it at once: an advisory lock lets one go first, and the others find nothing left to do. Each file is applied in
 * a transaction of its own.
 * @throws {Error} when the schema is newer than this program, or an applied file was changed
 * @throws {Unavailable} when the database cannot be reached
 */
export async function migrate(pool: Pool, { schema, directory }: MigrateOptions = {}): Promise<string[]> {
  const tables = tablesOf(schema)
  const migrations = await readMigrations(directory ?? shippedMigrations())
  const names: string[] = []
  while (true) {
    const name = await inLockedTransaction(pool, tables, (client) => applyNext(client, tables, migrations))
    if (name === undefined) return names
    names.push(name)
  }
}

async function applyNext(client: PoolClient, tables: Tables, migrations: Migration[]): Promise<string | undefined> {
  await prepare(client, tables)
  const { rows: applied } = await client.query<Applied>({
    text: `SELECT version, name, checksum FROM ${tables.migrations} ORDER BY version`,
    types: sqlTypes
  })
  check(tables, migrations, applied)
  const next = migrations[applied.length]
  if (next === undefined) return undefined
  await client.query('SELECT set_config($1, $2, true)', ['search_path', `"${tables.schema}"`])
  await client.query(next.text).catch((error: unknown) => {
    if (sqlState(error) === undefined || !(error instanceof Error)) throw error
    throw new Error(`The migration ${next.name} failed, and nothing of it was kept: ${error.message}`, { cause: error })
  })
  await client.query(`INSERT INTO ${tables.migrations} (version, name, checksum) VALUES ($1, $2, $3)`, [
    next.version,
    next.name,
    next.checksum
  ])
  return next.name
}

/** Asks first: a role that may not create schemas or tables can still serve what an administrator has migrated. */
async function prepare(client: PoolClient, { schema, migrations }: Tables): Promise<void> {
  const { rows } = await client.query<{ schema: string | null; migrations: string | null }>(
    'SELECT to_regnamespace($1)::text AS schema, to_regclass($2)::text AS migrations',
    [`"${schema}"`, migrations]
  )
  if (rows[0]?.schema === null) await client.query(`CREATE SCHEMA "${schema}"`)
  if (rows[0]?.migrations !== null) return
  await client.query(`CREATE TABLE ${migrations} (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
  )`)
}

function check({ schema }: Tables, migrations: Migration[], applied: Applied[]): void {
  const newest = applied.at(-1)
  if (newest !== undefined && newest.version > migrations.length) {
    throw new Error(
      `The database schema "${schema}" is at version ${newest.version} (${newest.name}), but this program knows only ` +
        `${migrations.length}. A newer program has been here: run that one, or go back to a backup from before it.`
    )
  }
  for (const [index, { version, name, checksum }] of applied.entries()) {
    const migration = migrations[index]
    if (migration?.version === version && migration.checksum === checksum) continue
    throw new Error(
      `The migration ${name}, applied to the database schema "${schema}", is not the file ` +
        `${migration?.name ?? '(missing)'} of this program: an applied migration must never be changed.`
    )
  }
}

async function inLockedTransaction<T>(
  pool: Pool,
  { schema }: Tables,
  work: (client: PoolClient) => Promise<T>
): Promise<T> {
  const checkout = await connect(pool)
  const { client } = checkout
  try {
    // A migration takes as long as it takes, but it waits for nobody for ever.
    await client.query("BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'")
    // Also against two CREATE SCHEMA IF NOT EXISTS at once, which fail with a unique violation.
    await client.query("SELECT pg_advisory_xact_lock(hashtext('osb-migrate'), hashtext($1))", [schema])
    const result = await work(client)
    await client.query('COMMIT')
    return result
  } catch (error) {
    await client.query('ROLLBACK').catch((trouble: Error) => {
      checkout.broken = trouble
    })
    throw asUnavailable(error)
  } finally {
    checkout.release()
  }
}

async function readMigrations(source: string | Texts): Promise<Migration[]> {
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
  // Git may have given the file other line ends; it is still the same migration.
  const text = written.replaceAll('\r\n', '\n')
  return { version, name, text, checksum: createHash('sha256').update(text).digest('hex') }
}
