import type { BindingRecord, InstanceRecord } from './store.ts'

/** What upkeep needs to know of an instance, or with `bindingId` of a binding. */
export type StoredResource = Pick<
  InstanceRecord,
  'instanceId' | 'serviceId' | 'planId' | 'parameters' | 'status' | 'state'
> &
  Partial<Pick<BindingRecord, 'bindingId' | 'expired' | 'revokedAt'>>

/** Which resources of a provider are listed. */
export interface Listing {
  /** Ids of plans, of which the instances are listed; default: all. */
  readonly plans?: readonly string[]
  /** Whether each instance is followed by its bindings. Default: `true`. */
  readonly bindings?: boolean
}

/** A binding whose time is up and whose credentials have not been revoked, with the provider and plan of its instance. */
export type ExpiredBinding = Pick<BindingRecord, 'instanceId' | 'bindingId' | 'platform'> &
  Pick<InstanceRecord, 'provider' | 'serviceId' | 'planId'>
