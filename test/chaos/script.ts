import type { JsonObject } from '../../schemas/common.ts'

/**
 * What one call of the scripted provider does.
 *   work    waits, and stops when its signal aborts; then acts outside
 *   fail    acts outside and then throws, as a crash in the middle does
 *   refuse  throws `Rejected` before it acts
 *   obey    hangs until its signal aborts
 *   hang    never settles, ignores its signal and never acts
 *   late    ignores its signal while it waits; then checks the fence with `saveState`, and acts
 *   deaf    ignores its signal while it waits, and then acts without a look at the fence
 *   meet    waits until as many calls as `count` are inside in this process; then acts outside
 */
export type Act = 'work' | 'fail' | 'refuse' | 'obey' | 'hang' | 'late' | 'deaf' | 'meet'

export interface Step {
  readonly act: Act
  /** How long it waits before it acts, in milliseconds. */
  readonly ms?: number
  readonly count?: number
}

export type Verb = 'provision' | 'update' | 'deprovision' | 'bind' | 'unbind'

/** Parameters of an instance or a binding: a step for each attempt at a verb; the last one repeats. */
export type Script = { readonly [verb in Verb]?: readonly Step[] }

const ACTS: ReadonlySet<unknown> = new Set<Act>(['work', 'fail', 'refuse', 'obey', 'hang', 'late', 'deaf', 'meet'])

/** The step of an attempt, from 1. A verb without a script works at once. */
export function stepOf(parameters: JsonObject, verb: Verb, attempt: number): Step {
  const steps = parameters[verb]
  if (!Array.isArray(steps) || steps.length === 0) return { act: 'work' }
  const step: unknown = steps[Math.min(attempt, steps.length) - 1]
  if (!isStep(step)) throw new TypeError(`${verb} has the step ${JSON.stringify(step)}, which is none`)
  return step
}

/** Whether the call stops soon after its signal has aborted. */
export function obeys({ act }: Pick<Step, 'act'>): boolean {
  return act !== 'hang' && act !== 'late' && act !== 'deaf'
}

function isStep(value: unknown): value is Step {
  return typeof value === 'object' && value !== null && 'act' in value && ACTS.has(value.act)
}
