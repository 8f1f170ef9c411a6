export type { HostAuthentication } from '../plugins/auth.ts'
export type { StoreOption } from '../plugins/storage.ts'
export { type AuthOption, type OpenServiceBrokerOptions, openServiceBroker } from './app.ts'
export {
  type CatalogChange,
  CatalogError,
  type CatalogReport,
  type ChangeKind,
  type ChangeSeverity,
  checkCatalog,
  compareCatalogs,
  type Fault,
  type LoadedCatalog,
  type LoadOptions,
  loadCatalog,
  type Place
} from './core/catalog/index.ts'
export { BrokerError, type BrokerErrorDetails } from './core/errors.ts'
export type { PlatformRules, PlatformRulesOf } from './core/platform-rules.ts'
export * from './core/provider.ts'
export { ReloadableCatalog } from './core/reloadable-catalog.ts'
export {
  DEFAULT_PLATFORM,
  hashPassword,
  type NamedPlatform,
  type Platform,
  type PlatformCredentials,
  type Platforms,
  PlatformsError,
  ReloadablePlatforms
} from './platforms/index.ts'
export { ConnectionUrlError } from './postgres/connection-url.ts'
export { ConnectionRefused } from './postgres/refusal.ts'
export { type ExampleProviderOptions, exampleProvider } from './providers/example.ts'
export {
  type PostgresqlProviderOptions,
  type PostgresqlProviderSettings,
  type PostgresqlServer,
  postgresqlProvider
} from './providers/postgresql/index.ts'
export { serverOptions } from './server.ts'
export { EncryptionKeysError } from './stores/postgres/index.ts'
