import type { Place } from '../instances.ts'
import { endSessions, loginsOf } from '../roles.ts'

/**
 * Runs all steps although one of them fails, so that a row which a tenant keeps locked does not leave the quota unenforced.
 * Before a step is repeated, the sessions of the instance end, because they hold such locks.
 * @throws the first error of a step that has failed twice, after all steps
 */
export async function resolutely(
  { maintenance, names }: Pick<Place, 'maintenance' | 'names'>,
  steps: readonly (() => Promise<void>)[]
): Promise<void> {
  const errors: unknown[] = []
  const repeat = async (step: () => Promise<void>) => {
    for (const login of await loginsOf(maintenance, names)) await endSessions(maintenance, login)
    await step()
  }
  for (const step of steps) {
    try {
      await step()
    } catch {
      maintenance.work.signal.throwIfAborted()
      await repeat(step).catch((error: unknown) => errors.push(error))
    }
  }
  if (errors.length > 0) throw errors[0]
}
