import type { Comparison } from './rounds.ts'
import type { Stage } from './stage.ts'

/** One figure of `docs/performance.md`: ours against a baseline in the same run. */
export interface Figure {
  readonly name: string
  readonly title: string
  readonly baseline: string
  /** The ratio to reach; at least for what should be much, at most for what should be little. */
  readonly goal: { readonly atLeast: number } | { readonly atMost: number }
  /** Starts what is needed; the stage ends it. */
  prepare(stage: Stage): Promise<Comparison>
}
