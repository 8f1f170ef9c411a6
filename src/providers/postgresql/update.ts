import { Rejected, type UpdateTask } from '../../core/provider.ts'
import { FULL, type Place, requireThere, usability } from './instances.ts'
import type { InstanceState } from './names.ts'
import { DEFAULT_SERVER } from './options.ts'
import { type PlanOptions, planOptions, quotaBytes } from './plan-options.ts'
import { refuseDowngrade } from './storage/usage.ts'

/**
 * Refuses an update that the instance cannot follow; otherwise says whether the storage quota has closed the database.
 * @throws {Rejected} 422 when the plan has less than is used, or is on other servers; 500 when the database is gone
 */
export async function requireUpdatable(
  { maintenance, names }: Place,
  task: UpdateTask,
  { plan, state }: { plan: PlanOptions; state: InstanceState }
): Promise<'open' | 'full'> {
  const previous = planOptions(task.previous.options)
  const usable = await usability(maintenance, names)
  // Without a larger quota, a request to change anything else would do nothing for a database that nobody may use
  if (usable === 'full' && quotaBytes(plan) <= quotaBytes(previous)) throw new Rejected(422, FULL)
  if (usable === 'gone' || usable === 'closed') requireThere(usable)
  if (plan.servers?.includes(state.server ?? DEFAULT_SERVER) === false) {
    throw new Rejected(422, 'The databases of the requested plan are on other servers, and a database cannot be moved.')
  }
  if (task.parameters.database !== undefined && task.parameters.database !== state.label) {
    throw new Rejected(422, 'The name of a database cannot be changed.')
  }
  await refuseDowngrade(maintenance, names, { plan, previous })
  return usable === 'full' ? 'full' : 'open'
}
