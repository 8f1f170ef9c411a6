import { Unavailable } from '../../core/provider.ts'
import { codeOf, isLoginFailure, isTlsFailure } from '../../postgres/refusal.ts'

/** Connections that node-postgres or the network lost. */
const LOST_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'EMFILE',
  'ENFILE'
])

/** node-postgres throws these without a code. */
const LOST_MESSAGES =
  /^Connection terminated|^timeout e|^Query read timeout|not queryable$|^Cannot use a pool after calling end|^The server does not support SSL|^Client was closed/

/**
 * SQLSTATEs of a server that is away, starting, stopping, full, in recovery or read-only after a failover, and of idle timeouts.
 */
const LOST_STATES = /^(08...|53...|57P..|58...|25P03|25P04|25006|55000)$/
/** Out of shared memory, which means a full lock table, and too many connections. */
const FULL_STATES = new Set(['53200', '53300'])
const BUSY_STATES = new Set(['40001', '40P01', '55P03', '57014'])

/** The SQLSTATE of an error of the server. */
export function sqlState(error: unknown): string | undefined {
  const code = codeOf(error)
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code) && hasSeverity(error) ? code : undefined
}

/**
 * `Unavailable` for an error that says nothing about the statement but that the database could not be used; any other
 * error as it is. What was asked for may have been committed all the same, when the answer to a COMMIT was lost.
 */
export function asUnavailable(error: unknown): unknown {
  if (error instanceof Unavailable) return error
  const state = sqlState(error)
  if (state !== undefined && BUSY_STATES.has(state)) {
    return new Unavailable('The database of the broker is too busy.', { cause: error })
  }
  return isLost(error) ? unreachable(error) : error
}

/**
 * Whether what failed for several may be the fault of one of them: of its data, or of a lock that it waited for too long.
 * Nothing has been written then, and each may be tried alone.
 */
export function isOfOne(error: unknown): boolean {
  const state = sqlState(error instanceof Unavailable ? error.cause : error)
  return state !== undefined && (/^2[23]/.test(state) || BUSY_STATES.has(state))
}

/** Whether the server had no room for the work, so that it was rolled back and can be repeated in a moment. */
export function isFull(error: unknown): boolean {
  const state = sqlState(error instanceof Unavailable ? error.cause : error)
  return state !== undefined && FULL_STATES.has(state)
}

export function unreachable(cause: unknown): Unavailable {
  return new Unavailable('The broker cannot reach its database.', { cause })
}

/**
 * Whether the connection is of no more use. Rejected logins and TLS failures count, because a working deployment meets them
 * while its servers are replaced or restored, or a certificate is renewed.
 */
export function isLost(error: unknown): boolean {
  if (isLoginFailure(error) || isTlsFailure(error)) return true
  const state = sqlState(error)
  if (state !== undefined) return LOST_STATES.test(state)
  const code = codeOf(error)
  if (code !== undefined && LOST_CODES.has(code)) return true
  // Of a socket in the file system that is not there; elsewhere ENOENT means a lost file.
  if (code === 'ENOENT' && error instanceof Error && 'syscall' in error && error.syscall === 'connect') return true
  return error instanceof Error && LOST_MESSAGES.test(error.message)
}

function hasSeverity(error: unknown): boolean {
  return error instanceof Error && 'severity' in error
}
