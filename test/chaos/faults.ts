import { setTimeout as sleep } from 'node:timers/promises'
import type { ChaosScene } from './chaos-scene.ts'
import { networkFaults } from './network-faults.ts'
import { processFaults } from './process-faults.ts'
import type { Random } from './random.ts'
import type { Replica } from './replicas.ts'
import { serverFaults } from './server-faults.ts'
import { Timeline } from './timeline.ts'

/** Kinds of faults, as `--only` names them. */
export const groups = ['process', 'network', 'server', 'provider', 'skew', 'catalog', 'promotion'] as const
export type Group = (typeof groups)[number]

/** One thing that goes wrong, on one replica. */
export interface Fault {
  readonly name: string
  /** How often it is picked, relative to the others. */
  readonly weight: number
  /** It takes too long for a short run to have it by force. */
  readonly isLong?: boolean
  strike(replica: Replica): Promise<void>
}

/** One thing that goes wrong for all replicas. */
export interface SharedFault {
  readonly name: string
  /** Least time from one to the next, in milliseconds. */
  readonly everyMs: number
  strike(): Promise<void>
}

export interface FaultOptions {
  /** No more faults than this, except that each kind strikes at least once. */
  readonly count: number
  /** No fault after this time, in milliseconds from now. */
  readonly forMs: number
}

/** A run that takes less is a short one. */
const SHORT_MS = 300_000
/** Until each kind has struck once, the next one follows after this. */
const FIRST_MS = 6_000

/**
 * Strikes at random, each replica and the servers side by side, until the count or the time is reached. Each kind strikes
 * once before the dice decide, so that a short run has all of them.
 */
export class Faults {
  readonly counts = new Map<string, number>()
  readonly violations: string[] = []
  readonly timeline = new Timeline()
  readonly #scene: ChaosScene
  readonly #random: Random
  readonly #ofReplica: Fault[] = []
  readonly #shared: SharedFault[] = []
  readonly #background = new Set<Promise<void>>()
  #total = 0

  constructor(scene: ChaosScene, random: Random, chosen: ReadonlySet<Group>) {
    this.#scene = scene
    this.#random = random
    const violate = (text: string) => this.violations.push(text)
    if (chosen.has('process')) this.#ofReplica.push(...processFaults(scene, random, violate))
    if (chosen.has('network')) this.#ofReplica.push(...networkFaults(scene, random.fork('network')))
    this.#shared.push(...serverFaults(scene, random.fork('server'), chosen))
    if (chosen.has('catalog')) {
      const strike = () => scene.rollout.next(violate)
      this.#shared.push({ name: 'catalog rolled out', everyMs: 25_000, strike })
    }
  }

  get total(): number {
    return this.#total
  }

  async run({ count, forMs }: FaultOptions): Promise<void> {
    const end = Date.now() + forMs
    const goOn = () => this.#total < count && Date.now() < end
    const { replicas } = this.#scene
    const isShort = forMs < SHORT_MS
    const first = this.#random.shuffle(this.#ofReplica.filter(({ isLong = false }) => !(isLong && isShort)))
    await Promise.all([
      ...replicas.map((replica, index) => {
        const own = first.filter((_, place) => place % replicas.length === index)
        return this.#torment(replica, own, goOn)
      }),
      this.#shake(goOn)
    ])
    await Promise.all(this.#background)
  }

  async #torment(replica: Replica, first: Fault[], goOn: () => boolean): Promise<void> {
    const random = this.#random.fork(replica.name)
    while (first.length > 0 || goOn()) {
      await sleep(random.between(300, 2_500))
      const forced = first.shift()
      if (forced === undefined && !goOn()) return
      const fault = forced ?? pick(this.#ofReplica, random)
      if (fault === undefined) continue
      const struck = this.#strike(fault.name, () => fault.strike(replica), replica)
      // Some go on while the next one strikes.
      if (forced === undefined && random.chance(0.25)) this.#keep(struck)
      else await struck
    }
  }

  async #shake(goOn: () => boolean): Promise<void> {
    const first = this.#random.shuffle(this.#shared)
    const last = new Map<SharedFault, number>()
    while (first.length > 0 || goOn()) {
      await sleep(first.length > 0 ? FIRST_MS : 500)
      const forced = first.shift()
      if (forced === undefined && !goOn()) return
      const ready = this.#shared.filter((fault) => Date.now() - (last.get(fault) ?? 0) > fault.everyMs)
      const fault = forced ?? (ready.length > 0 ? this.#random.pick(ready) : undefined)
      if (fault === undefined) continue
      last.set(fault, Date.now())
      await this.#strike(fault.name, () => fault.strike())
    }
  }

  #keep(struck: Promise<void>): void {
    const kept = struck
      .catch((error: unknown) => void this.violations.push(`a fault failed: ${error}`))
      .finally(() => this.#background.delete(kept))
    this.#background.add(kept)
  }

  async #strike(name: string, strike: () => Promise<void>, replica?: Replica): Promise<void> {
    this.#total += 1
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1)
    const struck = this.timeline.begin(replica)
    try {
      await strike()
    } finally {
      struck.to = Date.now()
    }
  }
}

function pick(faults: readonly Fault[], random: Random): Fault | undefined {
  let left = random.next() * faults.reduce((sum, { weight }) => sum + weight, 0)
  return faults.find(({ weight }) => {
    left -= weight
    return left < 0
  })
}
