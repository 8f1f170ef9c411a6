import type { AnySchemaObject, ErrorObject } from 'ajv'
import type { JsonObject } from '../../../schemas/common.ts'
import { compileSchema, type Draft } from './drafts.ts'
import { explain } from './explain.ts'
import { isJsonObject, shorten, writePlace } from './faults.ts'
import { TooManySteps } from './steps.ts'

/**
 * Checks the parameters of a request: `undefined` when they are good or absent, else one line for the user. It never
 * throws, compiles nothing, and repeats no value: parameters may be secrets.
 */
export type ParametersCheck = (parameters: JsonObject | undefined) => string | undefined

/** Parameters of more values than this get their first fault only: each fault of a huge array would be an object. */
const MAX_VALUES_FOR_ALL_FAULTS = 1_000
const MAX_FAULTS = 10
const MAX_MESSAGE_CHARACTERS = 1_000

/** The check of a plan that has no schema. */
export const acceptAll: ParametersCheck = () => undefined

/**
 * Compiles the check of one schema, which its metaschema has accepted.
 * @throws {Error} for a reference that leads nowhere or round in circles, and for whatever else cannot be compiled
 */
export function compileParametersCheck(draft: Draft, schema: AnySchemaObject): ParametersCheck {
  const first = compileSchema(draft, schema, false)
  const all = compileSchema(draft, schema, true)
  probe(() => first({}))
  const allErrors = (parameters: JsonObject) => {
    const errors = first.errors
    try {
      all(parameters)
      return all.errors
    } catch (error) {
      // To find the first fault is always less work than to find all.
      if (error instanceof TooManySteps) return errors
      throw error
    }
  }
  return (parameters) => {
    if (parameters === undefined) return undefined
    try {
      if (first(parameters)) return undefined
      return toMessage(countValues(parameters) > MAX_VALUES_FOR_ALL_FAULTS ? first.errors : allErrors(parameters))
    } catch (error) {
      if (error instanceof TooManySteps) return 'Invalid parameters: they take too long to be checked.'
      // A schema that refers to itself follows the nesting of the parameters down to the end of the stack.
      return 'Invalid parameters: they are nested too deeply to be checked.'
    }
  }
}

/** `{ "$ref": "#" }` compiles and then never ends: better said when the catalog loads than on every request. */
function probe(validate: () => unknown): void {
  try {
    validate()
  } catch (cause) {
    const endless =
      cause instanceof TooManySteps ? 'its references multiply without end' : 'it refers to itself without end'
    throw new Error(endless, { cause })
  }
}

function toMessage(errors: readonly ErrorObject[]): string {
  const findings = explain(errors, false)
  const texts = findings.slice(0, MAX_FAULTS).map(({ at, message }) => `${writePlace(at) || 'parameters'} ${message}`)
  if (findings.length > MAX_FAULTS) texts.push(`and ${findings.length - MAX_FAULTS} more`)
  return shorten(`Invalid parameters: ${texts.join('; ')}`, MAX_MESSAGE_CHARACTERS)
}

/** Counts no further than it must. */
function countValues(value: unknown): number {
  let count = 0
  const open = [value]
  while (open.length > 0 && count <= MAX_VALUES_FOR_ALL_FAULTS) {
    const next = open.pop()
    count += 1
    const children = Array.isArray(next) ? next : isJsonObject(next) ? Object.values(next) : []
    if (children.length > MAX_VALUES_FOR_ALL_FAULTS) return children.length
    open.push(...children)
  }
  return count
}
