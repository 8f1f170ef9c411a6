import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'

/** How a connection is encrypted, as a connection URL says; the files are read each time a connection is opened. */
export interface TlsSettings {
  /**
   * What is checked of the server's certificate: `full` its chain and host name, `chain` only the chain, `none` nothing;
   * `off` is no TLS at all.
   */
  readonly check: 'off' | 'none' | 'chain' | 'full'
  /** `sslmode` for libpq and the programs built on it; undefined: its default. */
  readonly libpqMode: string | undefined
  /** Whether TLS begins at once, without PostgreSQL's own negotiation (`sslnegotiation=direct`). */
  readonly direct: boolean
  /** PEM file of the authorities; undefined: those that Node.js trusts. */
  readonly rootCertFile: string | undefined
  /** PEM files of the client's certificate and key. */
  readonly certFile: string | undefined
  readonly keyFile: string | undefined
}

/** A file that `sslrootcert`, `sslcert` or `sslkey` names cannot be read. */
export class TlsFileError extends Error {
  override readonly name = 'TlsFileError'
}

/**
 * The option `ssl` of node-postgres.
 * @throws {TlsFileError}
 */
export function sslOption({ check, rootCertFile, certFile, keyFile }: TlsSettings): false | ConnectionOptions {
  if (check === 'off') return false
  return {
    rejectUnauthorized: check !== 'none',
    ...(rootCertFile === undefined ? {} : { ca: contentOf('sslrootcert', rootCertFile) }),
    ...(certFile === undefined ? {} : { cert: contentOf('sslcert', certFile) }),
    ...(keyFile === undefined ? {} : { key: contentOf('sslkey', keyFile) }),
    ...(check === 'chain' ? { checkServerIdentity: () => undefined } : {})
  }
}

function contentOf(parameter: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new TlsFileError(`${parameter} cannot be read: ${reason}`, { cause })
  }
}
