import { TlsFileError } from './tls.ts'

/**
 * Errors of TLS that Node.js and node-postgres throw: of a certificate that is not trusted, of a server without TLS, of a
 * handshake that failed.
 */
const TLS_CODES =
  /^(?:ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|CRL_|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_EXCEEDED|EPROTO)/
const TLS_MESSAGES = /^(?:The server does not support SSL|There was an error establishing an SSL connection)/
/** A login that fails before the server has said why: the URL has no password, or the server is not the one it claims to be. */
const LOGIN_MESSAGES = /^SASL: /
/** Login refused, no such database. */
const LOGIN_STATES = /^(?:28...|3D000)$/
const NO_RIGHT = '42501'
/** PgBouncer has one SQLSTATE for all that it refuses. */
const POOLER_STATE = '08P01'
const POOLER_MESSAGES = /authentication failed|^no such (?:user|database)|^database ".*" does not exist|^auth failed/

/** Whether TLS is why a connection could not be opened. */
export function isTlsFailure(error: unknown): boolean {
  if (error instanceof TlsFileError) return true
  if (!(error instanceof Error)) return false
  return TLS_MESSAGES.test(error.message) || TLS_CODES.test(codeOf(error) ?? '')
}

/** Whether a server that was reached refused the login. */
export function isLoginFailure(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const code = codeOf(error) ?? ''
  if (code === POOLER_STATE) return POOLER_MESSAGES.test(error.message)
  return LOGIN_MESSAGES.test(error.message) || LOGIN_STATES.test(code)
}

/**
 * Why a server does not let the broker in, where only its operator or the configuration can change that: a wrong password, a
 * missing database, TLS. Undefined for any other error, such as one of a server that is down.
 */
export function refusalOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  if (isTlsFailure(error)) return `TLS: ${error.message}`
  if (error.message.includes('client password must be a')) return 'the server asks for a password, and none is given'
  return isLoginFailure(error) || codeOf(error) === NO_RIGHT ? error.message : undefined
}

/** A server refused the broker when it started: a mistake in the configuration, which waiting does not change. */
export class ConnectionRefused extends Error {
  override readonly name = 'ConnectionRefused'
  /** The option that has the connection URL. */
  readonly setting: string
  /** What the server, or Node.js, said. */
  readonly reason: string

  constructor(setting: string, reason: string, options?: ErrorOptions) {
    super(`${setting}: ${reason}`, options)
    this.setting = setting
    this.reason = reason
  }
}

/** SQLSTATE, or the code of a system error. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
