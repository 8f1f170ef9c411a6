import pg from 'pg'
import { BoundedClient, type BoundedClientConfig } from './bounded-client.ts'
import type { ConnectionTarget } from './connection-target.ts'
import { Endpoint } from './endpoint.ts'

/** Settings of a pool of {@link BoundedClient}s. */
export type BoundedPoolConfig = BoundedClientConfig & Omit<pg.PoolConfig, keyof pg.ClientConfig>

/** Settings of a client or a pool for a connection URL; `more` overrides them. */
export function settingsOf(target: ConnectionTarget, more: BoundedPoolConfig = {}): BoundedPoolConfig {
  const { user, password, database, tls, hosts, applicationName, options, connectTimeoutMs } = target
  return {
    Client: BoundedClient,
    endpoint: new Endpoint(hosts, target.attributes),
    user,
    password,
    database,
    tls,
    ...(tls === undefined ? {} : { ssl: tls.check !== 'off' }),
    ...(tls?.direct === true ? { sslnegotiation: 'direct' as const } : {}),
    hostTimeoutMs: connectTimeoutMs,
    ...more,
    // As in node-postgres, the URL takes precedence.
    ...(options === undefined ? {} : { options }),
    ...(applicationName === undefined ? {} : { application_name: applicationName })
  }
}

/**
 * Settings of further connections to the database of an existing pool.
 * @param options The options of the pool. Only those that identify database and login are copied.
 */
export function settingsLike(options: BoundedPoolConfig, more: BoundedPoolConfig = {}): BoundedPoolConfig {
  return {
    Client: BoundedClient,
    endpoint: options.endpoint ?? new Endpoint(),
    ...Object.fromEntries(COPIED.map((name) => [name, options[name]]).filter(([, value]) => value !== undefined)),
    ...more
  }
}

const COPIED = [
  'connectionString',
  'host',
  'port',
  'user',
  'password',
  'database',
  'ssl',
  'sslnegotiation',
  'stream',
  'tls',
  'hostTimeoutMs',
  'enableChannelBinding',
  'options'
] as const satisfies readonly (keyof BoundedPoolConfig)[]

/** Opens a pool of {@link BoundedClient}s. It ignores the loss of idle connections, because the next use replaces them. */
export function openPool(config: BoundedPoolConfig): pg.Pool {
  const use = (inUse: boolean) => (client: pg.PoolClient) => {
    if (client instanceof BoundedClient) client.inUse = inUse
  }
  return new pg.Pool(config)
    .on('error', () => undefined)
    .on('acquire', use(true))
    .on('release', (_error, client) => use(false)(client))
}
