import { BlockList, isIP } from 'node:net'
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { ConnectionTarget } from './postgres/connection-target.ts'
import { ConnectionUrlError, parseConnectionUrl } from './postgres/connection-url.ts'

const Port = (options: object) => Type.Integer({ minimum: 0, maximum: 65_535, ...options })

/** A century: more than any rule asks for. */
export const MAX_AUDIT_RETENTION_DAYS = 36_500

/** More would only wait for connections to the database. */
export const MAX_WORKERS = 256

/** Every environment variable that the server reads, with its default. `npm run docs:table` makes the table of docs/configuration.md of it. */
export const Environment = Type.Object({
  BROKER_HOST: Type.String({ default: '127.0.0.1', description: 'address to listen on' }),
  BROKER_PORT: Port({ default: 8080, description: 'port to listen on; 0: any free one' }),
  BROKER_MAX_CONNECTIONS: Type.Integer({
    default: 1_000,
    minimum: 1,
    maximum: 65_535,
    description: 'open connections; requests on further ones are answered 503, except for health checks'
  }),
  BROKER_MAX_CONNECTIONS_PER_ADDRESS: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 65_535,
      description:
        'open connections of one address; default: half of `BROKER_MAX_CONNECTIONS`. Proxies of `BROKER_TRUST_PROXY` are exempt'
    })
  ),
  BROKER_HEALTH_LISTENER: Type.Union([Type.Literal('off'), Type.Literal('on')], {
    default: 'off',
    description:
      'whether `/healthz` and `/readyz` also answer at `OTEL_EXPORTER_PROMETHEUS_HOST` and `OTEL_EXPORTER_PROMETHEUS_PORT` (127.0.0.1, 9464); always so when `/metrics` does'
  }),
  BROKER_USERNAME: Type.Optional(Type.String({ description: "the platform's basic credentials" })),
  BROKER_PASSWORD: Type.Optional(Type.String({ description: "the platform's basic credentials" })),
  BROKER_PLATFORMS_FILE: Type.Optional(
    Type.String({ description: 'YAML or JSON: several platforms, in place of `BROKER_USERNAME` and `BROKER_PASSWORD`' })
  ),
  BROKER_TLS_CERT: Type.Optional(
    Type.String({ description: 'certificate and its chain, PEM; with it the broker speaks HTTPS' })
  ),
  BROKER_TLS_KEY: Type.Optional(Type.String({ description: 'key of the certificate, PEM' })),
  BROKER_TLS_CLIENT_CA: Type.Optional(
    Type.String({ description: 'CAs of client certificates, PEM; with them the broker asks for one' })
  ),
  BROKER_TRUST_PROXY: Type.Optional(
    Type.String({ description: 'proxies whose `X-Forwarded-For` is believed: addresses or CIDRs, with commas between' })
  ),
  BROKER_STORAGE: Type.Union([Type.Literal('embedded'), Type.Literal('memory'), Type.Literal('postgres')], {
    default: 'embedded',
    description: "where the broker's own state is kept"
  }),
  DATABASE_URL: Type.Optional(
    Type.String({ description: "the broker's own state, with `postgres`; also with several hosts" })
  ),
  BROKER_DATABASE_POOL_SIZE: Type.Integer({
    default: 16,
    minimum: 2,
    maximum: 1_000,
    description:
      "connections of one replica to its own state, for requests and workers; five more are the queue's and the cancels'"
  }),
  BROKER_DATA_DIR: Type.String({ default: '.data', description: 'of embedded storage' }),
  BROKER_CATALOG_PATH: Type.Optional(Type.String({ description: 'JSON or YAML; default: the shipped catalog' })),
  BROKER_DEFAULT_PROVIDER: Type.Optional(
    Type.String({ description: 'provider of service offerings that name none in x-broker.provider' })
  ),
  BROKER_ASYNC_OP_MILLIS: Type.Integer({
    default: 0,
    minimum: 0,
    maximum: 3_600_000,
    description: 'delay of the provider `example`; above 0 its plans are asynchronous where the platform allows it'
  }),
  BROKER_MISSING_VERSION_STATUS: Type.Union([Type.Literal(412), Type.Literal(400)], {
    default: 412,
    description: 'answer to a request without X-Broker-API-Version'
  }),
  BROKER_DELETED_LAST_OPERATION: Type.Union([Type.Literal('succeeded'), Type.Literal('gone')], {
    default: 'succeeded',
    description: 'answer of last_operation after a delete: 200 `succeeded`, or 410'
  }),
  BROKER_SYNC_DEADLINE_MS: Type.Integer({
    default: 8_000,
    minimum: 100,
    maximum: 60_000,
    description: 'how long a request may take until it is answered'
  }),
  BROKER_WORKERS: Type.Integer({
    default: 8,
    minimum: 1,
    maximum: MAX_WORKERS,
    description: 'operations that a replica executes at the same time, with a state in PostgreSQL'
  }),
  BROKER_AUDIT_RETENTION_DAYS: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: MAX_AUDIT_RETENTION_DAYS,
      description: 'how long audit events are kept; default: for ever'
    })
  ),
  BROKER_ENCRYPTION_KEYS: Type.Optional(
    Type.String({ description: '`kid:base64,…`, 32 bytes each; the first writes, all read; generated when embedded' })
  ),
  POSTGRESQL_ADMIN_URL: Type.Optional(
    Type.String({ description: "where tenants' databases are made; default: the embedded server" })
  ),
  POSTGRESQL_ADMIN_ROLE: Type.Optional(
    Type.String({ description: 'group that everything is made as, so that the login can be replaced' })
  ),
  BROKER_POSTGRESQL_POOL_SIZE: Type.Integer({
    default: 8,
    minimum: 1,
    maximum: 1_000,
    description: "maintenance connections of one replica to each server of tenants' databases"
  }),
  POSTGRESQL_SERVERS_FILE: Type.Optional(
    Type.String({ description: 'YAML or JSON: several servers by name, in place of the variables of one' })
  ),
  POSTGRESQL_PUBLIC_HOST: Type.Optional(Type.String({ description: 'host that bindings are told' })),
  POSTGRESQL_PUBLIC_PORT: Type.Optional(Port({ minimum: 1, description: 'port that bindings are told' })),
  POSTGRESQL_CA_FILE: Type.Optional(Type.String({ description: "CA of the tenants' server" })),
  POSTGRESQL_BACKUP_COMMAND: Type.Optional(
    Type.String({ description: "run before a tenant's database is dropped; when it fails the database is kept" })
  ),
  POSTGRESQL_BACKUP_DIRECTORY: Type.Optional(
    Type.String({ description: 'in place of the command: where `pg_dump` writes to, a file for each database' })
  ),
  LOG_FORMAT: Type.Optional(
    Type.Union([Type.Literal('json'), Type.Literal('pretty')], {
      description: 'default: `pretty` on a terminal where pino-pretty is installed, else `json`'
    })
  ),
  LOG_LEVEL: Type.Union(
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'].map((level) => Type.Literal(level)),
    { default: 'info', description: 'least level that is logged' }
  )
})
export type Environment = Static<typeof Environment>

