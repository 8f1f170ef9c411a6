import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { openTcpProxy } from '../helper/tcp-proxy.ts'
import { chaosCatalog } from './catalog.ts'
import type { Group } from './faults.ts'
import { Network, through } from './network.ts'
import { prepareOutside } from './outside.ts'
import type { Random } from './random.ts'
import { freePort, Replica } from './replicas.ts'
import { Rollout } from './rollout.ts'
import { endReplicas, newBroker, removeServer, type Scene, STATE_DATABASE, startServer } from './scene.ts'

const TWO_HOURS_MS = 7_200_000

/** A scene whose replicas run the scripted provider and reach their databases through proxies. */
export interface ChaosScene extends Scene {
  readonly postgres: EmbeddedPostgres
  readonly networks: ReadonlyMap<Replica, Network>
  readonly rollout: Rollout
  readonly encryptionKeys: string
  /** Where the replicas write the calls of the scripted provider. */
  readonly callPaths: readonly string[]
  /** How often a replica was started with a clock that is wrong, by its direction. */
  readonly skews: Map<string, number>
  /** Starts a replica that has been ended. */
  start(replica: Replica): Promise<void>
}

export interface ChaosSceneOptions {
  readonly replicas: number
  readonly random: Random
  readonly chosen: ReadonlySet<Group>
}

export async function openChaosScene({ replicas: count, random, chosen }: ChaosSceneOptions): Promise<ChaosScene> {
  const folder = await mkdtemp(join(tmpdir(), 'osb-chaos-'))
  const postgres = await startServer(folder)
  await prepareOutside(postgres.adminUrl)
  const { environment, headers, encryptionKeys } = newBroker()
  // The address that credentials name, the same for every replica.
  const entrance = await openTcpProxy(postgres.port)
  const networks = new Map<Replica, Network>()
  const callPaths: string[] = []
  for (let index = 0; index < count; index += 1) {
    const name = `replica-${index + 1}`
    const network = await Network.open({ state: [postgres.port], tenants: [postgres.port] })
    const port = (side: 'state' | 'tenants') => network.to(side)[0]?.port ?? 0
    const calls = join(folder, `${name}.calls`)
    const catalog = join(folder, `${name}.catalog.json`)
    await writeFile(catalog, JSON.stringify(chaosCatalog(0)))
    const own = {
      ...environment,
      DATABASE_URL: through(postgres.urlOf(STATE_DATABASE), port('state')),
      POSTGRESQL_ADMIN_URL: through(postgres.adminUrl, port('tenants')),
      POSTGRESQL_PUBLIC_HOST: '127.0.0.1',
      POSTGRESQL_PUBLIC_PORT: String(entrance.port),
      BROKER_CATALOG_PATH: catalog,
      CHAOS_CALLS_PATH: calls
    }
    const program = [new URL('./replica.ts', import.meta.url).pathname]
    networks.set(new Replica(name, await freePort(), { environment: own, folder, program }), network)
    callPaths.push(calls)
  }
  const replicas = [...networks.keys()]
  const skewed = chosen.has('skew') ? random.pick(replicas) : undefined
  const skews = new Map<string, number>()
  let ahead = random.chance(0.5)
  const start = async (replica: Replica) => {
    if (replica !== skewed) return replica.start()
    ahead = !ahead
    const name = `clock two hours ${ahead ? 'ahead' : 'behind'}`
    skews.set(name, (skews.get(name) ?? 0) + 1)
    await replica.start({ CHAOS_CLOCK_SHIFT_MS: String(ahead ? TWO_HOURS_MS : -TWO_HOURS_MS) })
  }
  await Promise.all(replicas.map(start))
  return {
    folder,
    postgres,
    replicas,
    networks,
    rollout: new Rollout({ replicas, start }),
    encryptionKeys,
    callPaths,
    skews,
    stateUrl: postgres.urlOf(STATE_DATABASE),
    adminUrl: postgres.adminUrl,
    headers,
    start,
    close: async ({ keep }) => {
      await endReplicas(replicas)
      await Promise.all([entrance.close(), ...[...networks.values()].map((network) => network.close())])
      await removeServer(postgres, folder, keep)
    }
  }
}
