import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Pool } from 'pg'
import { ConfigError, type Environment } from '../config.ts'
import { startEmbeddedPostgres } from '../embedded-postgres/index.ts'
import { keptEncryptionKeys } from '../kept-secrets.ts'
import { STATE_DATABASE } from '../server.ts'
import { openStatePool, parseEncryptionKeys, Sealer } from '../stores/postgres/index.ts'
import { DATABASE_URL } from './state-database.ts'

/** The broker's own state, for commands that work on it beside the broker. */
export interface State {
  readonly pool: Pool
  readonly sealer: Sealer
  close(): Promise<void>
}

/**
 * Opens the state that the environment of `osb serve` describes. Embedded storage is started for it, and must not be running.
 * @throws {ConfigError} when there is none
 */
export async function openState(config: Environment, command: string): Promise<State> {
  const { BROKER_STORAGE, DATABASE_URL: url, BROKER_ENCRYPTION_KEYS, BROKER_DATA_DIR } = config
  if (BROKER_STORAGE === 'memory') {
    throw new ConfigError(`${command} needs BROKER_STORAGE=postgres or embedded: memory keeps nothing to work on.`)
  }
  if (BROKER_STORAGE === 'postgres') {
    if (url === undefined || BROKER_ENCRYPTION_KEYS === undefined) {
      throw new ConfigError(`${command} needs DATABASE_URL and BROKER_ENCRYPTION_KEYS, as the broker has them.`)
    }
    const sealer = new Sealer(parseEncryptionKeys(BROKER_ENCRYPTION_KEYS))
    const pool = openPool(url)
    return { pool, sealer, close: () => pool.end() }
  }
  const dataDir = join(BROKER_DATA_DIR, 'postgresql')
  if (!existsSync(dataDir)) throw new ConfigError(`There is no state in BROKER_DATA_DIR, which is ${BROKER_DATA_DIR}.`)
  const keys = BROKER_ENCRYPTION_KEYS ?? (await keptEncryptionKeys(BROKER_DATA_DIR))
  const sealer = new Sealer(parseEncryptionKeys(keys))
  const server = await startEmbeddedPostgres({ dataDir, databases: [STATE_DATABASE] })
  const pool = openPool(server.urlOf(STATE_DATABASE))
  return {
    pool,
    sealer,
    async close() {
      await pool.end()
      await server.stop()
    }
  }
}

function openPool(text: string): Pool {
  return openStatePool({ text, name: DATABASE_URL }, { max: 2, application_name: 'osb-rekey' })
}
