import { Pool } from 'pg'
import { ConfigError } from '../config.ts'
import { migrate } from '../stores/postgres/index.ts'
import type { Command } from './command.ts'

/** `osb migrate`: for deployments whose broker may not change its schema. */
export const migrateCommand: Command = {
  summary: "bring the schema of the broker's own state in DATABASE_URL up to date",
  run: migrateState
}

async function migrateState(): Promise<void> {
  const connectionString = process.env.DATABASE_URL
  if (connectionString === undefined || connectionString === '') {
    throw new ConfigError("Set DATABASE_URL to the PostgreSQL database of the broker's own state.")
  }
  const pool = new Pool({ connectionString, max: 1 })
  try {
    const names = await migrate(pool)
    process.stdout.write(names.length === 0 ? 'nothing to migrate\n' : `applied ${names.join(', ')}\n`)
  } catch (error) {
    throw isRefusal(error) ? new ConfigError(`DATABASE_URL: ${error.message}.`, { cause: error }) : error
  } finally {
    await pool.end()
  }
}

/** The server answered, and does not let us in: wrong user or password, or no such database. */
function isRefusal(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && /^(?:28...|3D000|42501)$/.test(String(error.code))
}
