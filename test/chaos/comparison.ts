import type { Call } from './calls.ts'
import type { Known } from './life.ts'
import type { OperationRow } from './operation-truth.ts'
import type { Platform } from './platform.ts'
import type { Timeline } from './timeline.ts'

/** What clients were told, what the store holds, and what the servers hold: counts, and every difference. */
export interface Comparison {
  readonly counts: Record<string, number>
  readonly differences: string[]
}

/** What a run has seen, for the comparison at its end. */
export interface Seen {
  readonly known: ReadonlyMap<string, Known>
  /** Instances that a client gave up. */
  readonly lost: ReadonlySet<string>
  readonly platform: Platform
  readonly timeline: Timeline
  /** The calls of the scripted provider. */
  readonly calls: readonly Call[]
}

/** What the checks of one run share. */
export interface Evidence {
  readonly seen: Seen
  readonly rows: readonly OperationRow[]
}

/** Adds what only one of the two sides has. */
export function compare(differences: string[], what: string, sides: Record<string, ReadonlySet<string>>): void {
  const [[nameA, a], [nameB, b]] = Object.entries(sides) as [
    [string, ReadonlySet<string>],
    [string, ReadonlySet<string>]
  ]
  for (const item of a) if (!b.has(item)) differences.push(`${what}: ${item} is ${nameA}, not ${nameB}`)
  for (const item of b) if (!a.has(item)) differences.push(`${what}: ${item} is ${nameB}, not ${nameA}`)
}
