import type { Server } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, {
  type FastifyHttpOptions,
  type FastifyInstance,
  type FastifyPluginAsync,
  type FastifyServerOptions
} from 'fastify'
import { answerClientError } from '../plugins/client-errors.ts'
import { sendError } from '../plugins/errors.ts'
import { RequestLog } from '../plugins/request-log.ts'
import type { StoreOption } from '../plugins/storage.ts'
import { MAX_ID_LENGTH } from '../schemas/common.ts'
import { type AuthOption, type OpenServiceBrokerOptions, openServiceBroker, warnOfUnknownNames } from './app.ts'
import { ConfigError, type Environment, isTrustedProxy, trustedProxies } from './config.ts'
import { compareCatalogs, type LoadedCatalog } from './core/catalog/index.ts'
import { ReloadableCatalog } from './core/reloadable-catalog.ts'
import type { EmbeddedPostgres } from './embedded-postgres/index.ts'
import { type KeptCredentials, keptCredentials, keptEncryptionKeys } from './kept-secrets.ts'
import { loggerOptions } from './log.ts'
import { shippedCatalog } from './package-files.ts'
import { ReloadablePlatforms } from './platforms/index.ts'
import { postgresqlOptions } from './postgresql-servers.ts'
import type { ConnectionBounds } from './server/connections.ts'
import { guardServer } from './server/guard.ts'
import { connectionLimits, REQUEST_TIMEOUT_MS } from './server/limits.ts'
import { listen, listenForHealthIfAsked } from './server/listen.ts'
import { inWordsOfVariables } from './server/refused-connection.ts'
import { parseEncryptionKeys } from './stores/postgres/encryption-keys.ts'
import { startTelemetry, type Telemetry } from './telemetry-sdk/index.ts'
import { TlsServers, tlsFiles } from './tls.ts'

/** A broker that listens. */
export interface RunningBroker {
  readonly app: FastifyInstance
  /** `http://127.0.0.1:8080`, or https with a certificate. */
  readonly url: string
  readonly catalog: LoadedCatalog
  /** What embedded storage generated, when it is used and nothing else was configured. */
  readonly kept: KeptCredentials | undefined
  /** The file of platforms, where there is one. */
  readonly platforms: ReloadablePlatforms | undefined
  /** Loads the catalog's file again. */
  reload(): Promise<LoadedCatalog>
  /** Logs which names in the rules of platforms the catalog does not have. */
  warnOfUnknownNames(): void
  /** Settles with an error when the broker cannot start although it listens already. */
  readonly failed: Promise<unknown>
  /** Answers open requests, hands back what runs, and stops the embedded server. */
  stop(): Promise<void>
}

/** What the process needs beyond its environment: code. */
export interface StartBrokerOptions {
  /** Providers in addition to the built-in ones. A provider replaces the built-in provider of the same name. */
  readonly providers?: OpenServiceBrokerOptions['providers']
}

/** Database of the embedded server that holds the broker's own state. */
export const STATE_DATABASE = 'osb_state'
/**
 * How long a closing server still answers, each time with `Connection: close`: a platform that is about to send on a
 * connection that it keeps alive would otherwise see it cut.
 */
const DRAIN_MS = 500

/** Spelt out: what is inferred names paths within Fastify that programs which embed the plugin cannot resolve. */
type ServerOptions = Required<
  Pick<
    FastifyHttpOptions<Server>,
    | 'clientErrorHandler'
    | 'frameworkErrors'
    | 'http'
    | 'logController'
    | 'requestTimeout'
    | 'return503OnClosing'
    | 'routerOptions'
  >
>

/**
 * What a Fastify server needs for the broker's answers to be complete: errors that skip every hook, such as a bad percent
 * escape, or what is no HTTP at all, are shaped too, ids may be as long as we take them, what a connection may take in time
 * and size is bounded, and polls are logged at `debug`. For hosts that embed the plugin in an app of theirs; with `https`,
 * `http` belongs in there.
 */
export const serverOptions: ServerOptions = {
  frameworkErrors: (error, request, reply) => {
    sendError(error, request, reply)
  },
  clientErrorHandler: answerClientError,
  http: connectionLimits,
  routerOptions: { maxParamLength: MAX_ID_LENGTH * 4 },
  requestTimeout: REQUEST_TIMEOUT_MS,
  logController: new RequestLog(),
  // While the broker hands over to another replica, what still reaches it is served.
  return503OnClosing: false
}

