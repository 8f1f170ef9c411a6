import { ConfigError } from '../config.ts'
import { migrate, openStatePool } from '../stores/postgres/index.ts'
import type { Command } from './command.ts'
import { DATABASE_URL, databaseUrl, explained } from './state-database.ts'

/** `osb migrate`: for deployments whose broker may not change its schema. */
export const migrateCommand: Command = {
  summary: "bring the schema of the broker's own state in DATABASE_URL up to date",
  run: migrateState
}

async function migrateState(): Promise<void> {
  const text = databaseUrl()
  if (text === undefined) {
    throw new ConfigError("Set DATABASE_URL to the PostgreSQL database of the broker's own state.")
  }
  const pool = openStatePool({ text, name: DATABASE_URL }, { max: 1, application_name: 'osb-migrate' })
  try {
    const names = await explained(() => migrate(pool))
    process.stdout.write(names.length === 0 ? 'nothing to migrate\n' : `applied ${names.join(', ')}\n`)
  } finally {
    await pool.end()
  }
}
