export { PlanOptions, type PostgresqlProviderOptions } from './options.ts'
export { postgresqlProvider } from './provider.ts'
