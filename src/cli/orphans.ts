import { Pool } from 'pg'
import { ConfigError, readEnvironment } from '../config.ts'
import { findOrphans } from '../core/reconcile.ts'
import { postgresqlProvider } from '../providers/postgresql/index.ts'
import { PostgresStore, parseEncryptionKeys, Sealer } from '../stores/postgres/index.ts'
import type { Command } from './command.ts'

/**
 * `osb orphans`: prints what is on the server of the tenants and unknown to the broker, and the other way round. Exits 1
 * when there is anything. Reads the environment of `osb serve`.
 */
export const orphansCommand: Command = {
  summary: 'print what only the broker, or only the server of the tenants, believes in',
  run: printOrphans
}

async function printOrphans(): Promise<void> {
  const { BROKER_STORAGE, DATABASE_URL, BROKER_ENCRYPTION_KEYS, POSTGRESQL_ADMIN_URL } = readEnvironment(process.env)
  if (BROKER_STORAGE !== 'postgres' || DATABASE_URL === undefined || BROKER_ENCRYPTION_KEYS === undefined) {
    throw new ConfigError('osb orphans needs BROKER_STORAGE=postgres with the environment that the broker has.')
  }
  if (POSTGRESQL_ADMIN_URL === undefined) {
    throw new ConfigError("Set POSTGRESQL_ADMIN_URL to the server of the tenants' databases.")
  }
  const pool = new Pool({ connectionString: DATABASE_URL, max: 2 })
  const store = new PostgresStore(pool, { sealer: new Sealer(parseEncryptionKeys(BROKER_ENCRYPTION_KEYS)) })
  const provider = postgresqlProvider({ adminUrl: POSTGRESQL_ADMIN_URL })
  try {
    const orphans = await findOrphans(store, [provider])
    for (const { side, resource, instanceId = '-', bindingId = '-' } of orphans) {
      process.stdout.write(`${[side, resource, instanceId, bindingId].join('\t')}\n`)
    }
    process.stderr.write(orphans.length === 0 ? 'no orphans\n' : `${orphans.length} orphans\n`)
    if (orphans.length > 0) process.exitCode = 1
  } finally {
    await provider.stop?.()
    await store.close()
    await pool.end()
  }
}