/**
 * Starts the broker as a process of its own: it configures logging, telemetry, TLS and connection limits, and listens.
 * Programs with providers of their own pass them in the options and otherwise behave like `osb serve`.
 * @throws {ConfigError} when the configuration does not fit together; `CatalogError` when the catalog breaks a rule
 */
export async function startBroker(
  config: Environment,
  { providers = [] }: StartBrokerOptions = {}
): Promise<RunningBroker> {
  requireUsable(config)
  const platforms = await platformsFrom(config)
  const tls = tlsFrom(config)
  const embedded = config.BROKER_STORAGE === 'embedded'
  const kept = embedded && platforms === undefined ? await keptCredentials(config.BROKER_DATA_DIR) : undefined
  const logger = await loggerOptions(config, process.stdout.isTTY)
  // The guard refuses a request without Host itself: Node's answer has no body.
  const http = { ...connectionLimits, requireHostHeader: false }
  const app = Fastify({ ...serverOptions, http, ...connectionsFrom(config, tls), logger })
  const closeUnused = guardServer(app, boundsFrom(config))
  const telemetry = await startTelemetry(process.env, app.log)
  const postgres = embedded ? await startPostgres(config, app) : undefined
  app.addHook('onListen', async () => tls?.follow(app.log))
  app.addHook('onClose', async () => tls?.stop())
  const catalog = new ReloadableCatalog(config.BROKER_CATALOG_PATH ?? shippedCatalog())
  const failure = Promise.withResolvers<unknown>()
  const parts: Parts = { app, postgres, telemetry, stopHealth: undefined }
  try {
    await app.register(openServiceBroker, {
      catalog,
      auth: platforms ?? credentialsFrom(config, kept),
      store: storeFrom(config, postgres),
      encryptionKeys:
        config.BROKER_ENCRYPTION_KEYS ?? (embedded ? await keptEncryptionKeys(config.BROKER_DATA_DIR) : undefined),
      providers,
      defaultProvider: config.BROKER_DEFAULT_PROVIDER,
      postgresql: postgresqlOptions(config, postgres && { adminUrl: postgres.adminUrl, stateDatabase: STATE_DATABASE }),
      exampleDelayMs: config.BROKER_ASYNC_OP_MILLIS,
      missingVersionStatus: config.BROKER_MISSING_VERSION_STATUS,
      deletedLastOperation: config.BROKER_DELETED_LAST_OPERATION,
      syncDeadlineMs: config.BROKER_SYNC_DEADLINE_MS,
      workers: config.BROKER_WORKERS,
      auditRetentionDays: config.BROKER_AUDIT_RETENTION_DAYS,
      shedLoad: true,
      onStartFailure: failure.resolve
    })
    // After the broker: it has said that it is not ready, and takes no more operations, while the server still answers.
    await app.register(drain, { closeUnused })
    const url = await listen(app, config)
    parts.stopHealth = await listenForHealthIfAsked(app, config, telemetry.metrics)
    return {
      app,
      url,
      catalog: catalog.current,
      kept: config.BROKER_PASSWORD === undefined ? kept : undefined,
      platforms,
      reload: () => reload(app, catalog),
      warnOfUnknownNames: () => platforms && warnOfUnknownNames(app.log, platforms, catalog),
      failed: failure.promise,
      stop: () => stop(parts)
    }
  } catch (error) {
    await stop(parts)
    throw inWordsOfVariables(error)
  }
}

const drain: FastifyPluginAsync<{ closeUnused: () => void }> = async (app, { closeUnused }) => {
  app.addHook('preClose', async () => {
    await sleep(DRAIN_MS)
    closeUnused()
  })
}

/** Loads the catalog again, and says what that changes for those who know the old one. */
async function reload(app: FastifyInstance, catalog: ReloadableCatalog): Promise<LoadedCatalog> {
  const before = catalog.current.served
  const loaded = await catalog.reload()
  for (const { severity, path, message, consequence } of compareCatalogs(before, loaded.served)) {
    app.log.info({ change: severity }, `catalog: ${path} ${message}. ${consequence}.`)
  }
  return loaded
}

