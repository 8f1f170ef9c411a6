import type { Stage } from './perform.ts'
import type { StandingBinding, StandingInstance, WatchChoice } from './provider.ts'
import type { BindingRecord, InstanceRecord } from './store.ts'
import type { StoredResource } from './stored-resource.ts'

/** The instances of a provider that were made to the end, and whose plan is in the catalog. */
export async function* standingInstances(
  stage: Stage,
  provider: string,
  { where = () => true, bindings = true }: WatchChoice = {}
): AsyncGenerator<StandingInstance> {
  const wanted = stage.catalog().plans.filter((entry) => entry.provider.name === provider && where(entry.options))
  const plans = wanted.map(({ plan }) => plan.id)
  let current: { instance: StoredResource; bindings: StandingBinding[] } | undefined
  for await (const resource of stage.store.listResources(provider, { plans, bindings })) {
    if (resource.bindingId !== undefined) {
      current?.bindings.push(...standingBinding({ ...resource, bindingId: resource.bindingId }, false))
      continue
    }
    if (current !== undefined) yield* standing(stage, current.instance, current.bindings)
    current = { instance: resource, bindings: [] }
  }
  if (current !== undefined) yield* standing(stage, current.instance, current.bindings)
}

/** One instance as it is now; undefined when it is not there, or an operation on it is unfinished. */
export async function standingInstance(stage: Stage, instanceId: string): Promise<StandingInstance | undefined> {
  const { store } = stage
  const before = await store.unfinishedOperation(instanceId)
  if (before !== undefined) return undefined
  const instance = await store.getInstance(instanceId)
  if (instance === undefined) return undefined
  return standing(stage, instance, await standingBindings(stage, instanceId))[0]
}

/** The bindings of an instance as they are now. */
export async function standingBindings({ store }: Stage, instanceId: string): Promise<StandingBinding[]> {
  const bindings: StandingBinding[] = []
  for (const binding of await store.listBindings(instanceId)) {
    const unfinished = await store.unfinishedOperation(instanceId, binding.bindingId)
    bindings.push(...standingBinding(binding, unfinished !== undefined))
  }
  return bindings
}

function standing(
  { catalog }: Stage,
  instance: Pick<InstanceRecord, 'instanceId' | 'serviceId' | 'planId' | 'parameters' | 'status' | 'state'>,
  bindings: readonly StandingBinding[]
): StandingInstance[] {
  const { instanceId, parameters, status, state } = instance
  const entry = catalog().plan(instance.serviceId, instance.planId)
  if (status !== 'ready' || state === undefined || entry === undefined) return []
  return [{ instanceId, parameters, state, options: entry.options, bindings }]
}

/** A binding that has no state has nothing outside. */
function standingBinding(
  binding: Pick<BindingRecord, 'bindingId' | 'parameters' | 'state' | 'status' | 'revokedAt' | 'expired'>,
  unfinished: boolean
): StandingBinding[] {
  const { bindingId, parameters, state, status, revokedAt, expired } = binding
  if (state === undefined) return []
  const valid = status === 'ready' && revokedAt === undefined && expired !== true
  return [{ bindingId, parameters, state, settled: valid && !unfinished }]
}
