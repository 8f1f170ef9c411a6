import type { OriginatingIdentity, TaskLog } from './provider.ts'

/** Who asks, and what every verb has to know of the request. */
export interface Call {
  /** Name of the platform that authenticated. */
  readonly platform: string
  /** `accepts_incomplete=true`: the platform can wait for an asynchronous operation (spec: Asynchronous Operations). */
  readonly acceptsIncomplete: boolean
  /** `performance.now()` when the request came in; its time counts from here. */
  readonly receivedAt: number
  readonly originatingIdentity?: OriginatingIdentity
  /** spec: Request Identity. */
  readonly requestIdentity?: string
  readonly log: TaskLog
  /** Called with the operation that the request started or joined, for what is told about the request. */
  readonly follow?: (operationId: string) => void
}

/** So much of a name is logged. */
const USER_CHARACTERS = 200

/** Who asks, as the platform calls them: Cloud Foundry a `user_id`, Kubernetes a `username` (OSB profile). */
export function userOf(identity: OriginatingIdentity | undefined): string | undefined {
  const user = identity?.value.user_id ?? identity?.value.username
  return typeof user === 'string' ? user.slice(0, USER_CHARACTERS) : undefined
}

/**
 * What a verb came to. `created`: by this request; `exists`: it was there already; `done`: changed or removed by this
 * request; `accepted`: in progress, poll.
 */
export type Outcome<Done, Accepted> =
  | { readonly kind: 'created' | 'exists' | 'done'; readonly body: Done }
  | { readonly kind: 'accepted'; readonly body: Accepted }
