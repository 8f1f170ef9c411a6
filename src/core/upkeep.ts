import type { Operations } from './operations.ts'
import type { Stage } from './perform.ts'
import type { Finding, ServiceProvider, TaskLog, Upkeep as UpkeepContext } from './provider.ts'
import { standingInstance, standingInstances } from './standing.ts'

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

/** Lets the store tidy up, and each provider look over its instances. A failure of one does not stop the others. */
export async function watchInstances(stage: Stage, { signal, log }: UpkeepOptions): Promise<void> {
  await stage.store.tidy?.().catch((error: unknown) => {
    log.warn({ err: error }, 'the store could not tidy up; it tries again in a minute')
  })
  for (const provider of stage.providers.values()) {
    const line = providerLog(log, provider)
    try {
      await provider.watch?.({
        ...context(stage, { signal, log: line }),
        instances: (choice) => standingInstances(stage, provider.name, choice)
      })
    } catch (error) {
      if (signal.aborted) return
      line.warn({ err: error }, 'a watch over the instances failed; the next one is in a minute')
    }
  }
}

/**
 * Compares the instances of every provider with what was agreed, and heals what differs where `heal` is set. An instance that
 * cannot be looked at is a finding itself.
 */
export async function* repairInstances(
  stage: Stage,
  { heal, signal, log }: UpkeepOptions & { readonly heal: boolean }
): AsyncGenerator<InstanceFinding> {
  for (const provider of stage.providers.values()) {
    const { name, repair } = provider
    if (repair === undefined) continue
    const around = context(stage, { signal, log: providerLog(log, provider) })
    for await (const instance of standingInstances(stage, name)) {
      if (signal.aborted) return
      const { instanceId } = instance
      try {
        const findings = await repair.call(provider, { ...around, instance, heal })
        for (const finding of findings) {
          yield { provider: name, instanceId, ...finding }
          if (finding.healed) await stage.store.audit?.noteRepair(instanceId, `${finding.resource} ${finding.finding}`)
        }
      } catch (error) {
        if (signal.aborted) return
        around.log.warn({ err: error, instance: instanceId }, 'an instance could not be looked at')
        const finding = `could not be looked at: ${error instanceof Error ? error.message : 'unknown error'}`
        yield { provider: name, instanceId, resource: 'instance', finding, healed: false }
      }
    }
  }
}

/**
 * Revokes the credentials of bindings whose time is up, as an operation of its own that the platform does not see. The
 * bindings stay, for the platform to unbind.
 */
export async function revokeExpired(operations: Operations): Promise<number> {
  const expired = await operations.options.store.expiredBindings()
  for (const { instanceId, bindingId, platform } of expired) {
    const operation = operations.newOperation({
      kind: 'unbind',
      platform,
      instanceId,
      bindingId,
      async: true,
      internal: true
    })
    // `busy` and `changed` need no answer: whatever is under way ends, and the next round looks again.
    await operations.start({ operation })
  }
  return expired.length
}

function context(stage: Stage, { signal, log }: UpkeepOptions): UpkeepContext {
  return { signal, log, refresh: (instanceId) => standingInstance(stage, instanceId) }
}

function providerLog(log: TaskLog, { name: provider }: ServiceProvider): TaskLog {
  return {
    debug: (fields, message) => log.debug({ provider, ...fields }, message),
    info: (fields, message) => log.info({ provider, ...fields }, message),
    warn: (fields, message) => log.warn({ provider, ...fields }, message),
    error: (fields, message) => log.error({ provider, ...fields }, message)
  }
}
