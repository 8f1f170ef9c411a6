import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'

/** The TLS settings of a connection URL. The files are read for each new connection, so that they can be replaced. */
export interface TlsSettings {
  /** The check of the server's certificate: chain and host name (`full`), chain only, or none. `off` disables TLS. */
  readonly check: 'off' | 'none' | 'chain' | 'full'
  /** `sslmode` for programs that use libpq, such as `pg_dump`. Default: libpq's. */
  readonly libpqMode: string | undefined
  /** Whether to start TLS without PostgreSQL's negotiation (`sslnegotiation=direct`). */
  readonly direct: boolean
  /** PEM file of the authorities. Default: those that Node.js trusts. */
  readonly rootCertFile: string | undefined
  /** PEM files of the client's certificate and key. */
  readonly certFile: string | undefined
  readonly keyFile: string | undefined
}

/** The file in `sslrootcert`, `sslcert` or `sslkey` cannot be read. */
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
