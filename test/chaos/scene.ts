import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { freePort, Replica } from './replicas.ts'

export const serviceId = 'chaos-service'
export const plans = { small: 'chaos-small', large: 'chaos-large', slow: 'chaos-slow', brief: 'chaos-brief' } as const
export const exampleServiceId = 'chaos-example'

const catalog = {
  services: [
    {
      id: serviceId,
      name: 'databases',
      description: 'Real databases',
      bindable: true,
      instances_retrievable: true,
      bindings_retrievable: true,
      plan_updateable: true,
      'x-broker': { provider: 'postgresql' },
      plans: [
        { id: plans.small, name: 'small', description: 'small', 'x-broker': { options: { connection_limit: 5 } } },
        { id: plans.large, name: 'large', description: 'large', 'x-broker': { options: { connection_limit: 9 } } }
      ]
    },
    {
      id: exampleServiceId,
      name: 'waiting',
      description: 'Work that takes its time',
      bindable: true,
      instances_retrievable: true,
      bindings_retrievable: true,
      'x-broker': { provider: 'example' },
      plans: [
        {
          id: plans.slow,
          name: 'slow',
          description: 'slow',
          'x-broker': { mode: 'async', options: { delay_ms: 4_000 } }
        },
        {
          id: plans.brief,
          name: 'brief',
          description: 'brief',
          'x-broker': { mode: 'async', options: { delay_ms: 1_000 } }
        }
      ]
    }
  ]
}

/** Several replicas of the broker and one real PostgreSQL server, in a folder of their own. */
export interface Scene {
  readonly folder: string
  readonly postgres: EmbeddedPostgres
  readonly replicas: readonly Replica[]
  readonly stateUrl: string
  readonly headers: Record<string, string>
  /** Ends everything that was started; keeps the logs when asked. */
  close(options: { keep: boolean }): Promise<void>
}

/**
 * @param settings of the server; default: fsync and all else as in production
 * @param variables further ones of each replica's environment
 */
export async function openScene(
  count: number,
  settings: Record<string, string> = {},
  variables: (index: number) => Record<string, string> = () => ({})
): Promise<Scene> {
  const folder = await mkdtemp(join(tmpdir(), 'osb-chaos-'))
  const postgres = await startEmbeddedPostgres({
    dataDir: join(folder, 'postgresql'),
    databases: ['osb_state'],
    settings: { max_connections: '300', ...settings }
  })
  const catalogPath = join(folder, 'catalog.json')
  await writeFile(catalogPath, JSON.stringify(catalog))
  const password = randomBytes(12).toString('hex')
  const environment = {
    PATH: process.env.PATH,
    BROKER_STORAGE: 'postgres',
    DATABASE_URL: postgres.urlOf('osb_state'),
    POSTGRESQL_ADMIN_URL: postgres.adminUrl,
    BROKER_CATALOG_PATH: catalogPath,
    BROKER_USERNAME: 'chaos',
    BROKER_PASSWORD: password,
    BROKER_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
    // Says of each request that it came in: what is never answered can be found so
    LOG_LEVEL: 'debug'
  }
  const replicas: Replica[] = []
  for (let index = 0; index < count; index += 1) {
    const options = { environment: { ...environment, ...variables(index) }, folder }
    replicas.push(new Replica(`replica-${index + 1}`, await freePort(), options))
  }
  await Promise.all(replicas.map((replica) => replica.start()))
  return {
    folder,
    postgres,
    replicas,
    stateUrl: postgres.urlOf('osb_state'),
    headers: {
      authorization: `Basic ${Buffer.from(`chaos:${password}`).toString('base64')}`,
      'x-broker-api-version': '2.17',
      'content-type': 'application/json'
    },
    close: async ({ keep }) => {
      for (const replica of replicas) replica.signal('SIGCONT')
      await Promise.all(replicas.map((replica) => replica.end('SIGKILL')))
      await postgres.stop()
      const { clusterDir } = postgres
      if (!keep) await rm(folder, { recursive: true, force: true })
      if (!clusterDir.startsWith(folder)) await rm(join(clusterDir, '..'), { recursive: true, force: true })
    }
  }
}
