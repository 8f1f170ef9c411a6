import type { JsonObject } from '../../../schemas/common.ts'
import type { Finding, Place } from './faults.ts'

/**
 * Vendor fields are allowed, so a misspelt field of the specification passes in silence and its default holds:
 * `plan_updatable` is the famous one.
 */
export function nearMisses({ at, source }: { at: Place; source: JsonObject }, known: readonly string[]): Finding[] {
  return Object.keys(source)
    .filter((key) => !known.includes(key))
    .flatMap((key) => {
      const meant = known.find((field) => !Object.hasOwn(source, field) && isNear(key, field))
      return meant === undefined ? [] : [{ at: [...at, key], message: `is not a known field; ${meant} may be meant` }]
    })
}

function isNear(key: string, field: string): boolean {
  if (field.length < 5) return false
  return distance(normalize(key), normalize(field)) <= 2
}

function normalize(key: string): string {
  return key.toLowerCase().replaceAll('-', '_')
}

/** Levenshtein's, row by row. Keys of very different length are far apart without counting. */
export function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return Number.POSITIVE_INFINITY
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, other] of [...b].entries()) {
      const changed = (row[j] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(changed, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
