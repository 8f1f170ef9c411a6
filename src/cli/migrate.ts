import { ConfigError } from '../config.ts'
import { migrate, openStatePool } from '../stores/postgres/index.ts'
import type { Command } from './command.ts'
import { DATABASE_URL, databaseUrl, explained } from './state-database.ts'

/** `osb migrate`: for deployments whose broker may not change its schema. */
export const migrateCommand: Command = {
  summary: "bring the schema of the broker's own state in DATABASE_URL up to date",
  run: migrateState
}

/** What takes long; on stderr, so that stdout is the result alone. */
const progress = { info: tell, warn: tell }

function tell(fields: object, message = ''): void {
  process.stderr.write(`${message} ${JSON.stringify(fields)}\n`)
}

async function migrateState(): Promise<void> {
  const text = databaseUrl()
  if (text === undefined) {
    throw new ConfigError("Set DATABASE_URL to the PostgreSQL database of the broker's own state.")
  }
  // One connection holds the lock of the migrations, another runs them.
  const pool = openStatePool({ text, name: DATABASE_URL }, { max: 2, application_name: 'osb-migrate' })
  try {
    const names = await explained(() => migrate(pool, { log: progress }))
    process.stdout.write(names.length === 0 ? 'nothing to migrate\n' : `applied ${names.join(', ')}\n`)
  } finally {
    await pool.end()
  }
}
