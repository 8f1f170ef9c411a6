import type { OperationStart } from './store.ts'
import { GRACE_MS } from './watchdog.ts'

/** How long an asynchronous operation may take if its plan names no `maximum_polling_duration`. */
export const DEFAULT_MAXIMUM_SECONDS = 3600

/** How long an asynchronous operation on a plan may take, in milliseconds. */
export function maximumMsOf(plan: { readonly maximumPollingSeconds?: number | undefined } | undefined): number {
  return (plan?.maximumPollingSeconds ?? DEFAULT_MAXIMUM_SECONDS) * 1000
}

/** The time of an operation in the background; one that halts another may have to wait for its worker first. */
export function withWait({ maximumMs, halts }: Pick<OperationStart, 'maximumMs' | 'halts'>): number {
  return halts === undefined ? maximumMs : maximumMs + 2 * GRACE_MS
}
