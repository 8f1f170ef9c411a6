import { setTimeout as sleep } from 'node:timers/promises'
import type { LostCommit, TcpProxy } from '../helper/tcp-proxy.ts'
import type { ChaosScene } from './chaos-scene.ts'
import type { Fault } from './faults.ts'
import { type Side, sides } from './network.ts'
import type { Random } from './random.ts'
import type { Replica } from './replicas.ts'

/** How long we wait for a COMMIT whose answer is to be lost. */
const COMMIT_WITHIN_MS = 4_000

const names: Record<Side, string> = { state: 'state database', tenants: "tenants' server" }

/** Freezes, cuts and refuses the connections of one replica, and loses the answers to its COMMITs. */
export function networkFaults(scene: ChaosScene, random: Random): Fault[] {
  return sides.flatMap((side) => {
    const fault = (name: string, weight: number, strike: (proxies: readonly TcpProxy[]) => Promise<void>): Fault => ({
      name: `${names[side]}: ${name}`,
      weight,
      strike: (replica) => strike(proxiesOf(scene, replica, side))
    })
    const frozen = async (proxies: readonly TcpProxy[], [low, high]: [number, number], end: 'thaw' | 'cut') => {
      for (const proxy of proxies) proxy.freeze()
      await sleep(random.between(low, high))
      for (const proxy of proxies) proxy[end]()
    }
    return [
      fault('connections frozen for up to 4 s', 1, (proxies) => frozen(proxies, [500, 4_000], 'thaw')),
      fault('frozen past the lease, then thawed', 1, (proxies) => frozen(proxies, [10_000, 14_000], 'thaw')),
      fault('frozen past the lease, then cut', 1, (proxies) => frozen(proxies, [10_000, 14_000], 'cut')),
      { ...fault('frozen for a minute', 0.2, (proxies) => frozen(proxies, [45_000, 75_000], 'cut')), isLong: true },
      fault('connections cut', 1, async (proxies) => {
        for (const proxy of proxies) proxy.cut()
      }),
      fault('cut, and new ones refused', 1, async (proxies) => {
        for (const proxy of proxies) {
          proxy.refuse(true)
          proxy.cut()
        }
        await sleep(random.between(500, 5_000))
        for (const proxy of proxies) proxy.refuse(false)
      }),
      fault('unreachable, new ones too', 1, async (proxies) => {
        for (const proxy of proxies) proxy.freeze({ all: true })
        await sleep(random.between(2_000, 12_000))
        for (const proxy of proxies) {
          proxy.cut()
          proxy.thaw()
        }
      }),
      fault('answer to COMMIT lost, connection cut', 2, (proxies) => lose(proxies, 'cut', random)),
      fault('answer to COMMIT lost, connection frozen', 2, (proxies) => lose(proxies, 'freeze', random))
    ]
  })
}

async function lose(proxies: readonly TcpProxy[], how: LostCommit, random: Random): Promise<void> {
  const before = lostOn(proxies)
  const count = random.between(1, 3)
  for (const proxy of proxies) proxy.loseCommits(how, count)
  for (const end = Date.now() + COMMIT_WITHIN_MS; Date.now() < end && lostOn(proxies) < before + count; )
    await sleep(50)
  for (const proxy of proxies) proxy.loseCommits(how, 0)
  if (how === 'cut') return
  await sleep(random.between(1_000, 6_000))
  for (const proxy of proxies) {
    if (random.chance(0.5)) proxy.cut()
    proxy.thaw()
  }
}

function lostOn(proxies: readonly TcpProxy[]): number {
  return proxies.reduce((sum, { lostCommits }) => sum + lostCommits, 0)
}

function proxiesOf({ networks }: ChaosScene, replica: Replica, side: Side): readonly TcpProxy[] {
  const network = networks.get(replica)
  if (network === undefined) throw new Error(`${replica.name} has no proxies`)
  return network.to(side)
}
