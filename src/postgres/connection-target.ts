import type { TlsSettings } from './tls.ts'

/** One server of a connection URL: an address, or the folder of a Unix socket. */
export interface Host {
  /** Undefined: node-postgres decides, from `PGHOST` or as `localhost`. */
  readonly host: string | undefined
  readonly port: number | undefined
}

/**
 * Which sessions a connection may be used for. `read-write` refuses sessions whose transactions are read-only, `primary`
 * refuses servers in recovery, `any` takes what answers first.
 */
export type SessionAttributes = (typeof sessionAttributes)[number]
export const sessionAttributes = ['any', 'read-write', 'primary'] as const

/** A connection URL, taken apart. */
export interface ConnectionTarget {
  /** At least one, in the order of the URL. */
  readonly hosts: readonly Host[]
  readonly user: string | undefined
  readonly password: string | undefined
  readonly database: string | undefined
  /** Undefined: the URL says nothing of TLS, and `PGSSLMODE` decides. */
  readonly tls: TlsSettings | undefined
  readonly attributes: SessionAttributes
  /** How long one host may take to answer; undefined: as long as the caller gives it. */
  readonly connectTimeoutMs: number | undefined
  readonly applicationName: string | undefined
  /** Startup options, as libpq takes them (`-c name=value`). */
  readonly options: string | undefined
}
