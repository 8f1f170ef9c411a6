import { accessSync, constants, readFileSync, statSync } from 'node:fs'
import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { parse } from 'yaml'
import { ConfigError, connectionTarget, type Environment } from './config.ts'
import type { ConnectionTarget } from './postgres/connection-target.ts'
import type {
  PostgresqlProviderOptions,
  PostgresqlProviderSettings,
  PostgresqlServer
} from './providers/postgresql/index.ts'

const Server = Type.Object(
  {
    admin_url: Type.String({ minLength: 1 }),
    admin_role: Type.Optional(Type.String({ minLength: 1, maxLength: 63 })),
    public_host: Type.Optional(Type.String({ minLength: 1 })),
    public_port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535 })),
    ca_file: Type.Optional(Type.String({ minLength: 1 })),
    max_databases: Type.Optional(Type.Integer({ minimum: 1 }))
  },
  { additionalProperties: false }
)

/** The file that `POSTGRESQL_SERVERS_FILE` names; YAML or JSON. */
export const ServersFile = Type.Object(
  {
    servers: Type.Record(Type.String({ pattern: '^[a-z][a-z0-9-]{0,62}$' }), Server, {
      minProperties: 1,
      additionalProperties: false
    })
  },
  { additionalProperties: false }
)
export type ServersFile = Static<typeof ServersFile>

/** Which variables say the same of one server that the file says of each. */
const OF_ONE_SERVER = [
  'POSTGRESQL_ADMIN_URL',
  'POSTGRESQL_ADMIN_ROLE',
  'POSTGRESQL_PUBLIC_HOST',
  'POSTGRESQL_PUBLIC_PORT',
  'POSTGRESQL_CA_FILE'
] as const

/** The embedded server, as far as tenants' databases are concerned. */
export type EmbeddedServer = Pick<PostgresqlServer, 'adminUrl' | 'stateDatabase'>

/**
 * What the provider `postgresql` is told: the servers of the file, the one of the variables, else the embedded one; undefined
 * when there is none.
 * @throws {ConfigError} when the file cannot be read or breaks a rule, or variables contradict it
 */
export function postgresqlOptions(
  config: Environment,
  embedded: EmbeddedServer | undefined
): PostgresqlProviderOptions | undefined {
  const common = { ...backupFrom(config), poolSize: config.BROKER_POSTGRESQL_POOL_SIZE }
  const { POSTGRESQL_SERVERS_FILE: file } = config
  if (file !== undefined) {
    const other = OF_ONE_SERVER.find((name) => config[name] !== undefined)
    if (other !== undefined) {
      throw new ConfigError(`${other} and POSTGRESQL_SERVERS_FILE exclude each other: say it in the file.`)
    }
    return { ...common, servers: readServersFile(file) }
  }
  const server = {
    publicHost: config.POSTGRESQL_PUBLIC_HOST,
    publicPort: config.POSTGRESQL_PUBLIC_PORT,
    caFile: readable('POSTGRESQL_CA_FILE', config.POSTGRESQL_CA_FILE)
  }
  if (config.POSTGRESQL_ADMIN_URL !== undefined) {
    const { POSTGRESQL_ADMIN_URL: adminUrl, POSTGRESQL_ADMIN_ROLE: adminRole } = config
    requireAddress(connectionTarget('POSTGRESQL_ADMIN_URL', adminUrl), {
      url: 'POSTGRESQL_ADMIN_URL',
      publicHost: server.publicHost,
      setting: 'POSTGRESQL_PUBLIC_HOST'
    })
    return { ...common, ...server, adminUrl, adminRole }
  }
  return embedded === undefined ? undefined : { ...common, ...server, ...embedded }
}

function backupFrom(config: Environment): PostgresqlProviderSettings {
  const { POSTGRESQL_BACKUP_COMMAND: backupCommand, POSTGRESQL_BACKUP_DIRECTORY: backupDirectory } = config
  if (backupDirectory === undefined) return { backupCommand }
  if (backupCommand !== undefined) {
    throw new ConfigError('POSTGRESQL_BACKUP_COMMAND and POSTGRESQL_BACKUP_DIRECTORY exclude each other: set one.')
  }
  try {
    if (!statSync(backupDirectory).isDirectory()) throw new Error('it is not a directory')
    accessSync(backupDirectory, constants.W_OK)
  } catch (error) {
    const reason = `POSTGRESQL_BACKUP_DIRECTORY cannot be written to: ${firstLineOf(error)}`
    throw new ConfigError(reason, { cause: error })
  }
  return { backupDirectory }
}

function readServersFile(file: string): Record<string, PostgresqlServer> {
  const content = contentOf(file)
  if (!Value.Check(ServersFile, content)) {
    const [first] = Value.Errors(ServersFile, content)
    const path = first?.path.slice(1).replaceAll('/', '.') ?? ''
    // Not the value: it may be a URL with a password
    throw new ConfigError(
      `POSTGRESQL_SERVERS_FILE: ${file}: ${path === '' ? 'it' : path} is not as it must be (${first?.message}). ` +
        'Each of "servers" is a name with admin_url, and if need be admin_role, public_host, public_port, ca_file and max_databases.'
    )
  }
  for (const [name, { admin_url: adminUrl, public_host: publicHost }] of Object.entries(content.servers)) {
    const place = `POSTGRESQL_SERVERS_FILE: servers.${name}`
    const target = connectionTarget(`${place}.admin_url`, adminUrl)
    requireAddress(target, { url: `${place}.admin_url`, publicHost, setting: 'public_host' })
  }
  return Object.fromEntries(
    Object.entries(content.servers).map(([name, server]) => [
      name,
      {
        adminUrl: server.admin_url,
        adminRole: server.admin_role,
        publicHost: server.public_host,
        publicPort: server.public_port,
        caFile: readable(`POSTGRESQL_SERVERS_FILE: servers.${name}.ca_file`, server.ca_file),
        maxDatabases: server.max_databases
      }
    ])
  )
}

/** With several hosts, bindings need an address that stays valid after a failover. */
function requireAddress(
  { hosts }: ConnectionTarget,
  { url, publicHost, setting }: { url: string; publicHost: string | undefined; setting: string }
): void {
  if (hosts.length === 1 || publicHost !== undefined) return
  throw new ConfigError(`${url} has several hosts: set ${setting} to the address that applications connect to.`)
}

function contentOf(file: string): unknown {
  try {
    return parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new ConfigError(`POSTGRESQL_SERVERS_FILE cannot be read: ${firstLineOf(error)}`, { cause: error })
  }
}

/** Refuses what would show only with the first bind. */
function readable(name: string, file: string | undefined): string | undefined {
  try {
    if (file !== undefined) readFileSync(file)
    return file
  } catch (error) {
    throw new ConfigError(`${name} cannot be read: ${firstLineOf(error)}`, { cause: error })
  }
}

/** YAML shows the lines around a fault, and with them passwords. */
function firstLineOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message.split('\n')[0] ?? message
}
