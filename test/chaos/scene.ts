import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { plainCatalog } from './catalog.ts'
import { freePort, Replica } from './replicas.ts'

export const STATE_DATABASE = 'osb_state'

/** Several replicas of the broker and one real PostgreSQL server, in a folder of their own. */
export interface Scene {
  readonly folder: string
  readonly replicas: readonly Replica[]
  /** Where the broker's state is, without a detour. */
  readonly stateUrl: string
  /** Superuser of the tenants' server, without a detour. */
  readonly adminUrl: string
  readonly headers: Record<string, string>
  /** Ends everything that was started; keeps the logs when asked. */
  close(options: { keep: boolean }): Promise<void>
}

/**
 * A scene of `osb serve`.
 * @param settings of the server; default: fsync and all else as in production
 * @param variables further ones of each replica's environment
 */
export async function openScene(
  count: number,
  settings: Record<string, string> = {},
  variables: (index: number) => Record<string, string> = () => ({})
): Promise<Scene> {
  const folder = await mkdtemp(join(tmpdir(), 'osb-chaos-'))
  const postgres = await startServer(folder, settings)
  const catalogPath = join(folder, 'catalog.json')
  await writeFile(catalogPath, JSON.stringify(plainCatalog))
  const { environment, headers } = newBroker()
  const urls = { DATABASE_URL: postgres.urlOf(STATE_DATABASE), POSTGRESQL_ADMIN_URL: postgres.adminUrl }
  const replicas: Replica[] = []
  for (let index = 0; index < count; index += 1) {
    const own = { ...environment, ...urls, BROKER_CATALOG_PATH: catalogPath, ...variables(index) }
    replicas.push(new Replica(`replica-${index + 1}`, await freePort(), { environment: own, folder }))
  }
  await Promise.all(replicas.map((replica) => replica.start()))
  return {
    folder,
    replicas,
    stateUrl: urls.DATABASE_URL,
    adminUrl: urls.POSTGRESQL_ADMIN_URL,
    headers,
    close: async ({ keep }) => {
      await endReplicas(replicas)
      await removeServer(postgres, folder, keep)
    }
  }
}

export async function startServer(folder: string, settings: Record<string, string> = {}): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({
    dataDir: join(folder, 'postgresql'),
    databases: [STATE_DATABASE],
    settings: { max_connections: '300', ...settings }
  })
}

/** What all replicas of one broker share of their environment, and how to come in. */
export function newBroker() {
  const password = randomBytes(12).toString('hex')
  const encryptionKeys = `k1:${randomBytes(32).toString('base64')}`
  return {
    encryptionKeys,
    environment: {
      PATH: process.env.PATH,
      BROKER_STORAGE: 'postgres',
      BROKER_USERNAME: 'chaos',
      BROKER_PASSWORD: password,
      BROKER_ENCRYPTION_KEYS: encryptionKeys,
      // Logs each request when it arrives, so that a request without an answer can be found.
      LOG_LEVEL: 'debug'
    },
    headers: {
      authorization: `Basic ${Buffer.from(`chaos:${password}`).toString('base64')}`,
      'x-broker-api-version': '2.17',
      'content-type': 'application/json'
    }
  }
}

export async function endReplicas(replicas: readonly Replica[]): Promise<void> {
  for (const replica of replicas) replica.signal('SIGCONT')
  await Promise.all(replicas.map((replica) => replica.end('SIGKILL')))
}

export async function removeServer(postgres: EmbeddedPostgres, folder: string, keep: boolean): Promise<void> {
  await postgres.stop()
  const { clusterDir } = postgres
  if (!keep) await rm(folder, { recursive: true, force: true })
  if (!clusterDir.startsWith(folder)) await rm(join(clusterDir, '..'), { recursive: true, force: true })
}
