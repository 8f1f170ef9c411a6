import { maximumMsOf } from './durations.ts'
import type { Operations } from './operations.ts'
import type { Stage } from './perform.ts'
import type { Finding, ServiceProvider, TaskLog, Upkeep as UpkeepContext, WatchChoice } from './provider.ts'
import { standingInstance, standingInstances } from './standing.ts'
import { LATE, orLate } from './time-limits.ts'
import { abortReasons, GRACE_MS } from './watchdog.ts'

/** A finding, and whose it is. */
export interface InstanceFinding extends Finding {
  readonly provider: string
  readonly instanceId: string
}

/** What looks after instances needs of the broker. */
export interface UpkeepOptions {
  readonly signal: AbortSignal
  readonly log: TaskLog
}

/** How long a provider may watch its instances, and how long the repair of one instance may take, in milliseconds. */
const WATCH_MS = 10 * 60_000
const REPAIR_MS = 5 * 60_000
/** No revocation starts after this time of a round, because each fails slowly while the database hangs. */
const REVOKE_MS = 45_000

/** Lets the providers watch their instances. One that fails or hangs does not stop the others, or the next round. */
export class Watches {
  readonly #stage: Stage & { readonly log: TaskLog }
  /** Providers whose watch has not ended, by name. */
  readonly #running = new Set<string>()

  constructor(stage: Stage & { readonly log: TaskLog }) {
    this.#stage = stage
  }

  /** One round over all providers. It skips a provider whose last watch still runs. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([...this.#stage.providers.values()].map((provider) => this.#watch(provider, signal)))
  }

  async #watch(provider: ServiceProvider, signal: AbortSignal): Promise<void> {
    const { name, watch } = provider
    if (watch === undefined) return
    const log = providerLog(this.#stage.log, provider)
    if (this.#running.has(name)) {
      log.error({}, 'the last watch of a provider still runs; this round skips it')
      return
    }
    this.#running.add(name)
    const limit = limited(signal, WATCH_MS)
    const round = {
      ...context(this.#stage, { signal: limit.signal, log }),
      instances: (choice?: WatchChoice) => standingInstances(this.#stage, name, choice)
    }
    // As an asynchronous function, because a watch may also throw at once.
    const watching = (async () => watch.call(provider, round))().finally(() => this.#running.delete(name))
    try {
      if ((await orLate(watching, WATCH_MS + GRACE_MS)) === LATE) {
        log.error({ minutes: WATCH_MS / 60_000 }, 'the watch of a provider ignores its abort; it is left to itself')
      }
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, 'a watch over the instances failed; the next one is in a minute')
    } finally {
      limit.cancel()
    }
  }
}

/** A signal that also aborts after `ms` milliseconds. */
function limited(signal: AbortSignal, ms: number): { signal: AbortSignal; cancel(): void } {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(abortReasons.overtime), ms).unref()
  return { signal: AbortSignal.any([signal, controller.signal]), cancel: () => clearTimeout(timer) }
}

/**
 * Compares the instances of every provider with what was agreed, and repairs differences if `heal` is set. An instance that
 * cannot be inspected in time is a finding itself.
 */
export async function* repairInstances(
  stage: Stage,
  { heal, signal, log }: UpkeepOptions & { readonly heal: boolean }
): AsyncGenerator<InstanceFinding> {
  for (const provider of stage.providers.values()) {
    const { name, repair } = provider
    if (repair === undefined) continue
    const line = providerLog(log, provider)
    for await (const instance of standingInstances(stage, name)) {
      if (signal.aborted) return
      const { instanceId } = instance
      const limit = limited(signal, REPAIR_MS)
      try {
        const task = { ...context(stage, { signal: limit.signal, log: line }), instance, heal }
        const findings = await orLate(repair.call(provider, task), REPAIR_MS + GRACE_MS)
        if (findings === LATE) throw new Error(`no result within ${REPAIR_MS / 60_000} minutes`)
        for (const finding of findings) {
          yield { provider: name, instanceId, ...finding }
          if (finding.healed) await stage.store.audit?.noteRepair(instanceId, `${finding.resource} ${finding.finding}`)
        }
      } catch (error) {
        if (signal.aborted) return
        line.warn({ err: error, instance: instanceId }, 'an instance could not be looked at')
        const finding = `could not be looked at: ${error instanceof Error ? error.message : 'unknown error'}`
        yield { provider: name, instanceId, resource: 'instance', finding, healed: false }
      } finally {
        limit.cancel()
      }
    }
  }
}

/**
 * Revokes the credentials of bindings whose time is up, as an operation of its own that the platform does not see. The
 * bindings stay, for the platform to unbind.
 */
export async function revokeExpired(operations: Operations): Promise<number> {
  const { store, catalog, log } = operations.options
  const until = performance.now() + REVOKE_MS
  let revoked = 0
  for (const binding of await store.expiredBindings()) {
    if (operations.stopping || performance.now() >= until) return revoked
    const { serviceId, planId, instanceId, bindingId } = binding
    const operation = operations.newOperation({
      ...binding,
      kind: 'unbind',
      async: true,
      internal: true,
      maximumMs: maximumMsOf(catalog().plan(serviceId, planId))
    })
    try {
      // `busy` and `changed` need no answer: the operation in the way ends, and the next round looks again.
      const { result } = await operations.start({ operation })
      if (result === 'started') revoked += 1
    } catch (error) {
      const ids = { instance: instanceId, binding: bindingId }
      log.warn({ err: error, ...ids }, 'an expired binding could not be revoked; the next round tries again')
    }
  }
  return revoked
}

function context(stage: Stage, { signal, log }: UpkeepOptions): UpkeepContext {
  return { signal, log, refresh: (instanceId) => standingInstance(stage, instanceId) }
}

/** What a provider gets at its start. */
export function startContext({ store, log }: Pick<Stage, 'store'> & { log: TaskLog }, provider: ServiceProvider) {
  const audit = async (instanceId: string, description: string) => {
    await store.audit?.noteGuard(instanceId, description)
  }
  return { log: providerLog(log, provider), audit }
}

function providerLog(log: TaskLog, { name: provider }: ServiceProvider): TaskLog {
  return {
    debug: (fields, message) => log.debug({ provider, ...fields }, message),
    info: (fields, message) => log.info({ provider, ...fields }, message),
    warn: (fields, message) => log.warn({ provider, ...fields }, message),
    error: (fields, message) => log.error({ provider, ...fields }, message)
  }
}
