export type { PostgresqlProviderOptions, PostgresqlProviderSettings, PostgresqlServer } from './options.ts'
export { PlanOptions, planOptionsSource } from './plan-options.ts'
export { postgresqlProvider } from './provider.ts'
