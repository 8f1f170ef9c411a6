import type { Ended } from '../stage.ts'
import type { Interruption } from '../steps.ts'
import { ContractViolation, must } from '../violation.ts'

/** More steps than any function of a provider has. */
const MAX_STEPS = 200

/** @returns what the call came to. @throws {ContractViolation} when it failed */
export async function succeeds<Result>(what: string, call: Promise<Ended<Result>>): Promise<Ended<Result>> {
  const ended = await call
  if (ended.error === undefined) return ended
  const reason = ended.error instanceof Error ? ended.error.message : String(ended.error)
  throw new ContractViolation(`${what} must succeed, and threw: ${reason}`)
}

/**
 * Tries something with an interruption at each step, before and after it, until the function runs through.
 * @param attempt answers whether the function came as far as the interruption
 */
export async function atEachStep(
  how: Interruption['how'],
  attempt: (interruption: Interruption, where: string) => Promise<boolean>
): Promise<void> {
  for (let step = 1; step <= MAX_STEPS; step += 1) {
    for (const when of ['before', 'after'] as const) {
      const where = `${how === 'crash' ? 'a crash' : 'an abort'} ${when} step ${step}`
      if (!(await attempt({ step, when, how }, where))) return
    }
  }
  throw new ContractViolation(`the function has more than ${MAX_STEPS} steps`)
}

/** What an interrupted attempt must have done: thrown, and kept the names of what it made. */
export function expectThrown({ interrupted, error }: Ended<unknown>, where: string): void {
  must(
    !interrupted || error !== undefined,
    `after ${where} the function has gone on to success: what saveState, progress and the signal throw must pass`
  )
}
