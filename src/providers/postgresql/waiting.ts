import type { TaskLog } from '../../core/provider.ts'

/** How long something may wait before the broker looks for what blocks it, in milliseconds. */
const GRACE_MS = 500
/** How often it looks again, in milliseconds. */
const INTERVAL_MS = 250

/**
 * Waits for a promise. After a grace period, ends what blocks it, again and again until the promise settles. The wait itself is
 * not repeated for that, because it would lose its place in the queue of a lock.
 */
export async function unblocked<T>(
  running: Promise<T>,
  { log, unblock }: { log: TaskLog; unblock: (waitedMs: number) => Promise<unknown> }
): Promise<T> {
  const began = performance.now()
  let waiting = true
  const look = async () => {
    try {
      await unblock(performance.now() - began)
    } catch (error) {
      log.debug({ reason: String(error) }, 'What blocks the broker could not be found or ended.')
    }
    if (waiting) timer = setTimeout(look, INTERVAL_MS)
  }
  let timer = setTimeout(look, GRACE_MS)
  try {
    return await running
  } finally {
    waiting = false
    clearTimeout(timer)
  }
}
