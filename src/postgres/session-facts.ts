import type pg from 'pg'
import type { SessionAttributes } from './connection-target.ts'

/** What the server bounds the statements of a session by, in milliseconds. */
export interface SessionBounds {
  readonly statementMs: number
  readonly lockMs: number
  readonly idleInTransactionMs: number
}

/** What a session says of itself when it has been opened. */
export interface SessionFacts {
  /** The backend of the session is the one that the login named: no pooler is between. */
  readonly direct: boolean
  readonly readOnly: boolean
  readonly inRecovery: boolean
  /** The bounds asked for are in force. */
  readonly bounded: boolean
}

function settingsOf({ statementMs, lockMs, idleInTransactionMs }: SessionBounds): [string, number][] {
  return [
    ['statement_timeout', statementMs],
    ['lock_timeout', lockMs],
    ['idle_in_transaction_session_timeout', idleInTransactionMs]
  ]
}

/** Startup options, as libpq takes them, which beat the defaults of the database and of the role. */
export function optionsOf(bounds: SessionBounds): string {
  return settingsOf(bounds)
    .map(([name, ms]) => `-c ${name}=${ms}`)
    .join(' ')
}

/** The same for one transaction; all that a pooler, or a host's pool, lets us set. */
export function localSettings(bounds: SessionBounds): string {
  return settingsOf(bounds)
    .map(([name, ms]) => `SET LOCAL ${name} = ${ms}`)
    .join('; ')
}

/**
 * Asks the session itself: a pooler may have ignored the startup options without a word, and a login succeeds on a standby too.
 * As text, because a host may have changed how node-postgres reads other types.
 */
export async function sessionFacts(
  client: pg.Client,
  loginPid: number | undefined,
  bounds: SessionBounds | undefined
): Promise<SessionFacts> {
  const inForce = settingsOf(bounds ?? { statementMs: 0, lockMs: 0, idleInTransactionMs: 0 }).map(
    ([name, ms]) => `current_setting('${name}')::interval = interval '${ms} milliseconds'`
  )
  const { rows } = await client.query<Record<'pid' | 'read_only' | 'recovery' | 'bounded', string>>(
    `SELECT pg_backend_pid()::text AS pid, current_setting('transaction_read_only') AS read_only,
      pg_is_in_recovery()::text AS recovery, (${inForce.join(' AND ')})::text AS bounded`
  )
  const [row] = rows
  return {
    direct: row?.pid === String(loginPid),
    readOnly: row?.read_only !== 'off',
    inRecovery: row?.recovery !== 'false',
    bounded: bounds !== undefined && row?.bounded === 'true'
  }
}

/** @throws with SQLSTATE 25006 when the session is not one that the connection URL asks for */
export function requireUsable({ readOnly, inRecovery }: SessionFacts, attributes: SessionAttributes): void {
  const usable = attributes === 'any' || (attributes === 'primary' ? !inRecovery : !readOnly)
  if (usable) return
  const message = `the server takes no writes, and target_session_attrs is ${attributes}`
  throw Object.assign(new Error(message), { code: '25006', severity: 'FATAL' })
}
