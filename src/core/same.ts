import type { JsonObject } from '../../schemas/common.ts'
import type { BindingRecord, InstanceRecord } from './store.ts'

/** The attributes that make a provision identical to the instance there is (spec: Provisioning, 200 and 409). */
export type InstanceAttributes = Pick<
  InstanceRecord,
  'serviceId' | 'planId' | 'organizationGuid' | 'spaceGuid' | 'parameters'
>

/** The attributes that make a bind identical to the binding there is. */
export type BindingAttributes = Pick<
  BindingRecord,
  'serviceId' | 'planId' | 'appGuid' | 'route' | 'predecessorBindingId' | 'parameters'
>

/** `context`, identities, unknown fields and `maintenance_info` do not count: retries differ in them. */
export function sameInstance(a: InstanceAttributes, b: InstanceAttributes): boolean {
  return (
    a.serviceId === b.serviceId &&
    a.planId === b.planId &&
    a.organizationGuid === b.organizationGuid &&
    a.spaceGuid === b.spaceGuid &&
    sameJson(a.parameters, b.parameters)
  )
}

export function sameBinding(a: BindingAttributes, b: BindingAttributes): boolean {
  return (
    a.serviceId === b.serviceId &&
    a.planId === b.planId &&
    a.appGuid === b.appGuid &&
    a.route === b.route &&
    a.predecessorBindingId === b.predecessorBindingId &&
    sameJson(a.parameters, b.parameters)
  )
}

/**
 * Deep equality of JSON. Only own keys count, whatever they are called (`constructor`, `toString`); -0 equals 0, as it
 * does after a trip through the database.
 */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (Array.isArray(a) || Array.isArray(b)) {
    return (
      Array.isArray(a) &&
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((item, index) => sameJson(item, b[index]))
    )
  }
  if (!isObject(a) || !isObject(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && sameJson(a[key], b[key]))
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null
}
