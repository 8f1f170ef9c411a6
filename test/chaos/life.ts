import type { Platform } from './platform.ts'
import type { Random } from './random.ts'

/** What a client has been told of one instance that it still has. */
export interface Known {
  readonly serviceId: string
  planId: string
  /** An update failed: what is outside may be on either plan. */
  planUncertain?: boolean
  /** Credentials by binding id. */
  readonly bindings: Map<string, Record<string, unknown>>
}

/** What the lives of one tenant share. */
export interface Life {
  readonly platform: Platform
  readonly random: Random
  readonly known: Map<string, Known>
}

/** The query of a request that may be answered 202. */
export const asynchronous = 'accepts_incomplete=true'

/**
 * Whether this state is a violation. A synchronous request that dies with its process is undone, and its repetition is told
 * that it failed; an accepted operation is finished by some replica.
 */
export function mustSucceed(query: string, state: string): boolean {
  return state === 'refused' || (state === 'failed' && query.includes(asynchronous))
}
