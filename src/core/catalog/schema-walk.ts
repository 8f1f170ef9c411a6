import type { JsonObject } from '../../../schemas/common.ts'
import { isJsonObject, type Place } from './faults.ts'

/** Keywords whose value is a schema, or an array of schemas. */
const SCHEMAS: ReadonlySet<string> = new Set([
  'additionalItems',
  'additionalProperties',
  'allOf',
  'anyOf',
  'contains',
  'contentSchema',
  'else',
  'if',
  'items',
  'not',
  'oneOf',
  'prefixItems',
  'propertyNames',
  'then',
  'unevaluatedItems',
  'unevaluatedProperties'
])

/** Keywords whose value has a schema under each key. */
const MAPS: ReadonlySet<string> = new Set([
  '$defs',
  'definitions',
  'dependencies',
  'dependentSchemas',
  'patternProperties',
  'properties'
])

/** A schema within a schema. */
export interface Subschema {
  at: Place
  schema: JsonObject
}

/**
 * Every schema within a JSON schema, itself first. It follows the keywords of all drafts, so a property that happens to
 * be called `pattern` or `$ref` is not taken for the keyword.
 */
export function* subschemas(schema: JsonObject, at: Place = []): Generator<Subschema> {
  yield { at, schema }
  for (const [keyword, value] of Object.entries(schema)) {
    if (SCHEMAS.has(keyword)) yield* walkItems(value, [...at, keyword])
    if (MAPS.has(keyword) && isJsonObject(value)) {
      for (const [key, child] of Object.entries(value)) yield* walkItems(child, [...at, keyword, key])
    }
  }
}

function* walkItems(value: unknown, at: Place): Generator<Subschema> {
  if (isJsonObject(value)) yield* subschemas(value, at)
  if (!Array.isArray(value)) return
  for (const [index, child] of value.entries()) if (isJsonObject(child)) yield* subschemas(child, [...at, index])
}
