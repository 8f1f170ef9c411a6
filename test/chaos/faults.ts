import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from './random.ts'
import type { Replica } from './replicas.ts'
import type { Scene } from './scene.ts'

/** The supervisor of the embedded server gives up after five deaths within a minute. */
const BETWEEN_RESTARTS_MS = 20_000
/** A stopping replica must be gone after this. */
const STOP_WITHIN_MS = 10_000

export interface FaultOptions {
  /** No more faults than this. */
  readonly count: number
  /** No fault after this time, in milliseconds from now. */
  readonly forMs: number
}

/** What was done, by kind. */
export type FaultCounts = Map<string, number>

/** Kills, freezes and stops replicas and restarts the server, at random, until the count or the time is reached. */
export class Faults {
  readonly #scene: Scene
  readonly #random: Random
  readonly counts: FaultCounts = new Map()
  readonly violations: string[] = []
  #total = 0
  #lastRestart = Date.now()

  constructor(scene: Scene, random: Random) {
    this.#scene = scene
    this.#random = random
  }

  get total(): number {
    return this.#total
  }

  async run({ count, forMs }: FaultOptions): Promise<void> {
    const end = Date.now() + forMs
    const goOn = () => this.#total < count && Date.now() < end
    await Promise.all([
      ...this.#scene.replicas.map((replica) => this.#torment(replica, goOn)),
      this.#restartServer(goOn)
    ])
  }

  async #torment(replica: Replica, goOn: () => boolean): Promise<void> {
    while (goOn()) {
      await sleep(this.#random.between(300, 2_500))
      if (!goOn()) return
      const fault = this.#random.pick(['kill', 'kill', 'freeze', 'terminate'] as const)
      if (fault === 'freeze') await this.#freeze(replica)
      else await this.#end(replica, fault === 'kill' ? 'SIGKILL' : 'SIGTERM')
    }
  }

  async #freeze(replica: Replica): Promise<void> {
    // One in five lasts past the lease: somebody else takes over, and the frozen one must find that out.
    const long = this.#random.chance(0.2)
    this.#count(long ? 'frozen past the lease' : 'frozen')
    replica.signal('SIGSTOP')
    await sleep(long ? this.#random.between(10_000, 14_000) : this.#random.between(200, 4_000))
    replica.signal('SIGCONT')
  }

  async #end(replica: Replica, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.#count(signal === 'SIGKILL' ? 'killed' : 'terminated')
    const took = await replica.end(signal)
    if (took > STOP_WITHIN_MS) this.violations.push(`${replica.name} took ${took} ms to stop`)
    await sleep(this.#random.between(0, 1_000))
    await replica.start()
  }

  async #restartServer(goOn: () => boolean): Promise<void> {
    while (goOn()) {
      await sleep(500)
      if (Date.now() - this.#lastRestart < BETWEEN_RESTARTS_MS || !goOn()) continue
      this.#lastRestart = Date.now()
      const crash = this.#random.chance(0.5)
      this.#count(crash ? 'server crashed' : 'server restarted')
      // The embedded server's supervisor brings it back: SIGQUIT loses what was not synced, SIGINT cuts all sessions.
      process.kill(this.#scene.postgres.pid, crash ? 'SIGQUIT' : 'SIGINT')
    }
  }

  #count(kind: string): void {
    this.#total += 1
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
  }
}
