import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { addedPlan, chaosCatalog } from './catalog.ts'
import { STOP_WITHIN_MS } from './process-faults.ts'
import type { Replica } from './replicas.ts'

/** How long a rollout rests after each replica, in milliseconds. */
const MIXED_MS = 2_000
const CATALOG_VARIABLE = 'BROKER_CATALOG_PATH'

export interface RolloutOptions {
  readonly replicas: readonly Replica[]
  /** Starts a replica that has been ended. */
  readonly start: (replica: Replica) => Promise<void>
}

/** Restarts the replicas one after the other with the next version of the catalog, while clients use it already. */
export class Rollout {
  readonly #options: RolloutOptions
  readonly #versions = new Map<Replica, number>()
  #newest = 0

  constructor(options: RolloutOptions) {
    this.#options = options
  }

  /** Plans that at least one replica has and that not every catalog version had. */
  get added(): readonly string[] {
    return Array.from({ length: this.#newest }, (_, index) => addedPlan(index + 1))
  }

  /** The replicas that know the plan. */
  offering(planId: string): readonly Replica[] {
    const version = this.added.indexOf(planId) + 1
    return this.#options.replicas.filter((replica) => (this.#versions.get(replica) ?? 0) >= version)
  }

  async next(violate: (text: string) => void): Promise<void> {
    const version = this.#newest + 1
    for (const replica of this.#options.replicas) {
      await replica.exclusively(async () => {
        const took = await replica.end('SIGTERM')
        if (took > STOP_WITHIN_MS) violate(`${replica.name} took ${took} ms to stop`)
        await writeFile(String(replica.environment[CATALOG_VARIABLE]), JSON.stringify(chaosCatalog(version)))
        await this.#options.start(replica)
        this.#versions.set(replica, version)
        this.#newest = version
      })
      // For a while the replicas differ.
      await sleep(MIXED_MS)
    }
  }
}
