import type { JsonObject } from '../../schemas/common.ts'
import type { BindingRecord } from './store.ts'

/** A binding, and the platform that asks for it. */
export type OwnBinding = Pick<BindingRecord, 'platform' | 'instanceId' | 'bindingId'>

/** Credentials that wait to be fetched. */
export interface Undelivered {
  credentials: JsonObject
  /** How long they wait, in milliseconds, on the clock of the store. */
  forMs: number
}

/** What a store does with credentials of plans that keep none, until they are fetched. */
export interface Deliveries {
  /**
   * Returns the credentials that wait on a binding, and deletes them in the same transaction: of several calls at once
   * exactly one gets them. Returns nothing if there are none, if their time is up, or if the binding is another platform's.
   */
  deliver(of: OwnBinding): Promise<JsonObject | undefined>
  /** Forgets credentials whose time to be fetched is up; says of how many bindings. */
  dropUndelivered(): Promise<number>
}
