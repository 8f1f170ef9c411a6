import fp from 'fastify-plugin'
import type { Pool } from 'pg'
import { Unavailable } from '../src/core/provider.ts'
import type { Runner } from '../src/core/runner.ts'
import type { Store } from '../src/core/store.ts'
import { ConnectionRefused, refusalOf } from '../src/postgres/refusal.ts'
import { InProcessRunner } from '../src/runners/in-process.ts'
import { MemoryStore } from '../src/stores/memory.ts'
import { EncryptionKeysError, parseEncryptionKeys } from '../src/stores/postgres/encryption-keys.ts'
import { observePool } from '../src/telemetry/index.ts'

declare module 'fastify' {
  interface FastifyInstance {
    osbStorage: Storage
  }
}

/** Where the broker keeps what it knows, and who executes its operations. */
export interface Storage {
  readonly store: Store
  readonly runner: Runner
  /** Brings the store's schema up to date; to be called before the first use, and again until it works. */
  prepare(signal?: AbortSignal): Promise<void>
  /** How long the requests that wait for a connection to the store have to expect to wait, in milliseconds. */
  queueMs(): number
}

/** The broker's own state: in memory, or in a PostgreSQL database. */
export type StoreOption =
  | 'memory'
  /** A pool of the host application. The broker never ends it, and never changes the settings of its sessions. */
  | { readonly pool: Pool }
  | {
      /** `postgresql://user:password@host:port/database`, also with several hosts. */
      readonly connectionString: string
      /** Maximum number of connections for requests and workers; default 16. Up to five more serve queue and cancels. */
      readonly poolSize?: number | undefined
    }

export interface StorageOptions {
  readonly store: StoreOption
  /** `kid:base64,…`; required for PostgreSQL. The first key writes, all read. */
  readonly encryptionKeys?: string | undefined
  /** Operations that this process executes at the same time, for PostgreSQL. */
  readonly workers?: number | undefined
}

const MISSING_KEYS =
  'there are credentials or states under encryption keys that are not given: what is under them cannot be read. Add ' +
  'those keys behind the first one in BROKER_ENCRYPTION_KEYS (or the option encryptionKeys), and see osb rekey --check'
/** The option that contains the connection URL, for messages. */
const URL_OPTION = 'store.connectionString'
const POOL_SIZE = 16

/** Rejects the start if the server rejects the broker. Unlike for a server that is down, waiting does not help. */
function explainRefusal(setting: string): (error: unknown) => never {
  return (error) => {
    const cause = error instanceof Unavailable ? error.cause : error
    const reason = refusalOf(cause)
    throw reason === undefined ? error : new ConnectionRefused(setting, reason, { cause })
  }
}

/** The store and its runner; closed with the app. An injected pool stays the host's. */
export const storage = fp<StorageOptions>(
  async (app, { store: option, encryptionKeys, workers }) => {
    if (option === 'memory') {
      const store = new MemoryStore()
      app.decorate('osbStorage', {
        store,
        runner: new InProcessRunner(app.log),
        prepare: async () => {},
        queueMs: () => 0
      })
      app.addHook('onClose', () => store.close())
      return
    }
    if (encryptionKeys === undefined) {
      throw new EncryptionKeysError(
        'Encryption keys are required to keep credentials in PostgreSQL: set BROKER_ENCRYPTION_KEYS (or the option ' +
          'encryptionKeys) to "kid:key" with a key made by: openssl rand -base64 32'
      )
    }
    // Not needed for a store in memory, and much of what there is to load
    const { asUnavailable, migrate, PostgresStore, Sealer, stateSettings } = await import(
      '../src/stores/postgres/index.ts'
    )
    const { PgBossRunner } = await import('../src/runners/pg-boss.ts')
    const sealer = new Sealer(parseEncryptionKeys(encryptionKeys))
    let pool: Pool
    if ('pool' in option) {
      pool = option.pool
    } else {
      if (app.hasDecorator('pg')) {
        throw new Error(
          'This app has @fastify/postgres already: give its pool with the option store: { pool: app.pg.pool }.'
        )
      }
      const url = { text: option.connectionString, name: URL_OPTION }
      const settings = stateSettings(url, { max: option.poolSize ?? POOL_SIZE, application_name: 'osb' })
      await app.register((await import('@fastify/postgres')).default, settings)
      pool = app.pg.pool
    }
    const store = new PostgresStore(pool, { sealer, log: app.log })
    const logApplied = (names: string[]) => {
      if (names.length > 0) app.log.info({ migrations: names }, 'migrated the schema')
    }
    const runner = new PgBossRunner({
      connection: pool.options,
      explain: asUnavailable,
      log: app.log,
      ...(workers === undefined ? {} : { workers })
    })
    const warnOfKeys = (kids: string[]) => {
      if (kids.length > 0) app.log.warn({ kids }, MISSING_KEYS)
    }
    const prepare = async () => {
      logApplied(await migrate(pool).catch(explainRefusal('pool' in option ? 'store.pool' : URL_OPTION)))
      warnOfKeys(await store.missingKids())
    }
    app.decorate('osbStorage', { store, runner, prepare, queueMs: () => store.queueMs() })
    const stopObserving = observePool('state', pool)
    app.addHook('onClose', async () => {
      stopObserving()
      await store.close()
    })
  },
  { name: 'osb-storage', fastify: '5.x' }
)
