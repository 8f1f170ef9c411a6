import type { FastifyBaseLogger, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { apiVersion } from '../plugins/api-version.ts'
import { type AuthOptions, auth, type HostAuthentication } from '../plugins/auth.ts'
import { caching } from '../plugins/caching.ts'
import { clientErrors } from '../plugins/client-errors.ts'
import { documentation } from '../plugins/documentation.ts'
import { errors } from '../plugins/errors.ts'
import { identity } from '../plugins/identity.ts'
import { loadShedding } from '../plugins/load-shedding.ts'
import { metrics } from '../plugins/metrics.ts'
import { operations } from '../plugins/operations.ts'
import { securityHeaders } from '../plugins/security-headers.ts'
import { type StoreOption, storage } from '../plugins/storage.ts'
import { telemetry } from '../plugins/telemetry.ts'
import { validation } from '../plugins/validation.ts'
import { catalogRoutes } from '../routes/catalog.ts'
import { healthRoutes } from '../routes/health.ts'
import { serviceBindingRoutes } from '../routes/service-bindings.ts'
import { serviceInstanceRoutes } from '../routes/service-instances.ts'
import type { CatalogSource } from '../schemas/catalog.ts'
import { MAX_AUDIT_RETENTION_DAYS, MAX_WORKERS } from './config.ts'
import { refusals } from './core/errors.ts'
import type { DeletedLastOperation } from './core/last-operation.ts'
import type { PlatformRulesOf } from './core/platform-rules.ts'
import type { ServiceProvider } from './core/provider.ts'
import { ReloadableCatalog } from './core/reloadable-catalog.ts'
import {
  DEFAULT_PLATFORM,
  fixedPlatforms,
  type NamedPlatform,
  type PlatformCredentials,
  type PlatformsSource,
  ReloadablePlatforms,
  rulesOfPlatform,
  unknownNames
} from './platforms/index.ts'
import { exampleProvider } from './providers/example.ts'
import type { PostgresqlProviderOptions } from './providers/postgresql/index.ts'

/**
 * Who may come in: one platform, several, those of a file, whom a function of the host's names, or nobody is asked because
 * the host has authenticated already.
 */
export type AuthOption =
  | { readonly username: string; readonly password: string }
  | { readonly platforms: readonly (PlatformCredentials | NamedPlatform)[] }
  | ReloadablePlatforms
  | HostAuthentication
  | false

/** Options of {@link openServiceBroker}; beside them, `prefix` as for every Fastify plugin. */
export interface OpenServiceBrokerOptions {
  /** What is offered: an object, the path of a JSON or YAML file, or one that can be reloaded. */
  readonly catalog: CatalogSource | string | ReloadableCatalog
  readonly auth: AuthOption
  /** What each platform may see and have; asked at every request. Default: what `auth` says of it, else everything. */
  readonly platformRules?: PlatformRulesOf | undefined
  /** Beside the built-in ones. One of the same name takes the built-in's place. */
  readonly providers?: readonly ServiceProvider[]
  /** Provider of the service offerings that name none. */
  readonly defaultProvider?: string | undefined
  /** Where the broker's own state is kept; default `'memory'`. */
  readonly store?: StoreOption
  /** `kid:base64,…`; required for a store in PostgreSQL. */
  readonly encryptionKeys?: string | undefined
  /** Enables the built-in provider `postgresql`. */
  readonly postgresql?: PostgresqlProviderOptions | undefined
  /** Delay of the built-in provider `example`, in milliseconds; default 0. */
  readonly exampleDelayMs?: number
  /** Answer to a missing version header; default 412. */
  readonly missingVersionStatus?: 400 | 412
  /** Answer of last_operation after a delete: `succeeded` (200, default) or `gone` (410). */
  readonly deletedLastOperation?: DeletedLastOperation
  /**
   * How long a request may take until it is answered, in milliseconds; default 8,000. Its work must end up to a second before
   * that; below 4,000 the answer may come up to a second later.
   */
  readonly syncDeadlineMs?: number
  /** Operations that this process executes at the same time, for a store in PostgreSQL, from 1; default 8. */
  readonly workers?: number | undefined
  /**
   * Called when the broker cannot start, and the app was ready before that was known: preparing the store may take longer than
   * an app waits for a plugin. Requests are answered 503. Without such a delay, `ready` rejects instead.
   */
  readonly onStartFailure?: ((error: unknown) => void) | undefined
  /** Days that audit events are kept, from 1, for a store in PostgreSQL; default: for ever. */
  readonly auditRetentionDays?: number | undefined
  /**
   * Whether requests are answered 503 while the process or the store is overloaded; polls, deletes and probes are served
   * all the same. Default false: in a process of a host's it is the host's business.
   */
  readonly shedLoad?: boolean
}

const DEFAULT_SYNC_DEADLINE_MS = 8_000

const broker: FastifyPluginAsync<OpenServiceBrokerOptions> = async (app, options) => {
  const { syncDeadlineMs = DEFAULT_SYNC_DEADLINE_MS, deletedLastOperation = 'succeeded', auditRetentionDays } = options
  requireWhole('auditRetentionDays', auditRetentionDays, MAX_AUDIT_RETENTION_DAYS)
  requireWhole('workers', options.workers, MAX_WORKERS)
  const providers = await allProviders(options)
  const catalog =
    options.catalog instanceof ReloadableCatalog ? options.catalog : new ReloadableCatalog(options.catalog)
  const current = () => catalog.current
  const platforms = platformsOf(options.auth)

  await app.register(clientErrors)
  await app.register(securityHeaders)
  await app.register(errors, { answerUnknownRoutes: app.prefix !== '' })
  await app.register(validation)
  await app.register(documentation)
  await app.register(identity)
  await app.register(storage, {
    store: options.store ?? 'memory',
    encryptionKeys: options.encryptionKeys,
    workers: options.workers
  })
  const { warnings } = await catalog.load({
    providers,
    store: app.osbStorage.store,
    ...(options.defaultProvider === undefined ? {} : { defaultProvider: options.defaultProvider })
  })
  for (const { path, message } of warnings) app.log.warn(`catalog: ${path} ${message}`)
  if (isSource(platforms)) warnOfUnknownNames(app.log, platforms, catalog)
  await app.register(operations, {
    providers,
    catalog: current,
    syncDeadlineMs,
    deletedLastOperation,
    platformRules: rulesOf(options, platforms),
    auditRetentionDays,
    onStartFailure: options.onStartFailure
  })
  await app.register(metrics, { catalog: current })

  await app.register(async (guarded) => {
    await guarded.register(telemetry)
    await guarded.register(caching)
    if (options.shedLoad === true) await guarded.register(loadShedding)
    await guarded.register(auth, { platforms })
    await guarded.register(apiVersion, { missingStatus: options.missingVersionStatus ?? 412 })
    await guarded.register(catalogRoutes)
    await guarded.register(async (prepared) => {
      prepared.addHook('onRequest', async () => {
        if (!app.osbLifecycle.begun) throw refusals.unavailable('The broker is starting.')
      })
      await prepared.register(serviceInstanceRoutes)
      await prepared.register(serviceBindingRoutes)
    })
  })
  await app.register(healthRoutes, { providers })
}

/**
 * The Open Service Broker as a Fastify plugin. Nothing of it leaks: the host's routes stay unauthenticated, its
 * decorators untouched, its Ajv options without effect here; two brokers may live under two prefixes of one app.
 *
 * @throws {CatalogError} when the catalog breaks a rule, with every fault by its path
 * @throws {ConnectionUrlError} when a connection URL is invalid
 * @throws {ConnectionRefused} at `ready` when the database server rejects the login, or TLS fails
 * @throws {EncryptionKeysError} when the encryption keys are missing or misshapen; at `ready` when one of them is not that of
 * the same kid before
 * @example
 * await app.register(openServiceBroker, { prefix: '/osb', catalog: 'catalog.yaml', auth: { username, password } })
 */
export const openServiceBroker = fp(broker, {
  name: 'fastify-open-service-broker',
  fastify: '5.x',
  encapsulate: true
})

async function allProviders(options: OpenServiceBrokerOptions): Promise<ServiceProvider[]> {
  const { providers = [], postgresql, exampleDelayMs = 0 } = options
  const builtIn = [exampleProvider({ delayMs: exampleDelayMs })]
  if (postgresql !== undefined) {
    const { postgresqlProvider } = await import('./providers/postgresql/index.ts')
    builtIn.push(postgresqlProvider(postgresql))
  }
  return [...builtIn.filter(({ name }) => !providers.some((own) => own.name === name)), ...providers]
}

function requireWhole(name: string, value: number | undefined, maximum: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= 1 && value <= maximum)) return
  throw new Error(`${name} is ${value}: it must be a whole number from 1 to ${maximum}.`)
}

function platformsOf(option: AuthOption): PlatformsSource | HostAuthentication | false {
  if (option === false || typeof option === 'function' || option instanceof ReloadablePlatforms) return option
  return fixedPlatforms('platforms' in option ? option.platforms : [{ name: DEFAULT_PLATFORM, ...option }])
}

function isSource(platforms: AuthOptions['platforms']): platforms is PlatformsSource {
  return platforms !== false && typeof platforms !== 'function'
}

function rulesOf({ platformRules }: OpenServiceBrokerOptions, platforms: AuthOptions['platforms']) {
  if (platformRules !== undefined || !isSource(platforms)) return platformRules
  return (platform: string) => rulesOfPlatform(platforms, platform)
}

/** Rules for what the catalog does not have are kept: it may be on its way. */
export function warnOfUnknownNames(
  log: FastifyBaseLogger,
  platforms: PlatformsSource,
  catalog: ReloadableCatalog
): void {
  for (const { path, message } of unknownNames(platforms.current, catalog.current.served))
    log.warn(`${path} ${message}`)
}
