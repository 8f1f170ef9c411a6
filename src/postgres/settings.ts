import pg from 'pg'
import { BoundedClient, type BoundedClientConfig } from './bounded-client.ts'
import type { ConnectionTarget } from './connection-target.ts'
import { Endpoint } from './endpoint.ts'

/** Settings of a pool whose connections are {@link BoundedClient}s. */
export type BoundedPoolConfig = BoundedClientConfig & Omit<pg.PoolConfig, keyof pg.ClientConfig>

/** How to reach a database, for a client or a pool; `more` has what they are used for. */
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
    // As for node-postgres, these of the URL win over the program's.
    ...(options === undefined ? {} : { options }),
    ...(applicationName === undefined ? {} : { application_name: applicationName })
  }
}

/**
 * How to reach the database of a pool, for further connections beside it.
 * @param options Those of the pool; only what leads to the database is taken over.
 */
export function settingsLike(options: BoundedPoolConfig, more: BoundedPoolConfig = {}): BoundedPoolConfig {
  return {
    Client: BoundedClient,
    endpoint: options.endpoint ?? new Endpoint(),
    ...Object.fromEntries(WAY.map((name) => [name, options[name]]).filter(([, value]) => value !== undefined)),
    ...more
  }
}

const WAY = [
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

/** A pool of {@link BoundedClient}s. A lost idle connection is replaced by the next use, so that its loss is no error. */
export function openPool(config: BoundedPoolConfig): pg.Pool {
  const use = (inUse: boolean) => (client: pg.PoolClient) => {
    if (client instanceof BoundedClient) client.inUse = inUse
  }
  return new pg.Pool(config)
    .on('error', () => undefined)
    .on('acquire', use(true))
    .on('release', (_error, client) => use(false)(client))
}
