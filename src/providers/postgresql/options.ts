import type { Backup } from './backup.ts'

/** A PostgreSQL server that databases are made on. */
export interface PostgresqlServer {
  /**
   * The admin's URL, naming the maintenance database (usually `postgres`). A function is not called before the first
   * connection is needed: for a server whose port is known only once it runs.
   */
  readonly adminUrl: string | (() => string)
  /**
   * A group with `CREATEDB CREATEROLE` and without `LOGIN` that the admin's login is a member of. Everything is made as the
   * group, so that the login can be replaced. Default: none, everything is made as the login.
   */
  readonly adminRole?: string | undefined
  /** Host that bindings are told. Default: the admin URL's. */
  readonly publicHost?: string | undefined
  /** Port that bindings are told. Default: the admin URL's. */
  readonly publicPort?: number | undefined
  /** PEM file of the authority that signed the server's certificate; with it bindings get `sslmode=verify-full`. */
  readonly caFile?: string | undefined
  /** How many databases of instances the server takes; default 10,000. */
  readonly maxDatabases?: number | undefined
  /** The broker's own state database when it is on this server: tenants are kept out of it. */
  readonly stateDatabase?: string | undefined
}

/** What `postgresqlProvider` needs to know beside its servers. */
export interface PostgresqlProviderSettings {
  /**
   * Run by a shell before a database is dropped, with `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGSSLMODE` and
   * `OSB_INSTANCE_ID`. When it fails the database is kept, and the deprovision has failed. Default: none.
   */
  readonly backupCommand?: string | undefined
  /**
   * In place of a command: the directory that `pg_dump` (on the `PATH`, as new as the server) writes each database to before
   * it is dropped, in the custom format, as `<instance id>-<database>-<time>.dump`, mode 0600. Default: none.
   */
  readonly backupDirectory?: string | undefined
  /** Maintenance connections of one process to each server; default 8. */
  readonly poolSize?: number | undefined
  /** The credentials' `provider`. Default `fastify-open-service-broker`. */
  readonly brokerName?: string | undefined
}

/** How `postgresqlProvider` finds its server, or its servers by name. One alone is called `default`. */
export type PostgresqlProviderOptions = PostgresqlProviderSettings &
  (PostgresqlServer | { readonly servers: Readonly<Record<string, PostgresqlServer>> })

/** How databases are saved before they are dropped; undefined when they are not. */
export function backupOf({ backupCommand, backupDirectory }: PostgresqlProviderSettings): Backup | undefined {
  if (backupCommand === undefined) return backupDirectory === undefined ? undefined : { directory: backupDirectory }
  if (backupDirectory === undefined) return { command: backupCommand }
  throw new Error('The options backupCommand and backupDirectory exclude each other.')
}

/** Name of the server of instances that were made when there was one alone. */
export const DEFAULT_SERVER = 'default'

/** A server, its name, and the option that contains its URL. */
export interface NamedServer {
  readonly name: string
  readonly setting: string
  readonly server: PostgresqlServer
}

export function serversOf(options: PostgresqlProviderOptions): NamedServer[] {
  if (!('servers' in options)) return [{ name: DEFAULT_SERVER, setting: 'postgresql.adminUrl', server: options }]
  return Object.entries(options.servers).map(([name, server]) => {
    return { name, setting: `postgresql.servers.${name}.adminUrl`, server }
  })
}
