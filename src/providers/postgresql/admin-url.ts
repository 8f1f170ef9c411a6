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
 * The admin's connection URL, and the settings of connections to other databases and with other logins of the server. Session
 * settings in the URL have no effect, because the provider chooses them.
 */
export class AdminUrl {
  readonly #target: ConnectionTarget
  /** Shared by all connections of the admin. */
  readonly #endpoint: Endpoint

  /**
   * @param name The variable or option that contains the URL, for messages.
   * @param caFile PEM file of the authority, if the URL enables TLS without one.
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

  /** Host in the credentials of bindings. For the folder of a socket it is the local host. */
  get host(): string {
    const host = this.#target.hosts[0]?.host ?? ''
    return host === '' || host.startsWith('/') ? 'localhost' : host
  }

  get port(): number {
    return this.#target.hosts[0]?.port ?? DEFAULT_PORT
  }

  /** Number of hosts in the URL. */
  get hostCount(): number {
    return this.#target.hosts.length
  }

  /** Settings of connections as the admin; `more.database` selects another database than the maintenance database. */
  asAdmin(more: BoundedPoolConfig): BoundedPoolConfig {
    return settingsOf(this.#target, { endpoint: this.#endpoint, checkDatabase: this.#target.database, ...more })
  }

  /** Settings of a connection with another login. */
  asLogin({ database, username: user, password }: Login, more: BoundedPoolConfig): BoundedPoolConfig {
    // The session of a reader is read-only on the primary too.
    const attributes = this.#target.attributes === 'any' ? 'any' : 'primary'
    const target = { ...this.#target, database, user, password, attributes } as const
    return settingsOf(target, more)
  }

  /** Environment variables of libpq for a connection to a database as the admin. */
  environment(database: string) {
    const { hosts, user = '', password = '', tls, attributes } = this.#target
    return {
      // node-postgres and libpq have different defaults
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
