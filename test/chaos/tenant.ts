import { randomUUID } from 'node:crypto'
import type { ChaosScene } from './chaos-scene.ts'
import { DatabaseLives } from './database-lives.ts'
import type { Known } from './life.ts'
import type { Platform } from './platform.ts'
import type { Random } from './random.ts'
import { ScriptedLives } from './scripted-lives.ts'

/** Goes through random lives of instances until told to stop, and remembers what it was told. */
export class Tenant {
  readonly known = new Map<string, Known>()
  /** Instances that the client gave up: the violation is reported, and nothing more is known of them. */
  readonly lost = new Set<string>()
  lives = 0
  readonly #platform: Platform
  readonly #random: Random
  readonly #databases: DatabaseLives
  readonly #scripted: ScriptedLives

  constructor(scene: ChaosScene, platform: Platform, { random, faulty }: { random: Random; faulty: boolean }) {
    this.#platform = platform
    this.#random = random
    const life = { platform, random, known: this.known }
    this.#databases = new DatabaseLives(life)
    this.#scripted = new ScriptedLives(life, { rollout: scene.rollout, faulty })
  }

  async run(goOn: () => boolean): Promise<void> {
    while (goOn()) {
      const lives = this.#random.chance(0.5) ? this.#databases : this.#scripted
      await this.#guarded(randomUUID(), (instanceId) => lives.live(instanceId, goOn))
      this.lives += 1
    }
  }

  /** Gives every database that is left a binding, which names it. */
  async bindAll(): Promise<void> {
    for (const instanceId of [...this.known.keys()]) {
      await this.#guarded(instanceId, (instanceId) => this.#databases.bindOnce(instanceId))
    }
  }

  async #guarded(instanceId: string, work: (instanceId: string) => Promise<void>): Promise<void> {
    try {
      await work(instanceId)
    } catch (error) {
      this.#platform.violate(error instanceof Error ? error.message : String(error))
      this.lost.add(instanceId)
      this.known.delete(instanceId)
    }
  }
}
