export { EmbeddedPostgresError, type EmbeddedPostgresErrorCode } from './errors.ts'
export { urlOfKept } from './running.ts'
export { type EmbeddedPostgres, type EmbeddedPostgresOptions, startEmbeddedPostgres } from './start.ts'
