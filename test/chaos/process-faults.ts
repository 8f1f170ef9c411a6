import { setTimeout as sleep } from 'node:timers/promises'
import type { ChaosScene } from './chaos-scene.ts'
import type { Fault } from './faults.ts'
import type { Random } from './random.ts'
import type { Replica } from './replicas.ts'

/** A stopping replica must be gone after this. */
export const STOP_WITHIN_MS = 10_000

/** Ends and freezes processes. */
export function processFaults(scene: ChaosScene, random: Random, violate: (text: string) => void): Fault[] {
  const end = (signal: 'SIGKILL' | 'SIGTERM') => (replica: Replica) =>
    replica.exclusively(async () => {
      const took = await replica.end(signal)
      if (took > STOP_WITHIN_MS) violate(`${replica.name} took ${took} ms to stop`)
      await sleep(random.between(0, 1_000))
      await scene.start(replica)
    })
  const freeze = (low: number, high: number) => (replica: Replica) =>
    replica.exclusively(() => replica.freeze(random.between(low, high)))
  return [
    { name: 'replica killed', weight: 4, strike: end('SIGKILL') },
    { name: 'replica terminated', weight: 2, strike: end('SIGTERM') },
    { name: 'replica frozen for up to 4 s', weight: 2, strike: freeze(200, 4_000) },
    { name: 'replica frozen past the lease', weight: 1, strike: freeze(10_000, 14_000) }
  ]
}