/** A variable that is wrong or missing; the message is all that is to be printed. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/**
 * Reads the configuration. An empty variable counts as unset.
 * @throws {ConfigError} naming the variable, what was given and what is allowed; a secret's value is not repeated
 */
export function readEnvironment(variables: Readonly<Record<string, string | undefined>>): Environment {
  const values: Record<string, unknown> = {}
  for (const [name, schema] of Object.entries<TSchema>(Environment.properties)) {
    const text = variables[name]
    if (text === undefined || text === '') continue
    // Conversion alone takes "80.5" for 80 and "true" for 1.
    const value = isWhole(schema) && !/^-?\d+$/.test(text) ? text : Value.Convert(schema, text)
    if (!Value.Check(schema, value))
      throw new ConfigError(`${name} is ${quote(name, text)}: it must be ${allowed(schema)}.`)
    values[name] = value
  }
  return requireTogether(Value.Decode(Environment, Value.Default(Environment, values)))
}

function requireTogether(config: Environment): Environment {
  const { BROKER_STORAGE, BROKER_USERNAME, BROKER_PASSWORD, BROKER_PLATFORMS_FILE } = config
  if ((BROKER_USERNAME === undefined) !== (BROKER_PASSWORD === undefined)) {
    throw new ConfigError('BROKER_USERNAME and BROKER_PASSWORD must be set together.')
  }
  if (BROKER_PLATFORMS_FILE !== undefined && BROKER_PASSWORD !== undefined) {
    throw new ConfigError(
      'BROKER_PLATFORMS_FILE and BROKER_USERNAME exclude each other: give the platform an entry in the file.'
    )
  }
  if (BROKER_STORAGE !== 'embedded' && BROKER_PASSWORD === undefined && BROKER_PLATFORMS_FILE === undefined) {
    throw new ConfigError(
      `Set BROKER_USERNAME and BROKER_PASSWORD, or BROKER_PLATFORMS_FILE: with BROKER_STORAGE=${BROKER_STORAGE} none are generated.`
    )
  }
  if (BROKER_USERNAME?.includes(':') === true) {
    throw new ConfigError('BROKER_USERNAME must have no colon: basic authentication ends the name at the first one.')
  }
  requireTls(config)
  trustedProxies(config)
  for (const name of ['DATABASE_URL', 'POSTGRESQL_ADMIN_URL'] as const) {
    const text = config[name]
    if (text !== undefined) connectionTarget(name, text)
  }
  if (BROKER_STORAGE !== 'postgres') return config
  if (config.DATABASE_URL === undefined) {
    throw new ConfigError(
      "Set DATABASE_URL to the PostgreSQL database of the broker's own state, for BROKER_STORAGE=postgres."
    )
  }
  if (config.BROKER_ENCRYPTION_KEYS === undefined) {
    throw new ConfigError(
      'Set BROKER_ENCRYPTION_KEYS to "kid:key" for BROKER_STORAGE=postgres; make a key with: openssl rand -base64 32'
    )
  }
  return config
}

