import type { OperationJob, OperationKind } from '../core/store.ts'

/** Operations that usually take seconds. A provision or an update may take an hour. */
export function isShort(kind: OperationKind): boolean {
  return kind === 'bind' || kind === 'unbind' || kind === 'deprovision'
}

/** Name of the jobs that share a limit: the short or the long ones of one platform. */
export function groupOf({ platform, kind }: Pick<OperationJob, 'platform' | 'kind'>): string {
  return `${isShort(kind) ? 'short' : 'long'} ${platform}`
}

function groupsOf(platform: string): string[] {
  return (['bind', 'provision'] as const).map((kind) => groupOf({ platform, kind }))
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
 * The worker slots of a process. A quarter of them, at least one, takes only short operations. One platform leaves a slot to
 * the others, in total and among those for long operations, so that neither long operations nor one platform block the others.
 * This takes three slots: of two, only one takes long operations, and one slot alone takes anything.
 */
export class Slots {
  readonly #total: number
  readonly #forLong: number
  readonly #groupLimit: number
  readonly #platformLimit: number
  /** Running operations by group, and by platform. */
  readonly #groups = new Map<string, number>()
  readonly #platforms = new Map<string, number>()
  #running = 0
  #long = 0

  /** @param total number of slots, at least 1 */
  constructor(total: number) {
    this.#total = total
    this.#forLong = total === 1 ? 1 : total - Math.max(1, Math.floor(total / 4))
    this.#groupLimit = Math.max(1, this.#forLong - 1)
    this.#platformLimit = Math.max(1, total - 1)
  }

  /** Undefined while no job may be fetched. */
  vacancy(): Vacancy | undefined {
    const free = this.#total - this.#running
    if (free === 0) return undefined
    const freeForLong = Math.min(free, this.#forLong - this.#long)
    const shortOnly = freeForLong === 0
    const groups = limited(this.#groups, this.#groupLimit)
    const platforms = limited(this.#platforms, this.#platformLimit)
    return {
      count: Math.min(shortOnly ? free : freeForLong, groups.free, platforms.free),
      shortOnly,
      fullGroups: [...new Set([...groups.full, ...platforms.full.flatMap(groupsOf)])]
    }
  }

  /** Takes a slot; returns the way to free it. */
  take(job: OperationJob): () => void {
    this.#count(job, 1)
    return () => this.#count(job, -1)
  }

  #count(job: OperationJob, change: 1 | -1): void {
    add(this.#groups, groupOf(job), change)
    add(this.#platforms, job.platform, change)
    this.#running += change
    if (!isShort(job.kind)) this.#long += change
  }
}

/** Names that have reached a limit, and how many more any other name may have. */
function limited(counts: ReadonlyMap<string, number>, limit: number): { full: string[]; free: number } {
  const full = [...counts].filter(([, count]) => count >= limit).map(([name]) => name)
  const others = [...counts.values()].filter((count) => count < limit)
  return { full, free: limit - Math.max(0, ...others) }
}

function add(counts: Map<string, number>, name: string, change: 1 | -1): void {
  const count = (counts.get(name) ?? 0) + change
  if (count === 0) counts.delete(name)
  else counts.set(name, count)
}
