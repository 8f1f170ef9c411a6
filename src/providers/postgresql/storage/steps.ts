import type { StandingBinding } from '../../../core/provider.ts'
import type { Place } from '../instances.ts'
import { loginName, readBindingState } from '../names.ts'
import { type PlanOptions, quotaBytes } from '../plan-options.ts'
import { loginsOf } from '../roles.ts'
import { lift } from './lock.ts'
import { noticeOf, type Usage, usageOf } from './usage.ts'

/** A lock is lifted a little below the quota: at the quota itself it would come and go. */
const LIFT_SHARE = 0.95
/** What a locked database may grow by, through what runs in the background, before it is closed. */
const GROWTH_SHARE = 0.1
const GROWTH_BYTES = 16 * 1024 ** 2

export type Step = 'lock' | 'lift' | 'close'

/** What has to be done about an instance; undefined: nothing. */
export function stepFor(usage: Usage, quota: number): Step | undefined {
  const { bytes, lockedAtBytes, open, sealed, writable } = usage
  if (lockedAtBytes === undefined) return bytes > quota ? 'lock' : undefined
  if (bytes <= quota * LIFT_SHARE) return 'lift'
  // An administrator may have let a login in, and an earlier version kept the broker out
  if (!open) return sealed ? undefined : 'close'
  if (bytes > lockedAtBytes + Math.max(GROWTH_BYTES, lockedAtBytes * GROWTH_SHARE)) return 'close'
  return writable ? 'lock' : undefined
}

/** The existing logins of the bindings that act as the owner. The repair handles one that somebody has dropped. */
export async function ownerLogins(
  { maintenance, names }: Place,
  bindings: readonly StandingBinding[]
): Promise<string[]> {
  const existing = await loginsOf(maintenance, names)
  return bindings.flatMap(({ state, settled }) => {
    const binding = readBindingState(state)
    if (!settled || binding?.role !== 'owner') return []
    return existing.filter((login) => login === loginName(binding))
  })
}

/**
 * Lifts the lock of an instance within the update that gives it more storage.
 * @returns a notice for the user when the instance remains locked
 */
export async function liftIfRoom(
  place: Place,
  plan: PlanOptions,
  bindings: readonly StandingBinding[]
): Promise<string | undefined> {
  const usage = (await usageOf(place.maintenance, [place.names])).get(place.names.database)
  if (usage === undefined) return undefined
  if (stepFor(usage, quotaBytes(plan)) !== 'lift') return noticeOf(usage).notice
  await lift(place, await ownerLogins(place, bindings))
  return undefined
}
