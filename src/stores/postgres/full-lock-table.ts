import { setTimeout as delay } from 'node:timers/promises'
import { Unavailable } from '../../core/provider.ts'
import { sqlState } from './trouble.ts'

/** Less than the time of a call of the store. */
const REPEAT_MS = 4_000
const PAUSE_MS = 100

/**
 * Whether a statement or a login failed because the lock table of the server, which all of its databases share, is full. A
 * connection is of use afterwards.
 */
export function isLockTableFull(error: unknown): boolean {
  return sqlState(error instanceof Unavailable ? error.cause : error) === '53200'
}

/**
 * Repeats work while the lock table is full: a tenant of the same server fills it within a second, and the guard of the
 * provider ends that within seconds. A platform that got 503 for it would give up a create.
 * @param may whether the work that failed may be repeated
 */
export async function repeated<T>(work: () => Promise<T>, may = () => true): Promise<T> {
  for (const until = performance.now() + REPEAT_MS; ; await delay(PAUSE_MS)) {
    try {
      return await work()
    } catch (error) {
      if (!isLockTableFull(error) || !may() || performance.now() > until) throw error
    }
  }
}
