import { refusals } from '../../src/core/errors.ts'
import { type Derive, derive } from '../../src/platforms/index.ts'

/** libuv has four threads for everything; the other two are left for files and names of hosts. */
const AT_ONCE = 2
/** What waits is answered within a few seconds. */
const WAITING = 16
const RETRY_SECONDS = 2

/**
 * scrypt with a bound on the runs at once, each of which takes a thread and tens of megabytes.
 * @throws {BrokerError} 503 when as many as may wait are waiting
 */
export function boundedScrypt(): Derive {
  const waiting: (() => void)[] = []
  let running = 0
  const turn = async () => {
    if (running < AT_ONCE) {
      running += 1
      return
    }
    if (waiting.length >= WAITING) {
      throw refusals.unavailable('Too many passwords are being checked at once.', RETRY_SECONDS)
    }
    // Who is done hands its place on.
    await new Promise<void>((resolve) => waiting.push(resolve))
  }
  const done = () => {
    const next = waiting.shift()
    if (next === undefined) running -= 1
    else next()
  }
  return async (password, hash) => {
    await turn()
    try {
      return await derive(password, hash)
    } finally {
      done()
    }
  }
}