/** Refuses what would show only with the first request. */
function requireUsable(config: Environment): void {
  const { BROKER_ENCRYPTION_KEYS: keys } = config
  try {
    if (keys !== undefined) parseEncryptionKeys(keys)
  } catch (error) {
    throw new ConfigError(messageOf(error), { cause: error })
  }
  // The embedded server is not needed to know whether there is another
  const hasServer = postgresqlOptions(config, undefined) !== undefined || config.BROKER_STORAGE === 'embedded'
  if (hasServer || config.BROKER_CATALOG_PATH !== undefined) return
  throw new ConfigError(
    "Set POSTGRESQL_ADMIN_URL (or POSTGRESQL_SERVERS_FILE) to the server of the tenants' databases, which the shipped catalog offers, or " +
      `BROKER_CATALOG_PATH to a catalog of yours: BROKER_STORAGE=${config.BROKER_STORAGE} has no embedded server.`
  )
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

interface Parts {
  readonly app: FastifyInstance
  readonly postgres: EmbeddedPostgres | undefined
  readonly telemetry: Telemetry
  stopHealth: (() => Promise<void>) | undefined
}

async function stop({ app, postgres, telemetry, stopHealth }: Parts): Promise<void> {
  try {
    await app.close()
  } finally {
    await Promise.all([postgres?.stop(), telemetry.stop(), stopHealth?.()])
  }
}

async function startPostgres(config: Environment, app: FastifyInstance): Promise<EmbeddedPostgres> {
  const { startEmbeddedPostgres } = await import('./embedded-postgres/index.ts')
  return startEmbeddedPostgres({
    dataDir: join(config.BROKER_DATA_DIR, 'postgresql'),
    databases: [STATE_DATABASE],
    log: (line) => app.log.info({ component: 'postgresql' }, line),
    onExit: (error) => app.log.fatal({ err: error }, 'the embedded PostgreSQL server stays down')
  })
}

function storeFrom(config: Environment, postgres: EmbeddedPostgres | undefined): StoreOption {
  if (config.BROKER_STORAGE === 'memory') return 'memory'
  const connectionString = postgres?.urlOf(STATE_DATABASE) ?? config.DATABASE_URL
  if (connectionString === undefined) throw new ConfigError('Set DATABASE_URL.')
  return { connectionString, poolSize: config.BROKER_DATABASE_POOL_SIZE }
}

function credentialsFrom(config: Environment, kept: KeptCredentials | undefined): AuthOption {
  const { BROKER_USERNAME: username, BROKER_PASSWORD: password } = config
  if (username !== undefined && password !== undefined) return { username, password }
  const [name, ...rest] = (kept?.credentials ?? '').split(':')
  if (name === undefined || rest.length === 0) throw new ConfigError('Set BROKER_USERNAME and BROKER_PASSWORD.')
  return { username: name, password: rest.join(':') }
}

async function platformsFrom(config: Environment): Promise<ReloadablePlatforms | undefined> {
  const { BROKER_PLATFORMS_FILE: file, BROKER_TLS_CLIENT_CA } = config
  if (file === undefined) return undefined
  return ReloadablePlatforms.open(file, { clientCertificates: BROKER_TLS_CLIENT_CA !== undefined })
}

function tlsFrom(config: Environment): TlsServers | undefined {
  const files = tlsFiles(config)
  return files && new TlsServers(files)
}

function boundsFrom(config: Environment): ConnectionBounds {
  const { BROKER_MAX_CONNECTIONS: max, BROKER_MAX_CONNECTIONS_PER_ADDRESS: own = Math.ceil(max / 2) } = config
  // All clients of a trusted proxy share its address.
  return { max, maxPerAddress: own, isExempt: isTrustedProxy(config) }
}

/** Whose word on the client's address is taken, and the server itself where it speaks HTTPS. */
function connectionsFrom(config: Environment, tls: TlsServers | undefined): FastifyServerOptions {
  const proxies = trustedProxies(config)
  return {
    ...(proxies.length === 0 ? {} : { trustProxy: proxies }),
    ...(tls === undefined ? {} : { serverFactory: (handler, options) => tls.create(handler, options) })
  }
}
