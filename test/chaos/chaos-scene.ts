import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openTcpProxy } from '../helper/tcp-proxy.ts'
import { chaosCatalog } from './catalog.ts'
import type { Group } from './faults.ts'
import { Network, throughAll } from './network.ts'
import { prepareOutside } from './outside.ts'
import type { Random } from './random.ts'
import { freePort, Replica } from './replicas.ts'
import { Rollout } from './rollout.ts'
import { endReplicas, newBroker, type Scene, STATE_DATABASE } from './scene.ts'
import { type Servers, startReplicated, startSingle } from './servers.ts'

const TWO_HOURS_MS = 7_200_000

/** A scene whose replicas run the scripted provider and reach their databases through proxies. */
export interface ChaosScene extends Scene {
  readonly servers: Servers
  readonly networks: ReadonlyMap<Replica, Network>
  readonly rollout: Rollout
  readonly encryptionKeys: string
  /** Where the replicas write the calls of the scripted provider. */
  readonly callPaths: readonly string[]
  /** How often a replica was started with a clock that is wrong, by its direction. */
  readonly skews: Map<string, number>
  /** Starts a replica that has been ended. */
  start(replica: Replica): Promise<void>
  /** Points every proxy to the tenants' server at the server that takes writes now. */
  moveTenants(): void
}

export interface ChaosSceneOptions {
  readonly replicas: number
  readonly random: Random
  readonly chosen: ReadonlySet<Group>
}

export async function openChaosScene({ replicas: count, random, chosen }: ChaosSceneOptions): Promise<ChaosScene> {
  const folder = await mkdtemp(join(tmpdir(), 'osb-chaos-'))
  const servers = chosen.has('promotion') ? await startReplicated() : await startSingle(folder)
  await prepareOutside(servers.urlOf('postgres'))
  const { environment, headers, encryptionKeys } = newBroker()
  // The address that credentials name, the same for every replica.
  const entrance = await openTcpProxy(servers.primaryPort)
  const networks = new Map<Replica, Network>()
  const callPaths: string[] = []
  for (let index = 0; index < count; index += 1) {
    const name = `replica-${index + 1}`
    const network = await Network.open({ state: servers.ports, tenants: [servers.primaryPort] })
    const calls = join(folder, `${name}.calls`)
    const catalog = join(folder, `${name}.catalog.json`)
    await writeFile(catalog, JSON.stringify(chaosCatalog(0)))
    const own = {
      ...environment,
      DATABASE_URL: throughAll(servers.urlOf(STATE_DATABASE), network.to('state')),
      POSTGRESQL_ADMIN_URL: throughAll(servers.urlOf('postgres'), network.to('tenants')),
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
    servers,
    replicas,
    networks,
    rollout: new Rollout({ replicas, start }),
    encryptionKeys,
    callPaths,
    skews,
    get stateUrl() {
      return servers.urlOf(STATE_DATABASE)
    },
    get adminUrl() {
      return servers.urlOf('postgres')
    },
    headers,
    start,
    moveTenants: () => {
      const proxies = [...networks.values()].flatMap((network) => network.to('tenants'))
      for (const proxy of [entrance, ...proxies]) proxy.retarget(servers.primaryPort)
    },
    close: async ({ keep }) => {
      await endReplicas(replicas)
      await Promise.all([entrance.close(), ...[...networks.values()].map((network) => network.close())])
      await servers.close({ keep })
      if (!keep) await rm(folder, { recursive: true, force: true })
    }
  }
}
