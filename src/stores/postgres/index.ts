export { type MigrateOptions, migrate } from './migrate.ts'
export { PostgresStore, type PostgresStoreOptions } from './postgres-store.ts'
export { type EncryptionKey, parseEncryptionKeys, SealBroken, Sealer } from './sealing.ts'
export type { Sql, SqlTransaction } from './transactions.ts'
