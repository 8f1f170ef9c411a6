import type { Comparison } from './rounds.ts'
import type { Stage } from './stage.ts'

/** One figure of `docs/performance.md`: ours against a baseline in the same run. */
export interface Figure {
  readonly name: string
  readonly title: string
  readonly baseline: string
  /** The ratio to reach; at least for what should be much, at most for what should be little. */
  readonly goal: Goal
  /** The ratio that was last measured, which is in `docs/performance.md`: what the short form takes for what should be. */
  readonly expected: number
  /** Takes long, so that the short form leaves it out; `--only` measures it all the same. */
  readonly slow?: true
  /** `--only` takes the name of a group for all its figures. */
  readonly group?: string
  /** Starts what is needed; the stage ends it. */
  prepare(stage: Stage): Promise<Comparison>
}

export type Goal = { readonly atLeast: number } | { readonly atMost: number }
