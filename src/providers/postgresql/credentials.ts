import { readFile } from 'node:fs/promises'
import type { JsonObject } from '../../../schemas/common.ts'
import type { BindTask, Bound } from '../../core/provider.ts'
import { type BindingState, loginName } from './names.ts'
import type { PostgresqlProviderSettings } from './options.ts'
import type { AdminServer } from './server.ts'

const DEFAULT_BROKER_NAME = 'fastify-open-service-broker'

/** What the description of a binding is made of. */
export interface Described {
  readonly task: Pick<BindTask, 'context' | 'endpoints'>
  readonly binding: BindingState
  readonly password: string
  /** Name of the database. */
  readonly database: string
  /** Whether the server speaks TLS. */
  readonly tls: boolean
}

/**
 * What a binding is told. The keys serve many readers, each under the name it looks for (`docs/postgresql.md`); the
 * object is flat, because Kubernetes makes a secret of it.
 */
export async function describeBinding(
  server: AdminServer,
  { brokerName = DEFAULT_BROKER_NAME }: PostgresqlProviderSettings,
  { task, binding, password, database, tls }: Described
): Promise<Bound> {
  const { publicHost: host = server.url.host, publicPort: port = server.url.port, caFile } = server.options
  const certificate = tls && caFile !== undefined ? await readFile(caFile, 'utf8') : undefined
  const sslmode = sslModeOf(tls, certificate !== undefined)
  const username = loginName(binding)
  const { validity } = binding
  const place = `${host.includes(':') ? `[${host}]` : host}:${port}/${database}`
  const credentials: JsonObject = {
    uri: `postgresql://${username}:${password}@${place}?sslmode=${sslmode}`,
    jdbcUrl: `jdbc:postgresql://${place}?user=${username}&password=${password}&sslmode=${sslmode}`,
    'jdbc-url': `jdbc:postgresql://${place}?sslmode=${sslmode}`,
    'r2dbc-url': `r2dbc:postgresql://${place}?sslMode=${sslmode}`,
    host,
    hostname: host,
    port,
    username,
    user: username,
    password,
    database,
    name: database,
    dbname: database,
    db: database,
    sslmode,
    ...(certificate === undefined ? {} : certificateKeys(certificate, task.context.platform)),
    type: 'postgresql',
    provider: brokerName,
    role: binding.role,
    read_only: binding.role === 'reader'
  }
  const endpoints = [{ host, ports: [String(port)], protocol: 'tcp' as const }]
  return {
    credentials,
    ...(task.endpoints ? { endpoints } : {}),
    ...(validity === undefined
      ? {}
      : { metadata: { expires_at: validity.expiresAt, renew_before: validity.renewBefore } })
  }
}

/**
 * Without TLS only `disable` is understood alike: node-postgres takes `prefer` for `require` and does not connect.
 * Without an authority to check against, `require` at least encrypts.
 */
function sslModeOf(tls: boolean, verifiable: boolean): string {
  if (!tls) return 'disable'
  return verifiable ? 'verify-full' : 'require'
}

/** `sslrootcert` is content to Cloud Foundry's readers, and the name of a file beside it to those of Kubernetes. */
function certificateKeys(certificate: string, platform: unknown): JsonObject {
  const keys = { certificates: certificate, 'root.crt': certificate }
  if (platform === 'cloudfoundry') return { ...keys, sslrootcert: certificate }
  return platform === 'kubernetes' ? { ...keys, sslrootcert: 'root.crt' } : keys
}
