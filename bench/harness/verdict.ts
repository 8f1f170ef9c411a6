import type { Figure, Goal } from './figure.ts'
import type { Result } from './rounds.ts'

/** A figure and what this run has measured of it. */
export interface Measured {
  readonly figure: Pick<Figure, 'name' | 'title' | 'baseline' | 'goal' | 'expected'>
  readonly result: Result
}

/** In the short form machines are noisy and amounts small. */
const SLACK = 2

/** Whether the goal is reached. */
export function reached({ figure, result }: Measured): boolean {
  return keeps(figure.goal, result)
}

/** Whether it is so bad that something has broken: it is beyond what {@link bearable} says. */
export function missedByFar({ figure, result }: Measured): boolean {
  return !keeps(bearable(figure), result)
}

/**
 * Half of what should be, or twice where little is good. What should be is the goal; or what was last measured, where that
 * is still worse than the goal: a figure that nobody has reached yet cannot tell a change that made it worse.
 */
export function bearable({ goal, expected }: Pick<Figure, 'goal' | 'expected'>): Goal {
  return 'atLeast' in goal
    ? { atLeast: Math.min(goal.atLeast, expected) / SLACK }
    : { atMost: Math.max(goal.atMost, expected) * SLACK }
}

function keeps(goal: Goal, { ratio }: Result): boolean {
  return 'atLeast' in goal ? ratio.median >= goal.atLeast : ratio.median <= goal.atMost
}
