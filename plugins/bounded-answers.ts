import type { FastifyInstance, FastifyRequest } from 'fastify'
import { refusals } from '../src/core/errors.ts'
import { sendRefusal } from './errors.ts'

/** Answers that are on their way at once. The parts of one page are fewer. */
const MAX_ANSWERS = 32
/** An answer that takes longer makes room for a new one, because its client probably does not read it. */
const STALLED_MS = 5_000

/**
 * Bounds how many answers of the routes of this scope are on their way at once. They are large and need no credentials, and the
 * process keeps what a client does not read in memory. When the bound is reached, the connection of the oldest answer is
 * closed if that answer has stalled; otherwise the request is answered 503.
 */
export function boundAnswers(app: FastifyInstance): void {
  /** When each began; oldest first. */
  const begun = new Map<FastifyRequest, number>()
  app.addHook('onRequest', (request, reply, done) => {
    const [oldest] = begun
    if (begun.size >= MAX_ANSWERS && oldest !== undefined) {
      const [stalled, at] = oldest
      if (performance.now() - at < STALLED_MS) {
        sendRefusal(refusals.unavailable('Too many clients read the documentation at the moment.'), request, reply)
        return
      }
      begun.delete(stalled)
      stalled.raw.socket.destroy()
    }
    begun.set(request, performance.now())
    done()
  })
  // Also runs when a client has closed the connection before the end of its answer.
  app.addHook('onResponse', (request, _reply, done) => {
    begun.delete(request)
    done()
  })
}