function requireTls({ BROKER_TLS_CERT, BROKER_TLS_KEY, BROKER_TLS_CLIENT_CA }: Environment): void {
  if ((BROKER_TLS_CERT === undefined) !== (BROKER_TLS_KEY === undefined)) {
    throw new ConfigError('BROKER_TLS_CERT and BROKER_TLS_KEY must be set together.')
  }
  if (BROKER_TLS_CLIENT_CA !== undefined && BROKER_TLS_CERT === undefined) {
    throw new ConfigError(
      'BROKER_TLS_CLIENT_CA needs BROKER_TLS_CERT and BROKER_TLS_KEY: without HTTPS nobody shows a certificate.'
    )
  }
}

/**
 * The addresses and networks of `BROKER_TRUST_PROXY`.
 * @throws {ConfigError} naming the one that is neither
 */
export function trustedProxies({ BROKER_TRUST_PROXY: text }: Environment): string[] {
  const proxies = text?.split(',').map((proxy) => proxy.trim()) ?? []
  for (const proxy of proxies) {
    const [address = '', prefix, ...others] = proxy.split('/')
    const isPrefix =
      prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (isIP(address) === 4 ? 32 : 128))
    if (isIP(address) !== 0 && isPrefix && others.length === 0) continue
    throw new ConfigError(
      `BROKER_TRUST_PROXY has ${JSON.stringify(proxy)}: it must be an address or a CIDR such as 10.0.0.0/8.`
    )
  }
  return proxies
}

/** Returns whether an address is that of a trusted proxy. */
export function isTrustedProxy(config: Environment): (address: string) => boolean {
  const proxies = new BlockList()
  for (const proxy of trustedProxies(config)) {
    const [address = '', prefix] = proxy.split('/')
    const family = isIP(address) === 4 ? 'ipv4' : 'ipv6'
    proxies.addSubnet(address, prefix === undefined ? (family === 'ipv4' ? 32 : 128) : Number(prefix), family)
  }
  // An IPv4-mapped IPv6 address matches the rules for IPv4.
  return (address) => isIP(address) !== 0 && proxies.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6')
}

/** @throws {ConfigError} naming the variable and what is wrong with its connection URL, without any part of a secret */
export function connectionTarget(name: string, text: string): ConnectionTarget {
  try {
    return parseConnectionUrl(text, name)
  } catch (error) {
    if (!(error instanceof ConnectionUrlError)) throw error
    throw new ConfigError(error.message, { cause: error })
  }
}

function isWhole({ type, anyOf }: TSchema): boolean {
  return type === 'integer' || (Array.isArray(anyOf) && anyOf.every((choice) => typeof choice.const === 'number'))
}

const SECRETS = new Set(['BROKER_PASSWORD', 'DATABASE_URL', 'BROKER_ENCRYPTION_KEYS', 'POSTGRESQL_ADMIN_URL'])

function quote(name: string, text: string): string {
  return SECRETS.has(name) ? 'not usable' : JSON.stringify(text)
}

function allowed(schema: TSchema): string {
  const { anyOf, minimum, maximum } = schema as { anyOf?: { const: unknown }[]; minimum?: number; maximum?: number }
  if (anyOf !== undefined)
    return anyOf
      .map(({ const: value }) => String(value))
      .join(', ')
      .replace(/, ([^,]*)$/, ' or $1')
  return minimum === undefined ? 'text' : `a whole number from ${minimum} to ${maximum}`
}
