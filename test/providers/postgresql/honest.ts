import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { codeOf } from './hostile-session.ts'

/** How long anything honest may take while a tenant attacks, a retry as a pool or the framework does it included. */
export const BOUND_MS = 30_000

/**
 * Full for a moment: lock table, connections. An application's pool and the framework try again.
 * 57P03: the server restarts.
 */
const PASSING = new Set(['53200', '53300', '57P03'])
const RETRY_MS = 250

/** What honest tenants did while an attack was on. */
export class Honest {
  /** Milliseconds by step. */
  readonly steps = new Map<string, number>()
  retries = 0

  /**
   * Runs a step; once more after a failure that passes.
   * @throws when it does not end within the bound, naming the last failure
   */
  async step<T>(name: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const began = Date.now()
    const late = AbortSignal.timeout(BOUND_MS)
    let last: unknown
    try {
      for (;;) {
        const running = work(late)
        try {
          return await Promise.race([running, expiry(late)])
        } catch (error) {
          running.catch(() => undefined)
          if (late.aborted)
            throw new Error(`${name} did not end within ${BOUND_MS} ms: ${text(last ?? error)}`, {
              cause: last ?? error
            })
          if (!(error instanceof Unavailable) && !PASSING.has(codeOf(error)))
            throw new Error(`${name} failed: ${text(error)}`, { cause: error })
          last = error
          this.retries += 1
          await sleep(RETRY_MS)
        }
      }
    } finally {
      this.steps.set(name, Math.max(this.steps.get(name) ?? 0, Date.now() - began))
    }
  }
}

/** Logs in, writes and reads, as an application does; answers who it was. */
export async function useOnce(connectionString: string, statement: string): Promise<void> {
  const client = new Client({ connectionString, connectionTimeoutMillis: BOUND_MS })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query(statement)
  } finally {
    await client.end().catch(() => undefined)
  }
}

function expiry(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const expire = () => reject(signal.reason)
    if (signal.aborted) expire()
    signal.addEventListener('abort', expire, { once: true })
  })
}

function text(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause instanceof Error ? ` (${codeOf(error.cause)} ${error.cause.message})` : ''
  return `${codeOf(error)} ${error.message}${cause}`
}
