import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import fp from 'fastify-plugin'
import type { LastOperationQuery } from '../schemas/last-operation.ts'
import { Bindings } from '../src/core/bindings.ts'
import type { Call } from '../src/core/call.ts'
import type { CatalogPart, LoadedCatalog } from '../src/core/catalog/index.ts'
import { Instances } from '../src/core/instances.ts'
import { type DeletedLastOperation, lastOperation, type PollAnswer, type Polled } from '../src/core/last-operation.ts'
import { answerInTime } from '../src/core/lifecycle.ts'
import { Operations } from '../src/core/operations.ts'
import type { PlatformRulesOf } from '../src/core/platform-rules.ts'
import { type ServiceProvider, type StartContext, Unavailable } from '../src/core/provider.ts'
import { LATE, orLate } from '../src/core/time-limits.ts'
import { startContext } from '../src/core/upkeep.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The verbs of the broker. */
    osbLifecycle: Lifecycle
  }
}

/** What routes call: one method for each endpoint. */
export interface Lifecycle {
  readonly instances: Instances
  readonly bindings: Bindings
  /** What the platform sees of the catalog. */
  catalogOf(platform: string): CatalogPart
  lastOperation(call: Call, polled: Polled, query: LastOperationQuery): Promise<PollAnswer>
  /** Whether the store has been prepared: before that, no request can be served. */
  readonly begun: boolean
  /** Whether operations are executed: not before the store has been prepared, nor while stopping. */
  readonly ready: boolean
}

export interface OperationsPluginOptions {
  readonly providers: readonly ServiceProvider[]
  readonly catalog: () => LoadedCatalog
  readonly syncDeadlineMs: number
  readonly deletedLastOperation: DeletedLastOperation
  /** What each platform may see and have. Default: everything, without limits. */
  readonly platformRules?: PlatformRulesOf | undefined
  readonly auditRetentionDays?: number | undefined
  /** Called when the broker cannot start, and the app had not waited for that. */
  readonly onStartFailure?: ((error: unknown) => void) | undefined
}

/** Pause between two tries to reach the store. */
const RETRY_MS = 1_000
/** How long the app waits for the broker to be ready; longer work, such as a migration, continues in the background. */
const READY_MS = 5_000
const CLOSE_MS = 1_500
/** How long a stop waits for a start that is still trying to reach the store. */
const BEGIN_GRACE_MS = 2_000

/** Operation tracking: starts the execution of operations when the app is ready, and stops it before the app closes. */
export const operations = fp<OperationsPluginOptions>(
  async (app, options) => {
    const { providers, catalog, syncDeadlineMs, deletedLastOperation, platformRules, auditRetentionDays } = options
    const { store, runner, prepare } = app.osbStorage
    const engine = new Operations({
      store,
      runner,
      catalog,
      syncDeadlineMs,
      platformRules,
      auditRetentionDays,
      log: app.log,
      providers: new Map(providers.map((provider) => [provider.name, provider]))
    })
    const closing = new AbortController()
    let begun = false
    app.decorate('osbLifecycle', {
      instances: new Instances(engine),
      bindings: new Bindings(engine),
      catalogOf: (platform: string) => engine.platforms.catalogOf(platform),
      lastOperation: (call: Call, polled: Polled, query: LastOperationQuery) =>
        answerInTime(engine, call, lastOperation({ store, deleted: deletedLastOperation }, call, { polled, query })),
      get begun() {
        return begun
      },
      get ready() {
        return begun && !closing.signal.aborted
      }
    })
    const { signal } = closing
    const starts = new Map<ServiceProvider, Promise<void>>()
    const startOnce = (provider: ServiceProvider) => {
      const start = starts.get(provider) ?? startProvider(provider, startContext(engine.options, provider))
      starts.set(provider, start)
      start.catch(() => starts.delete(provider))
      return start
    }
    const begin = async () => {
      await Promise.all(providers.map(startOnce))
      await prepare(signal)
      signal.throwIfAborted()
      await engine.begin()
      begun = true
    }
    let beginning: Promise<void> = Promise.resolve()
    let ending: Promise<void> = Promise.resolve()
    app.addHook('onReady', async () => {
      const first = begin()
      beginning = first.catch((error: unknown) => persist(begin, { error, log: app.log, signal }))
      // A host may catch the error of `ready` and live on.
      beginning.catch(() => undefined)
      // Not the retries: requests are answered 503 while the store is away.
      const early = await orLate(
        first.then(() => 'begun', failedUnlessUnavailable),
        READY_MS
      )
      if (early === 'begun') return
      if (early === LATE) app.log.warn('the broker is not ready yet; requests are answered 503 until it is')
      beginning.then(
        () => app.log.info('the broker is ready'),
        (error: unknown) => {
          if (signal.aborted) return
          app.log.fatal({ err: error }, 'the broker cannot start; requests are answered 503')
          options.onStartFailure?.(error)
        }
      )
    })
    app.addHook('preClose', async () => {
      closing.abort()
      await Promise.race([beginning.catch(() => undefined), sleep(BEGIN_GRACE_MS, undefined, { ref: false })])
      // The server continues to close meanwhile, so that no new requests come in for much longer.
      ending = engine.end()
    })
    app.addHook('onClose', async () => {
      await ending
      await closeWithin(app.log, 'operations', () => engine.close())
      await Promise.all(providers.map((provider) => closeWithin(app.log, provider.name, async () => provider.stop?.())))
    })
  },
  { name: 'osb-operations', fastify: '5.x', dependencies: ['osb-storage'] }
)

/** @throws {Unavailable} naming the provider, if it may start later */
async function startProvider(provider: ServiceProvider, context: StartContext): Promise<void> {
  try {
    await provider.start?.(context)
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error
    throw new Unavailable(`The provider "${provider.name}" cannot start: ${error.message}`, { cause: error })
  }
}

/** A part that hangs, for example on a lock that a frozen replica holds, does not delay the others. */
async function closeWithin(log: FastifyBaseLogger, part: string, close: () => Promise<void>): Promise<void> {
  if ((await orLate(close(), CLOSE_MS)) === LATE) log.warn({ part }, 'a part did not close in time; it is left')
}

/** Repeats a failed start until it works or the app closes, if the store or a provider is unavailable. */
async function persist(
  begin: () => Promise<void>,
  { error: first, log, signal }: { error: unknown; log: FastifyBaseLogger; signal: AbortSignal }
): Promise<void> {
  failedUnlessUnavailable(first)
  log.error({ err: first }, 'the broker cannot start yet; requests are answered 503 until it can')
  while (!signal.aborted) {
    await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) return
    try {
      await begin()
      return
    } catch (error) {
      if (!signal.aborted) failedUnlessUnavailable(error)
      log.warn({ err: error }, 'the broker cannot start yet')
    }
  }
}

function failedUnlessUnavailable(error: unknown): 'unavailable' {
  if (error instanceof Unavailable) return 'unavailable'
  throw error
}
