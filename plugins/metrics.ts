import type { BatchObservableCallback } from '@opentelemetry/api'
import fp from 'fastify-plugin'
import type { LoadedCatalog } from '../src/core/catalog/index.ts'
import type { Census, ResourceCount } from '../src/core/census.ts'
import type { OperationKind } from '../src/core/store.ts'
import { meter } from '../src/telemetry/index.ts'

export interface MetricsOptions {
  readonly catalog: () => LoadedCatalog
}

/** Several readers that come at once, such as two Prometheus servers, share what is read from the store. */
const FRESH_MS = 5_000
const KINDS: readonly OperationKind[] = ['provision', 'update', 'deprovision', 'bind', 'unbind']

/**
 * Measures what the store holds, whenever metrics are collected and not otherwise. It is the whole store: every replica
 * tells the same, so that these are not to be summed over replicas.
 */
export const metrics = fp<MetricsOptions>(
  async (app, { catalog }) => {
    const { store } = app.osbStorage
    const unfinished = meter().createObservableGauge('osb.operations.unfinished', {
      description: 'Operations in progress, by kind; waiting: nobody works on them at the moment',
      unit: '{operation}'
    })
    const oldest = meter().createObservableGauge('osb.operations.oldest_waiting', {
      description: 'Age of the operation that nobody works on and that was asked for first; 0: there is none',
      unit: 's'
    })
    const instances = meter().createObservableGauge('osb.instances', {
      description: 'Service instances, by service offering, plan and status',
      unit: '{instance}'
    })
    const bindings = meter().createObservableGauge('osb.bindings', {
      description: 'Service bindings, by service offering, plan and status',
      unit: '{binding}'
    })

    let census: Promise<Census> | undefined
    let readAt = Number.NEGATIVE_INFINITY
    const read = () => {
      if (census !== undefined && performance.now() - readAt < FRESH_MS) return census
      readAt = performance.now()
      census = store.census()
      return census
    }

    const observe: BatchObservableCallback = async (result) => {
      if (!app.osbLifecycle.ready) return
      try {
        const { operations, oldestWaitingMs = 0, ...resources } = await read()
        for (const kind of KINDS) {
          for (const waiting of [true, false]) {
            const found = operations.find((count) => count.kind === kind && count.waiting === waiting)
            result.observe(unfinished, found?.count ?? 0, {
              'osb.operation.kind': kind,
              'osb.operation.waiting': waiting
            })
          }
        }
        result.observe(oldest, oldestWaitingMs / 1000)
        for (const count of resources.instances) result.observe(instances, count.count, labelsOf(catalog(), count))
        for (const count of resources.bindings) result.observe(bindings, count.count, labelsOf(catalog(), count))
      } catch (error) {
        app.log.warn({ err: error }, 'what the store holds could not be measured')
      }
    }
    const observed = [unfinished, oldest, instances, bindings]
    meter().addBatchObservableCallback(observe, observed)
    app.addHook('onClose', async () => meter().removeBatchObservableCallback(observe, observed))
  },
  { name: 'osb-metrics', fastify: '5.x', dependencies: ['osb-operations'] }
)

/** By name; by id what the catalog no longer has. */
function labelsOf(catalog: LoadedCatalog, { serviceId, planId, status }: ResourceCount) {
  const entry = catalog.plan(serviceId, planId)
  return {
    'osb.service': entry?.service.name ?? catalog.service(serviceId)?.name ?? serviceId,
    'osb.plan': entry?.plan.name ?? planId,
    'osb.status': status
  }
}
