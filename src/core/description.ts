import type { OperationState } from '../../schemas/last-operation.ts'
import type { InstanceReply } from '../../schemas/service-instance.ts'
import { refusals } from './errors.ts'
import type { Stage } from './perform.ts'
import type { Description, TaskLog } from './provider.ts'
import type { InstanceRecord, OperationKind } from './store.ts'
import { LATE, orLate } from './time-limits.ts'

/** What the owner of an instance may know of it beside what the specification lets one fetch. */
export interface InstanceDescription extends Description {
  readonly bindings: readonly DescribedBinding[]
  /** The latest of the instance and its bindings, newest first. */
  readonly operations: readonly DescribedOperation[]
}

/** A binding that was made to the end. */
export interface DescribedBinding {
  readonly bindingId: string
  readonly createdAt: Date
  readonly expiresAt?: Date
}

/** One operation, as `last_operation` tells it. */
export interface DescribedOperation {
  readonly kind: OperationKind
  readonly bindingId?: string
  readonly state: OperationState
  readonly description?: string
  readonly createdAt: Date
  readonly finishedAt?: Date
}

const OPERATIONS = 10
/** How long a provider may take to describe an instance, and to stop when it is aborted, in milliseconds. */
const DESCRIBE_MS = 5_000
const DESCRIBE_GRACE_MS = 500

/** How long a fetch waits for the labels of the provider, in milliseconds. */
const LABELS_MS = 1_000

/**
 * The metadata of an instance with the labels that the provider adds now. A fetch must not fail, or wait long, because the
 * provider cannot answer.
 */
export async function currentMetadata(
  { providers, catalog }: Stage,
  { instanceId, serviceId, planId, parameters, state, provider: name, metadata }: InstanceRecord,
  log: TaskLog
): Promise<Pick<InstanceReply, 'metadata'>> {
  const provider = providers.get(name)
  const entry = catalog().plan(serviceId, planId)
  const stored = metadata === undefined ? {} : { metadata }
  if (provider?.labels === undefined || entry === undefined || state === undefined) return stored
  const { options } = entry
  try {
    const signal = AbortSignal.timeout(LABELS_MS)
    const labels = await orLate(provider.labels({ instanceId, options, parameters, state, log, signal }), LABELS_MS)
    if (labels === LATE || Object.keys(labels).length === 0) return stored
    return { metadata: { ...metadata, labels: { ...metadata?.labels, ...labels } } }
  } catch (error) {
    log.warn(
      { err: error, instance: instanceId, provider: name },
      'the provider could not say the labels of an instance'
    )
    return stored
  }
}

/** Asks the provider, which may take a while, and adds what the store knows. */
export async function describeInstance(
  stage: Stage,
  { instanceId, platform, serviceId, planId, parameters, state, provider }: InstanceRecord,
  log: TaskLog
): Promise<InstanceDescription> {
  const { store, providers, catalog } = stage
  const entry = catalog().plan(serviceId, planId)
  const { describe } = providers.get(provider) ?? {}
  const asked =
    describe === undefined || entry === undefined || state === undefined
      ? { measures: [] }
      : await orLate(
          describe.call(providers.get(provider), {
            instanceId,
            options: entry.options,
            parameters,
            state,
            log,
            signal: AbortSignal.timeout(DESCRIBE_MS)
          }),
          DESCRIBE_MS + DESCRIBE_GRACE_MS
        )
  if (asked === LATE) throw refusals.unavailable('The provider did not describe the service instance in time.')
  const bindings = await store.listBindings(instanceId)
  const operations = await store.recentOperations(platform, instanceId, OPERATIONS)
  return {
    ...asked,
    bindings: bindings
      .filter(({ status }) => status === 'ready')
      .map(({ bindingId, createdAt, expiresAt }) => {
        return { bindingId, createdAt, ...(expiresAt === undefined ? {} : { expiresAt }) }
      }),
    operations: operations.map(({ kind, bindingId, state: ended, description, createdAt, finishedAt }) => ({
      kind,
      state: ended,
      createdAt,
      ...(bindingId === undefined ? {} : { bindingId }),
      ...(description === undefined ? {} : { description }),
      ...(finishedAt === undefined ? {} : { finishedAt })
    }))
  }
}
