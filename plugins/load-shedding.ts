import { getHeapStatistics } from 'node:v8'
import fp from 'fastify-plugin'
import { refusals } from '../src/core/errors.ts'
import { sendRefusal } from './errors.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * Why a route is served under overload too. `probe`: an orchestrator would end a process that only has much to do;
     * `ending`: a poll or a delete lets work end that is there already, and a platform may take its failure for the end.
     */
    osbPriority?: 'probe' | 'ending'
  }
}

/** A request takes a good ten turns of the loop, and the least patient platform gives up after 10 s. */
const MAX_LOOP_DELAY_MS = 500
/** Of V8's limit, which counts some 200 MB for new objects in that cannot be used for others. */
const MAX_HEAP_USED = 0.5
/** Requests that wait longer than this for a connection to the store only make the queue longer. */
const MAX_QUEUE_MS = 1_000
const SAMPLE_MS = 100
const HEAP_SAMPLE_MS = 5
/** Of the latest sample in the average: one that comes a second late, as at a start, is no load. */
const SAMPLE_WEIGHT = 0.3

/**
 * Answers 503 with `Retry-After` instead of beginning what would not end in time. Not `@fastify/under-pressure`: it does
 * not know the queue for the store, and what must be served all the same is decided by the route here.
 */
export const loadShedding = fp(
  async (app) => {
    const loopDelayMs = watchEventLoop((stop) => app.addHook('onClose', async () => stop()))
    const heapUsed = watchHeap()
    let shedding = false
    app.addHook('onRequest', (request, reply, done) => {
      if (request.routeOptions.config.osbPriority !== undefined) {
        done()
        return
      }
      const load = { loopDelayMs: loopDelayMs(), heapUsed: heapUsed(), queueMs: app.osbStorage.queueMs() }
      const overloaded =
        load.loopDelayMs > MAX_LOOP_DELAY_MS || load.heapUsed > MAX_HEAP_USED || load.queueMs > MAX_QUEUE_MS
      // One line for each change: a line for each refusal would be load, too.
      if (overloaded !== shedding)
        app.log.warn(load, overloaded ? 'overloaded: requests are refused' : 'load is normal')
      shedding = overloaded
      if (overloaded) sendRefusal(refusals.unavailable('The broker is overloaded.'), request, reply)
      else done()
    })
  },
  { name: 'osb-load-shedding', fastify: '5.x', dependencies: ['osb-errors', 'osb-storage'] }
)

/** How much of V8's limit is used, as it was at most {@link HEAP_SAMPLE_MS} ago. */
function watchHeap(): () => number {
  let share = 0
  let sampledAt = Number.NEGATIVE_INFINITY
  return () => {
    const now = performance.now()
    if (now - sampledAt < HEAP_SAMPLE_MS) return share
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
    share = used / limit
    sampledAt = now
    return share
  }
}

/** By how much a timer comes late on the average. `monitorEventLoopDelay` counts nothing where turns are longer than samples. */
function watchEventLoop(onStop: (stop: () => void) => void): () => number {
  let delayMs = 0
  let due = performance.now() + SAMPLE_MS
  const sampler = setInterval(() => {
    const now = performance.now()
    delayMs += (Math.max(0, now - due) - delayMs) * SAMPLE_WEIGHT
    due = now + SAMPLE_MS
  }, SAMPLE_MS).unref()
  onStop(() => clearInterval(sampler))
  return () => delayMs
}
