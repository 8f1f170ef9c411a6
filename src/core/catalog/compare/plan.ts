import { DEFAULT_MAXIMUM_SECONDS } from '../../durations.ts'
import type { Place } from '../faults.ts'
import { flagOf, objectAt, textAt } from '../outline.ts'
import { type Difference, type PlanPair, quoted } from './change.ts'
import { compareVersions } from './versions.ts'

/** What is different of a plan as it is served, the schemas aside. */
export function planDifferences(pair: PlanPair): Difference[] {
  return [
    ...bindableDifferences(pair),
    ...updateableDifferences(pair),
    ...rotatableDifferences(pair),
    ...costDifferences(pair),
    ...pollingDifferences(pair),
    ...maintenanceDifferences(pair)
  ]
}

function bindableDifferences(pair: PlanPair): Difference[] {
  return flagDifferences(pair, 'bindable', {
    without:
      'New bindings, rotations too, are refused (400). Bindings that exist keep their credentials, and can be fetched ' +
      'and deleted',
    with: 'Instances that live can be bound too'
  })
}

function updateableDifferences(pair: PlanPair): Difference[] {
  return flagDifferences(pair, 'plan_updateable', {
    without: 'Instances that live can no longer change to another plan (422); their parameters can still be updated',
    with: 'Instances that live can change to another plan'
  })
}

function flagDifferences(
  { offering, before, after }: PlanPair,
  kind: 'bindable' | 'plan_updateable',
  consequences: { with: string; without: string }
): Difference[] {
  const is = flagOf(offering.after, after, kind)
  if (flagOf(offering.before, before, kind) === is) return []
  // Said where it was written: a flag of the offering changes for all its plans, and is one difference.
  const ofPlan = [before, after].some(({ source }) => source[kind] !== undefined)
  const at = [...(ofPlan ? after.at : offering.after.at), kind]
  return is
    ? [{ severity: 'adds', kind, at, message: 'is true, and was false', consequence: consequences.with }]
    : [{ severity: 'breaks', kind, at, message: 'is false, and was true', consequence: consequences.without }]
}

function rotatableDifferences({ before, after }: PlanPair): Difference[] {
  const is = after.source.binding_rotatable === true
  if ((before.source.binding_rotatable === true) === is) return []
  const kind = 'binding_rotatable' as const
  const at = [...after.at, kind]
  if (is)
    return [
      {
        severity: 'adds',
        kind,
        at,
        message: 'is true, and was false',
        consequence: 'Bindings that exist can be rotated'
      }
    ]
  const consequence =
    'Rotations are refused (400): a binding that expires can only be replaced by one made from scratch'
  return [{ severity: 'breaks', kind, at, message: 'is false, and was true', consequence }]
}

/** Default true (spec: Service Plan Object). */
function costDifferences({ before, after }: PlanPair): Difference[] {
  const [was, is] = [before.source.free !== false, after.source.free !== false]
  if (was === is) return []
  const at = [...after.at, 'free']
  if (is)
    return [
      {
        severity: 'adds',
        kind: 'free',
        at,
        message: 'is true, and was false',
        consequence: 'The plan costs nothing any more'
      }
    ]
  const consequence =
    'Instances that live cost from now on; on Cloud Foundry, where a quota allows no paid plans, new ones are refused'
  return [{ severity: 'changes', kind: 'free', at, message: 'is false, and was true', consequence }]
}

function pollingDifferences({ before, after }: PlanPair): Difference[] {
  const kind = 'maximum_polling_duration' as const
  const [was, is] = [before.source[kind], after.source[kind]].map((value) =>
    typeof value === 'number' ? value : undefined
  )
  // Without one, platforms wait as long as they like to, so that any is a limit.
  const isShorter =
    is === undefined ? was !== undefined && was > DEFAULT_MAXIMUM_SECONDS : was === undefined || is < was
  if (was === is || !isShorter) return []
  const message = `${is === undefined ? 'was removed' : `is ${is}`}, and was ${was ?? 'not set'}`
  const consequence =
    `An operation that takes longer than ${is ?? DEFAULT_MAXIMUM_SECONDS} seconds is ended by this broker, and platforms take it ` +
    'for failed; those that run now keep the time that they began with'
  return [{ severity: 'changes', kind, at: [...after.at, kind], message, consequence }]
}

function maintenanceDifferences({ before, after }: PlanPair): Difference[] {
  const [was, is] = [before, after].map(({ source }) => textAt(objectAt(source, 'maintenance_info'), 'version'))
  if (was === is) return []
  const kind = 'maintenance_info' as const
  const at: Place = [...after.at, kind, ...(is === undefined ? [] : ['version'])]
  if (was === undefined) {
    const consequence = 'Platforms offer an update to it for every instance that lives'
    return [{ severity: 'adds', kind, at, message: `is ${quoted(is)}, and was not there`, consequence }]
  }
  const stale =
    'Until a platform has fetched the catalog again, what it sends with the old version is refused (422 MaintenanceInfoConflict)'
  if (is === undefined) {
    const consequence = `${stale}. No update is offered any more; instances that live keep the version ${was}`
    return [{ severity: 'breaks', kind, at, message: `was removed, and was ${quoted(was)}`, consequence }]
  }
  const isLower = compareVersions(is, was) < 0
  const message = `is ${quoted(is)}, and was ${quoted(was)}${isLower ? ': it goes backwards' : ''}`
  const offer = isLower
    ? `Platforms offer instances on ${was} the older version as an update`
    : 'Platforms offer an update to it for instances that live'
  return [{ severity: 'changes', kind, at, message, consequence: `${offer}. ${stale}` }]
}
