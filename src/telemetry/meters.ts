import { type Attributes, createNoopMeter, type Histogram, type Meter, metrics } from '@opentelemetry/api'
import { SCOPE } from './scope.ts'

/**
 * What makes instruments. An SDK has to be registered before: unlike a tracer, a meter does not become another one
 * later, and without an SDK it measures nothing.
 */
export function meter(): Meter {
  return metrics.getMeter(SCOPE)
}

/** Whether an SDK is registered that what instruments tell goes to. */
export function isMeasured(): boolean {
  return meter() !== createNoopMeter()
}

/** Bounds of what takes milliseconds to seconds (semantic conventions: `http.server.request.duration`). */
export const SECONDS_OF_CALLS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
/** Bounds of what takes up to an hour. */
export const SECONDS_OF_OPERATIONS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600]

/** A histogram of durations. */
export function durations(name: string, description: string, boundaries: number[]): Histogram {
  return meter().createHistogram(name, { description, unit: 's', advice: { explicitBucketBoundaries: boundaries } })
}

/** Seconds since `began`, which `performance.now()` told. */
export function secondsSince(began: number): number {
  return (performance.now() - began) / 1000
}

/** What a pool of connections says of itself; `pg.Pool` does. */
export interface PoolCounts {
  readonly totalCount: number
  readonly idleCount: number
  readonly waitingCount: number
}

/** Measures a pool until the function that is returned is called. */
export function observePool(name: string, pool: PoolCounts): () => void {
  const instruments = meter()
  const connections = instruments.createObservableUpDownCounter('db.client.connection.count', {
    description: 'Connections of a pool, by state',
    unit: '{connection}'
  })
  const pending = instruments.createObservableUpDownCounter('db.client.connection.pending_requests', {
    description: 'Callers that wait for a connection of a pool',
    unit: '{request}'
  })
  const labels: Attributes = { 'db.client.connection.pool.name': name }
  const observed = [connections, pending]
  const observe = (result: Parameters<Parameters<Meter['addBatchObservableCallback']>[0]>[0]) => {
    const { totalCount, idleCount, waitingCount } = pool
    result.observe(connections, idleCount, { ...labels, 'db.client.connection.state': 'idle' })
    result.observe(connections, totalCount - idleCount, { ...labels, 'db.client.connection.state': 'used' })
    result.observe(pending, waitingCount, labels)
  }
  instruments.addBatchObservableCallback(observe, observed)
  return () => instruments.removeBatchObservableCallback(observe, observed)
}
