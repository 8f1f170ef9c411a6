import {
  type BoundedPoolConfig,
  type ConnectionTarget,
  Endpoint,
  parseConnectionUrl,
  settingsOf
} from '../../postgres/index.ts'

const DEFAULT_PORT = 5432

/** A database, and who logs in to it. */
export interface Login {
  readonly database: string
  readonly username: string
  readonly password: string
}

/**
 * The admin's connection URL, and the way to other databases and logins of the same server. Session settings of the URL have no
 * effect: they are the provider's to choose.
 */
export class AdminUrl {
  readonly #target: ConnectionTarget
  /** What the admin's connections know together. */
  readonly #endpoint: Endpoint

  /**
   * @param name How messages call the URL.
   * @param caFile Authority to check the server's certificate against, where the URL asks for TLS and names none.
   * @throws {ConnectionUrlError} when the URL cannot be used
   */
  constructor(adminUrl: string, name: string, caFile?: string) {
    const target = parseConnectionUrl(adminUrl, name)
    const { tls } = target
    this.#target = {
      ...target,
      tls: tls === undefined || tls.check === 'off' ? tls : { ...tls, rootCertFile: tls.rootCertFile ?? caFile },
      options: undefined,
      applicationName: undefined
    }
    this.#endpoint = new Endpoint(target.hosts, target.attributes)
  }

  /** As bindings are to be told; a socket's directory means the local host. */
  get host(): string {
    const host = this.#target.hosts[0]?.host ?? ''
    return host === '' || host.startsWith('/') ? 'localhost' : host
  }

  get port(): number {
    return this.#target.hosts[0]?.port ?? DEFAULT_PORT
  }

  /** How many servers share the URL, of which one at a time takes writes. */
  get hostCount(): number {
    return this.#target.hosts.length
  }

  /** Settings of connections as the admin, to the maintenance database or another. */
  asAdmin(more: BoundedPoolConfig): BoundedPoolConfig {
    return settingsOf(this.#target, { endpoint: this.#endpoint, lookFrom: this.#target.database, ...more })
  }

  /** Settings of a connection as somebody else. */
  asLogin({ database, username: user, password }: Login, more: BoundedPoolConfig): BoundedPoolConfig {
    // A reader's session takes no writes, on the primary either.
    const attributes = this.#target.attributes === 'any' ? 'any' : 'primary'
    const target = { ...this.#target, database, user, password, attributes } as const
    return settingsOf(target, more)
  }

  /** What libpq reads, and every program that is built on it, to get to a database as the admin. */
  environment(database: string) {
    const { hosts, user = '', password = '', tls, attributes } = this.#target
    return {
      // node-postgres and libpq differ in what they take when nothing is said
      PGHOST: hosts.map(({ host }) => host ?? process.env.PGHOST ?? 'localhost').join(','),
      PGPORT: hosts.map(({ port }) => port ?? process.env.PGPORT ?? DEFAULT_PORT).join(','),
      PGUSER: user,
      PGPASSWORD: password,
      PGDATABASE: database,
      PGCONNECT_TIMEOUT: '10',
      PGTARGETSESSIONATTRS: attributes,
      ...(tls?.libpqMode === undefined ? {} : { PGSSLMODE: tls.libpqMode }),
      ...(tls?.rootCertFile === undefined ? {} : { PGSSLROOTCERT: tls.rootCertFile }),
      ...(tls?.certFile === undefined ? {} : { PGSSLCERT: tls.certFile }),
      ...(tls?.keyFile === undefined ? {} : { PGSSLKEY: tls.keyFile })
    }
  }
}
