import type { JsonObject } from '../../schemas/common.ts'
import type { CatalogPlan } from './catalog/index.ts'
import type { Attempt, Stage } from './perform.ts'
import type { RemovalTask, Task } from './provider.ts'
import { storableText } from './provider-errors.ts'
import { requireState } from './results.ts'
import type { BindingRecord, InstanceRecord } from './store.ts'

/** The fields that every task has. `saveState` writes to the resource of the operation. */
export function baseTask(stage: Stage, attempt: Attempt, record: InstanceRecord | BindingRecord): Task {
  const { operation, claim, signal, log, secrets } = attempt
  secrets.addState(record.state)
  return {
    operationId: operation.operationId,
    instanceId: operation.instanceId,
    platform: record.platform,
    context: record.context,
    originatingIdentity: operation.originatingIdentity,
    state: record.state,
    attempt: attempt.number,
    signal,
    log,
    saveState: (state) => saveState(stage, attempt, state),
    progress: (text) => handled(stage.store.progress(claim, storableText(secrets.hideIn(text)))),
    conceal: (secret) => secrets.add(secret)
  }
}

/** The same for a binding; `saveState` writes to the binding. */
export function bindingTask(stage: Stage, attempt: Attempt, binding: BindingRecord): Task {
  attempt.secrets.addCredentials(binding.reply?.credentials)
  return {
    ...baseTask(stage, attempt, binding),
    saveState: (state) => saveState(stage, attempt, state, binding.bindingId)
  }
}

function saveState(...given: Parameters<typeof checkAndSaveState>): Promise<void> {
  return handled(checkAndSaveState(...given))
}

async function checkAndSaveState(
  { store }: Stage,
  { claim, secrets }: Attempt,
  ...[state, bindingId]: [state: JsonObject, bindingId?: string]
): Promise<void> {
  requireState(state)
  secrets.addState(state)
  await store.saveState(claim, state, bindingId)
}

/** A provider may not wait for the call. Without a handler, its failure after a cancel would end the process. */
function handled(work: Promise<void>): Promise<void> {
  work.catch(() => undefined)
  return work
}

/** The fields of a task whose plan is in the catalog. */
export function catalogPart(entry: CatalogPlan) {
  return { service: entry.service, plan: entry.plan, options: entry.options }
}

/** The fields of a delete, whose plan may have left the catalog. */
export function removalPart(
  stage: Stage,
  record: { serviceId: string; planId: string }
): Pick<RemovalTask, 'service' | 'plan' | 'options'> {
  const entry = stage.catalog().plan(record.serviceId, record.planId)
  return {
    service: entry?.service ?? stage.catalog().service(record.serviceId),
    plan: entry?.plan,
    options: entry?.options ?? {}
  }
}
