import { DEFAULT_LOCK_LIMIT } from '../plan-options.ts'
import type { Holder, Sight } from './look.ts'

/** An instance that holds this many times its limit is flooding the lock table, which no application does. */
const FLOOD = 4
/** A server whose lock table is this full is about to reject statements of everybody. */
const FULL_SHARE = 0.75

/** What has to end so that the instances keep to their limits. */
export interface Excess {
  /** The largest holders first. */
  readonly holders: readonly Holder[]
  /** Tokens of the instances that flood the lock table. */
  readonly floods: ReadonlySet<string>
}

/**
 * Chooses the holders to end: those of instances above the limit of their plan, and, if the lock table is still almost
 * full, those of the instances that hold the most. An instance with many small holders must not cause the end of another
 * instance's dump, which is one large holder.
 */
export function excess({ holders, locks, capacity }: Pick<Sight, 'holders' | 'locks' | 'capacity'>): Excess {
  const ending = new Set<Holder>()
  const floods = new Set<string>()
  for (const [token, own] of Map.groupBy(holders, (holder) => holder.token)) {
    const limit = own[0]?.lockLimit ?? DEFAULT_LOCK_LIMIT
    const sum = total(own)
    if (sum > limit && (sum > FLOOD * limit || sum > capacity / 2)) floods.add(token)
    for (const holder of largest(own, sum - limit)) ending.add(holder)
  }
  const rest = holders.filter((holder) => !ending.has(holder))
  const tooMany = locks - total([...ending]) - FULL_SHARE * capacity
  for (const holder of largestOfInstances(rest, tooMany)) ending.add(holder)
  return { holders: [...ending], floods }
}

/** The largest holders that together have at least so many locks. */
function largest(holders: readonly Holder[], locks: number): Holder[] {
  let left = locks
  return holders
    .toSorted((a, b) => b.locks - a.locks)
    .filter((holder) => {
      const wanted = left > 0 && holder.locks > 0
      if (wanted) left -= holder.locks
      return wanted
    })
}

/** The same, always the next one of the instance that then has the most locks. */
function largestOfInstances(holders: readonly Holder[], locks: number): Holder[] {
  const instances = [...Map.groupBy(holders, ({ token }) => token).values()].map((own) => ({
    left: own.toSorted((a, b) => a.locks - b.locks),
    locks: total(own)
  }))
  const chosen: Holder[] = []
  for (let left = locks; left > 0; ) {
    const [most] = instances.toSorted((a, b) => b.locks - a.locks)
    const holder = most?.left.pop()
    if (most === undefined || holder === undefined || holder.locks === 0) break
    chosen.push(holder)
    most.locks -= holder.locks
    left -= holder.locks
  }
  return chosen
}

function total(holders: readonly Holder[]): number {
  return holders.reduce((sum, { locks }) => sum + locks, 0)
}
