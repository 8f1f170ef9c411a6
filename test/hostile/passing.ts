import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf } from '../providers/postgresql/hostile-session.ts'
import type { Journal } from './journal.ts'
import { BOUND_MS } from './requests.ts'

/** The lock table or the connections are full for a moment: a pool tries again. */
const PASSING = new Set(['53200', '53300'])
const RETRY_MS = 250

/** Repeats work on a connection as an application does, and counts that. */
export async function passing<T>(journal: Journal, work: () => Promise<T>): Promise<T> {
  for (const end = Date.now() + BOUND_MS; ; await sleep(RETRY_MS)) {
    try {
      return await work()
    } catch (error) {
      const code = codeOf(error)
      if (!PASSING.has(code) || Date.now() > end) throw error
      journal.retry(code)
    }
  }
}
