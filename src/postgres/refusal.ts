import { TlsFileError } from './tls.ts'

/** Codes and messages of TLS errors in Node.js and node-postgres. */
const TLS_CODES =
  /^(?:ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|CRL_|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_EXCEEDED|EPROTO)/
const TLS_MESSAGES = /^(?:The server does not support SSL|There was an error establishing an SSL connection)/
/** Errors of node-postgres during a login: no password in the URL, or a server that does not know the password. */
const LOGIN_MESSAGES = /^SASL: /
/** Login rejected, or no such database. */
const LOGIN_STATES = /^(?:28...|3D000)$/
const NO_RIGHT = '42501'
/** PgBouncer uses this SQLSTATE for all of its errors. */
const POOLER_STATE = '08P01'
const POOLER_MESSAGES = /authentication failed|^no such (?:user|database)|^database ".*" does not exist|^auth failed/

/** Whether a connection could not be opened because of TLS. */
export function isTlsFailure(error: unknown): boolean {
  if (error instanceof TlsFileError) return true
  if (!(error instanceof Error)) return false
  return TLS_MESSAGES.test(error.message) || TLS_CODES.test(codeOf(error) ?? '')
}

/** Whether the server rejected the login. */
export function isLoginFailure(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const code = codeOf(error) ?? ''
  if (code === POOLER_STATE) return POOLER_MESSAGES.test(error.message)
  return LOGIN_MESSAGES.test(error.message) || LOGIN_STATES.test(code)
}

/**
 * The reason why a server rejects the broker, if only an operator can change that: a wrong password, a missing database, a
 * missing right, or TLS. Undefined for any other error, such as that of a server that is down.
 */
export function refusalOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  if (isTlsFailure(error)) return `TLS: ${error.message}`
  if (error.message.includes('client password must be a')) return 'the server asks for a password, and none is given'
  return isLoginFailure(error) || codeOf(error) === NO_RIGHT ? error.message : undefined
}

/** A server rejected the broker at the start. Retrying does not help, because the configuration is wrong. */
export class ConnectionRefused extends Error {
  override readonly name = 'ConnectionRefused'
  /** The option that contains the connection URL. */
  readonly setting: string
  /** The message of the server, or of Node.js. */
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
