import type { Pool } from 'pg'
import { type BoundedPoolConfig, openPool, parseConnectionUrl, settingsOf } from '../../postgres/index.ts'
import { stateBounds } from './transactions.ts'

/** How long a request waits for a connection before it is answered 503, in milliseconds. */
const CONNECT_MS = 3_000
/** Long enough for a migration behind a pooler, where a connection cannot be checked. Other calls have short timeouts. */
const SILENCE_MS = 3_600_000

/**
 * Settings of a pool on the database of the broker's own state.
 * @param url The connection URL, and the variable or option that contains it.
 * @throws {ConnectionUrlError} when the URL cannot be used
 */
export function stateSettings(url: { text: string; name: string }, more: BoundedPoolConfig): BoundedPoolConfig {
  return settingsOf(parseConnectionUrl(url.text, url.name), {
    bounds: stateBounds,
    connectionTimeoutMillis: CONNECT_MS,
    silenceMs: SILENCE_MS,
    ...more
  })
}

/** A pool on the database of the broker's own state, for a command of the program. */
export function openStatePool(url: { text: string; name: string }, more: BoundedPoolConfig): Pool {
  return openPool(stateSettings(url, more))
}
