import type { JsonObject } from '../../schemas/common.ts'

/** Credentials that wait to be fetched. */
export interface Undelivered {
  credentials: JsonObject
  /** How long they wait, in milliseconds, on the clock of the store. */
  forMs: number
}

/** What a store does with credentials of plans that keep none, until they are fetched. */
export interface Deliveries {
  /**
   * Hands over the credentials that wait on a binding, and forgets them in the same transaction: of several calls at once
   * exactly one gets them. Nothing when there are none, or their time is up.
   */
  deliver(instanceId: string, bindingId: string): Promise<JsonObject | undefined>
  /** Forgets credentials whose time to be fetched is up; says of how many bindings. */
  dropUndelivered(): Promise<number>
}
