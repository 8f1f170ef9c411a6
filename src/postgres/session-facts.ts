import type pg from 'pg'
import type { SessionAttributes } from './connection-target.ts'

/** Timeouts of a session on the server, in milliseconds. */
export interface SessionBounds {
  readonly statementMs: number
  readonly lockMs: number
  readonly idleInTransactionMs: number
}

/** Properties of a new session. */
export interface SessionFacts {
  /** Whether the login and a later query report the same backend. Behind a pooler they differ. */
  readonly direct: boolean
  readonly readOnly: boolean
  readonly inRecovery: boolean
  /** Whether the requested bounds are in force. */
  readonly bounded: boolean
}

function settingsOf({ statementMs, lockMs, idleInTransactionMs }: SessionBounds): [string, number][] {
  return [
    ['statement_timeout', statementMs],
    ['lock_timeout', lockMs],
    ['idle_in_transaction_session_timeout', idleInTransactionMs]
  ]
}

/** Startup options in the syntax of libpq. They take precedence over settings of the database and the role. */
export function optionsOf(bounds: SessionBounds): string {
  return settingsOf(bounds)
    .map(([name, ms]) => `-c ${name}=${ms}`)
    .join(' ')
}

/** Statements that set the bounds for one transaction, for connections of a pooler or of a host application. */
export function localSettings(bounds: SessionBounds): string {
  return settingsOf(bounds)
    .map(([name, ms]) => `SET LOCAL ${name} = ${ms}`)
    .join('; ')
}

/**
 * Queries the session, because a pooler can ignore startup options silently, and a standby accepts logins too. All columns are
 * text, because a host application can change how node-postgres parses other types.
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

/** @throws with SQLSTATE 25006 when the session does not have the attributes */
export function requireUsable({ readOnly, inRecovery }: SessionFacts, attributes: SessionAttributes): void {
  const usable = attributes === 'any' || (attributes === 'primary' ? !inRecovery : !readOnly)
  if (usable) return
  const message = `the server takes no writes, and target_session_attrs is ${attributes}`
  throw Object.assign(new Error(message), { code: '25006', severity: 'FATAL' })
}
