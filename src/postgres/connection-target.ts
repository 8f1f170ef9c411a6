import type { TlsSettings } from './tls.ts'

/** One server of a connection URL: an address, or the folder of a Unix socket. */
export interface Host {
  /** Default: `PGHOST`, otherwise `localhost`. */
  readonly host: string | undefined
  readonly port: number | undefined
}

/**
 * Which sessions are used. `read-write` rejects sessions with read-only transactions, `primary` rejects servers in recovery, and
 * `any` accepts the first server that answers.
 */
export type SessionAttributes = (typeof sessionAttributes)[number]
export const sessionAttributes = ['any', 'read-write', 'primary'] as const

/** The parts of a connection URL. */
export interface ConnectionTarget {
  /** At least one, in the order of the URL. */
  readonly hosts: readonly Host[]
  readonly user: string | undefined
  readonly password: string | undefined
  readonly database: string | undefined
  /** Undefined if the URL has no parameter about TLS; then `PGSSLMODE` decides. */
  readonly tls: TlsSettings | undefined
  readonly attributes: SessionAttributes
  /** Timeout of one host. Default: the caller's. */
  readonly connectTimeoutMs: number | undefined
  readonly applicationName: string | undefined
  /** Startup options, as libpq takes them (`-c name=value`). */
  readonly options: string | undefined
}
