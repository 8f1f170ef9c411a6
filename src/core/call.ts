import type { OriginatingIdentity, TaskLog } from './provider.ts'

/** Who asks, and what every verb has to know of the request. */
export interface Call {
  /** Name of the platform that authenticated. */
  readonly platform: string
  /** `accepts_incomplete=true`: the platform can wait for an asynchronous operation (spec: Asynchronous Operations). */
  readonly acceptsIncomplete: boolean
  readonly originatingIdentity?: OriginatingIdentity
  /** spec: Request Identity. */
  readonly requestIdentity?: string
  readonly log: TaskLog
}

/**
 * What a verb came to. `created`: by this request; `exists`: it was there already; `done`: changed or removed by this
 * request; `accepted`: in progress, poll.
 */
export type Outcome<Done, Accepted> =
  | { readonly kind: 'created' | 'exists' | 'done'; readonly body: Done }
  | { readonly kind: 'accepted'; readonly body: Accepted }
