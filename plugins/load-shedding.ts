import { monitorEventLoopDelay } from 'node:perf_hooks'
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
const MAX_LOOP_DELAY_MS = 300
/** Beyond it the garbage collector does most of the work, and soon the process ends. */
const MAX_HEAP_USED = 0.9
/** Requests that wait longer than this for a connection to the store only make the queue longer. */
const MAX_QUEUE_MS = 1_000
const SAMPLE_MS = 500
const RESOLUTION_MS = 10

/**
 * Answers 503 with `Retry-After` instead of beginning what would not end in time. Not `@fastify/under-pressure`: it does
 * not know the queue for the store, and what must be served all the same is decided by the route here.
 */
export const loadShedding = fp(
  async (app) => {
    const loopDelayMs = watchEventLoop((stop) => app.addHook('onClose', async () => stop()))
    let shedding = false
    app.addHook('onRequest', async (request, reply) => {
      if (request.routeOptions.config.osbPriority !== undefined) return
      const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
      const load = { loopDelayMs: loopDelayMs(), heapUsed: used / limit, queueMs: app.osbStorage.queueMs() }
      const overloaded =
        load.loopDelayMs > MAX_LOOP_DELAY_MS || load.heapUsed > MAX_HEAP_USED || load.queueMs > MAX_QUEUE_MS
      // One line for each change: a line for each refusal would be load, too.
      if (overloaded !== shedding)
        app.log.warn(load, overloaded ? 'overloaded: requests are refused' : 'load is normal')
      shedding = overloaded
      if (!overloaded) return
      return sendRefusal(refusals.unavailable('The broker is overloaded.'), request, reply)
    })
  },
  { name: 'osb-load-shedding', fastify: '5.x', dependencies: ['osb-errors', 'osb-storage'] }
)

/** By how much the turns of the event loop came late on the average, in the last sample. */
function watchEventLoop(onStop: (stop: () => void) => void): () => number {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  let delayMs = 0
  const sampler = setInterval(() => {
    delayMs = delays.count === 0 ? 0 : Math.max(0, delays.mean / 1e6 - RESOLUTION_MS)
    delays.reset()
  }, SAMPLE_MS).unref()
  delays.enable()
  onStop(() => {
    clearInterval(sampler)
    delays.disable()
  })
  return () => delayMs
}
