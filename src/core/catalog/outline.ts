import type { JsonObject } from '../../../schemas/common.ts'
import { isJsonObject, type Place } from './faults.ts'

/**
 * A catalog as far as it can be read: faults in one place must not hide those in another, so the rules work on this
 * and not on a catalog whose shape is right.
 */
export interface ServiceOutline {
  at: Place
  source: JsonObject
  extension: JsonObject
  plans: PlanOutline[]
}

export interface PlanOutline {
  at: Place
  source: JsonObject
  extension: JsonObject
}

/** One schema of a plan, and where it stands. */
export interface SchemaOutline {
  at: Place
  schema: JsonObject
}

/** Where a plan may have schemas for request parameters (spec: Schemas Object). */
export const SCHEMA_PLACES = [
  ['service_instance', 'create'],
  ['service_instance', 'update'],
  ['service_binding', 'create']
] as const

/** The offerings and plans that are objects. */
export function outlineOf(catalog: unknown): ServiceOutline[] {
  return objectsIn(catalog, 'services', []).map(({ at, source }) => ({
    at,
    source,
    extension: objectAt(source, 'x-broker'),
    plans: objectsIn(source, 'plans', at).map((plan) => ({ ...plan, extension: objectAt(plan.source, 'x-broker') }))
  }))
}

/** The schemas of a plan that are objects. */
export function schemasOf(plan: PlanOutline): SchemaOutline[] {
  return SCHEMA_PLACES.flatMap(([resource, verb]) => {
    const schema = objectAt(objectAt(plan.source, 'schemas'), resource)
    const parameters = objectAt(schema, verb).parameters
    const at = [...plan.at, 'schemas', resource, verb, 'parameters']
    return isJsonObject(parameters) ? [{ at, schema: parameters }] : []
  })
}

/** A field that may be missing or of another type. */
export function textAt(source: JsonObject, key: string): string | undefined {
  const value = source[key]
  return typeof value === 'string' ? value : undefined
}

/** The plan's own word before the offering's (spec: Service Plan Object). */
export function flagOf(service: ServiceOutline, plan: PlanOutline, key: 'bindable' | 'plan_updateable'): boolean {
  return (plan.source[key] ?? service.source[key]) === true
}

export function objectAt(source: JsonObject, key: string): JsonObject {
  const value = source[key]
  return isJsonObject(value) ? value : {}
}

function objectsIn(parent: unknown, key: string, at: Place): { at: Place; source: JsonObject }[] {
  const list = isJsonObject(parent) ? parent[key] : undefined
  if (!Array.isArray(list)) return []
  return list.flatMap((source: unknown, index) => (isJsonObject(source) ? [{ at: [...at, key, index], source }] : []))
}
