import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import fp from 'fastify-plugin'
import type { LastOperationQuery } from '../schemas/last-operation.ts'
import { Bindings } from '../src/core/bindings.ts'
import type { Call } from '../src/core/call.ts'
import type { CatalogPart, LoadedCatalog } from '../src/core/catalog/index.ts'
import { Instances } from '../src/core/instances.ts'
import { type DeletedLastOperation, lastOperation, type PollAnswer, type Polled } from '../src/core/last-operation.ts'
import { Operations } from '../src/core/operations.ts'
import type { PlatformRulesOf } from '../src/core/platform-rules.ts'
import { type ServiceProvider, Unavailable } from '../src/core/provider.ts'

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
  /** Whether operations are executed: not before the store could be reached for the first time, nor while stopping. */
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
}

const RETRY_MS = 1_000
const CLOSE_MS = 1_500
/** How long a stop waits for a start that is still trying to reach the store. */
const BEGIN_GRACE_MS = 2_000

/** Operation tracking: starts what executes operations when the app is ready, and stops it before it closes. */
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
        lastOperation({ store, deleted: deletedLastOperation }, call, { polled, query }),
      get ready() {
        return begun && !closing.signal.aborted
      }
    })
    const begin = async () => {
      await prepare()
      await engine.begin()
      begun = true
    }
    let beginning: Promise<void> = Promise.resolve()
    let ending: Promise<void> = Promise.resolve()
    app.addHook('onReady', async () => {
      await Promise.all(providers.map((provider) => provider.start?.()))
      beginning = begin()
      await beginning.catch((error) => {
        if (!(error instanceof Unavailable)) throw error
        app.log.error({ err: error }, 'the store cannot be reached; requests are answered 503 until it can')
        beginning = persist(begin, { log: app.log, signal: closing.signal })
      })
    })
    app.addHook('preClose', async () => {
      closing.abort()
      await Promise.race([beginning.catch(() => undefined), sleep(BEGIN_GRACE_MS, undefined, { ref: false })])
      // Not waited for here: the server goes on to close, so that no request comes in for much longer.
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

/** A part that hangs, on a lock that a frozen replica holds, must not hold up the rest: nothing of it is needed again. */
async function closeWithin(log: FastifyBaseLogger, part: string, close: () => Promise<void>): Promise<void> {
  const late = sleep(CLOSE_MS, 'late' as const, { ref: false })
  if ((await Promise.race([close(), late])) === 'late') log.warn({ part }, 'a part did not close in time; it is left')
}

/** Tries until it works or the app closes. */
async function persist(
  begin: () => Promise<void>,
  { log, signal }: { log: FastifyBaseLogger; signal: AbortSignal }
): Promise<void> {
  while (!signal.aborted) {
    await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) return
    try {
      await begin()
      log.info('the store can be reached')
      return
    } catch (error) {
      log.warn({ err: error }, 'the store cannot be reached yet')
    }
  }
}
