import type { ErrorObject } from 'ajv'
import { isJsonObject, shorten } from './faults.ts'

/** Says what one keyword of JSON Schema asks for. Limits are repeated, values are not. */
export function phrase(error: ErrorObject): string {
  const text = keywordPhrase(error)
  return error.propertyName === undefined ? text : `as a name ${text}`
}

function keywordPhrase(error: ErrorObject): string {
  const { keyword, params } = error
  switch (keyword) {
    case 'required':
      return 'is required'
    case 'dependencies':
    case 'dependentRequired':
      return `is required together with ${quoted(params.property)}`
    case 'additionalProperties':
    case 'unevaluatedProperties':
      return unknownKey(error)
    case 'minLength':
      return params.limit === 1 ? 'must not be empty' : `must have at least ${params.limit} characters`
    case 'maxLength':
      return `must have at most ${params.limit} characters, has ${lengthOf(error.data)}`
    case 'minItems':
      return `must have at least ${counted(params.limit, 'item')}`
    case 'maxItems':
      return `must have at most ${counted(params.limit, 'item')}, has ${lengthOf(error.data)}`
    case 'minProperties':
      return `must have at least ${counted(params.limit, 'key')}`
    case 'maxProperties':
      return `must have at most ${counted(params.limit, 'key')}`
    case 'minimum':
      return `must be at least ${params.limit}`
    case 'maximum':
      return `must be at most ${params.limit}`
    case 'exclusiveMinimum':
      return `must be more than ${params.limit}`
    case 'exclusiveMaximum':
      return `must be less than ${params.limit}`
    case 'multipleOf':
      return `must be a multiple of ${params.multipleOf}`
    case 'pattern':
      return `must match ${shorten(String(params.pattern), 80)}`
    case 'format':
      return `must have the format ${shorten(String(params.format), 40)}`
    case 'uniqueItems':
      return 'must not have an item twice'
    case 'contains':
      return 'lacks an item that it must contain'
    case 'not':
      return 'has a form that is not allowed'
    case 'false schema':
      return 'is not allowed'
    default:
      return shorten(error.message ?? 'is not valid', 200)
  }
}

function unknownKey(error: ErrorObject): string {
  const properties: unknown = error.parentSchema?.properties
  const keys = isJsonObject(properties) ? Object.keys(properties) : []
  if (keys.length === 0) return 'is not allowed'
  const shown = keys.slice(0, 10).map((key) => shorten(key, 40))
  return `is not known (known: ${shown.join(', ')}${keys.length > 10 ? ', …' : ''})`
}

function quoted(key: unknown): string {
  return JSON.stringify(shorten(String(key), 60))
}

function counted(count: unknown, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

function lengthOf(value: unknown): number {
  // Characters as JSON Schema counts them: code points, not UTF-16 units.
  if (typeof value === 'string') return Array.from(value).length
  return Array.isArray(value) ? value.length : 0
}
