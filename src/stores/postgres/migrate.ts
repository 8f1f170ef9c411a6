import type { Pool, PoolClient } from 'pg'
import type { TaskLog } from '../../core/provider.ts'
import { shippedMigrations } from '../../package-files.ts'
import { type Migration, readMigrations } from './migration-files.ts'
import { withMigrationLock } from './migration-lock.ts'
import { type MigrationRun, runStep, transact } from './migration-steps.ts'
import { type Tables, tablesOf } from './schema.ts'
import { read } from './transactions.ts'
import { asUnavailable, sqlState } from './trouble.ts'

export interface MigrateOptions {
  /** Default: `osb`. It is created when it does not exist. */
  schema?: string
  /** Default: `migrations/` of this package. */
  directory?: string
  /** Ends the wait for the lock, and closes the connection of the statement that runs. */
  signal?: AbortSignal
  /** Gets what takes long, and what it waits for. */
  log?: Pick<TaskLog, 'info' | 'warn'>
}

interface Applied {
  version: number
  name: string
  checksum: string
}

/** How often to log that a step is still running. */
const LOG_MS = 15_000

/**
 * Brings the schema to the version that this program needs and returns the names of the migrations applied.
 *
 * Several replicas may call it at once: one of them applies each file, the others wait and find nothing left to do.
 * Replicas of an older version keep serving meanwhile, because no statement waits for a table lock for more than a
 * second before it makes way and tries again. So it takes as long as it has to, for example until a `pg_dump` ends.
 *
 * @throws {Error} when the schema is newer than this program, an applied file was changed, or a statement fails
 * @throws {Unavailable} when the database cannot be reached
 */
export async function migrate(pool: Pool, options: MigrateOptions = {}): Promise<string[]> {
  const { schema, directory, signal, log } = options
  const tables = tablesOf(schema)
  const migrations = await readMigrations(directory ?? shippedMigrations())
  if ((await nextOf(pool, tables, migrations)) === undefined) return []
  if (pool.options.max < 2) throw new Error('A migration needs a pool with at least two connections: set its max to 2.')
  return withMigrationLock({ pool, schema: tables.schema, signal, log }, async (held) => {
    const run: MigrationRun = { pool, tables, signal: held, log }
    await transact(run, (client) => prepare(client, tables))
    const names: string[] = []
    while (true) {
      const next = await nextOf(pool, tables, migrations)
      if (next === undefined) return names
      await apply(run, next)
      names.push(next.name)
    }
  })
}

async function apply(run: MigrationRun, migration: Migration): Promise<void> {
  const { name, steps } = migration
  for (const [index, step] of steps.entries()) {
    const number = index + 1
    const fields = { migration: name, step: number, of: steps.length }
    const telling = setInterval(() => run.log?.info(fields, 'a migration is still running'), LOG_MS)
    const record = number === steps.length ? (client: PoolClient) => note(client, run.tables, migration) : undefined
    try {
      await runStep(run, step, record)
    } catch (error) {
      throw explained(error, migration, number)
    } finally {
      clearInterval(telling)
    }
  }
}

async function note(client: PoolClient, { migrations }: Tables, { version, name, checksum }: Migration): Promise<void> {
  await client.query(`INSERT INTO ${migrations} (version, name, checksum) VALUES ($1, $2, $3)`, [
    version,
    name,
    checksum
  ])
}

function explained(cause: unknown, { name, inSteps }: Migration, step: number): unknown {
  const error = asUnavailable(cause)
  if (sqlState(error) === undefined || !(error instanceof Error)) return error
  const text = inSteps
    ? `The migration ${name} failed in step ${step}, and what the steps before it did was kept: ${error.message}`
    : `The migration ${name} failed, and nothing of it was kept: ${error.message}`
  return new Error(text, { cause })
}

/** The first migration that was not applied; undefined when there is none. */
async function nextOf(pool: Pool, tables: Tables, migrations: readonly Migration[]): Promise<Migration | undefined> {
  const [row] = await read<{ prepared: boolean }>(pool, 'SELECT to_regclass($1) IS NOT NULL AS prepared', [
    tables.migrations
  ])
  const applied =
    row?.prepared === true
      ? await read<Applied>(pool, `SELECT version, name, checksum FROM ${tables.migrations} ORDER BY version`)
      : []
  check(tables, migrations, applied)
  return migrations[applied.length]
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

function check({ schema }: Tables, migrations: readonly Migration[], applied: readonly Applied[]): void {
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
