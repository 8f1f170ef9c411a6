import type { FuncKeywordDefinition } from 'ajv'
import { isJsonObject } from './faults.ts'
import { subschemas } from './schema-walk.ts'

/**
 * How many schemas one check may go through. Ten thousand values take a few each; a schema that refers to itself from
 * two branches of an `anyOf` takes twice as many for every level that the value nests.
 */
const MAX_STEPS = 50_000

/** Thrown out of a check that does not come to an end. */
export class TooManySteps extends Error {
  override readonly name = 'TooManySteps'
}

/** The keyword that counts. Catalogs may have it: it then counts twice. */
const keyword = 'x-osb-step'

/** Counts the steps of one check after another. */
export interface StepCounter {
  readonly definition: FuncKeywordDefinition
  /** Begins a check. */
  reset(): void
}

/** To be added to the validator that compiles a schema of {@link withSteps}. */
export function stepCounter(): StepCounter {
  let left = MAX_STEPS
  return {
    definition: {
      keyword,
      // As early as can be: what comes after it may not be reached.
      before: '$ref',
      schema: false,
      validate: () => {
        left -= 1
        if (left < 0) throw new TooManySteps(`The check took more than ${MAX_STEPS} steps.`)
        return true
      }
    },
    reset: () => {
      left = MAX_STEPS
    }
  }
}

/** A copy of the schema, in which every schema that a check can go through counts. */
export function withSteps<Schema extends object>(schema: Schema): Schema {
  const copy = structuredClone(schema)
  const open: unknown[] = [copy]
  const seen = new Set<object>()
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (!isJsonObject(next)) continue
    for (const { schema: part } of subschemas(next)) {
      if (seen.has(part)) continue
      seen.add(part)
      // A reference can lead to where no keyword does.
      if (typeof part.$ref === 'string') open.push(followPointer(copy, part.$ref))
      part[keyword] = true
    }
  }
  return copy
}

function followPointer(root: object, reference: string): unknown {
  if (!reference.startsWith('#/')) return undefined
  let at: unknown = root
  for (const token of reference.slice(2).split('/')) {
    if (typeof at !== 'object' || at === null) return undefined
    at = Reflect.get(at, decode(token))
  }
  return at
}

function decode(token: string): string {
  const text = token.replaceAll('~1', '/').replaceAll('~0', '~')
  try {
    return decodeURIComponent(text)
  } catch {
    // Not escaped after all.
    return text
  }
}
