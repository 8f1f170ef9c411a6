import type { OperationJob, OperationKind } from '../core/store.ts'

/** Operations that usually take seconds. A provision or an update may take an hour. */
export function isShort(kind: OperationKind): boolean {
  return kind === 'bind' || kind === 'unbind' || kind === 'deprovision'
}

/** Name of the jobs that share a limit: the short or the long ones of one platform. */
export function groupOf({ platform, kind }: Pick<OperationJob, 'platform' | 'kind'>): string {
  return `${isShort(kind) ? 'short' : 'long'} ${platform}`
}

/** Which jobs may be fetched at the moment. */
export interface Vacancy {
  /** How many at most, so that no limit is exceeded whatever jobs come. */
  readonly count: number
  /** Whether only short ones. */
  readonly shortOnly: boolean
  /** Groups that have reached their limit. */
  readonly fullGroups: readonly string[]
}

/**
 * The worker slots of a process. A quarter of them takes only short operations, and one platform never takes all slots, so that
 * neither long operations nor one platform block the others.
 */
export class Slots {
  readonly #total: number
  readonly #forLong: number
  readonly #groupLimit: number
  readonly #groups = new Map<string, number>()
  #running = 0
  #long = 0

  /** @param total number of slots, at least 1 */
  constructor(total: number) {
    this.#total = total
    this.#forLong = total === 1 ? 1 : total - Math.max(1, Math.floor(total / 4))
    this.#groupLimit = Math.max(1, this.#forLong - 1)
  }

  /** Undefined while no job may be fetched. */
  vacancy(): Vacancy | undefined {
    const free = this.#total - this.#running
    if (free === 0) return undefined
    const freeForLong = Math.min(free, this.#forLong - this.#long)
    const shortOnly = freeForLong === 0
    const full = [...this.#groups].filter(([, count]) => count >= this.#groupLimit)
    const counts = [...this.#groups.values()].filter((count) => count < this.#groupLimit)
    const freeInGroup = this.#groupLimit - Math.max(0, ...counts)
    return {
      count: Math.min(shortOnly ? free : freeForLong, freeInGroup),
      shortOnly,
      fullGroups: full.map(([group]) => group)
    }
  }

  /** Takes a slot; returns the way to free it. */
  take(job: OperationJob): () => void {
    this.#count(job, 1)
    return () => this.#count(job, -1)
  }

  #count(job: OperationJob, change: 1 | -1): void {
    const group = groupOf(job)
    const count = (this.#groups.get(group) ?? 0) + change
    if (count === 0) this.#groups.delete(group)
    else this.#groups.set(group, count)
    this.#running += change
    if (!isShort(job.kind)) this.#long += change
  }
}
