import { objectAt, textAt } from '../outline.ts'
import { type Difference, type OfferingPair, quoted, textsAt } from './change.ts'

/** What is different of an offering as it is served; its plans aside. */
export function offeringDifferences(pair: OfferingPair): Difference[] {
  return [
    ...flagDifferences(pair),
    ...requiresDifferences(pair),
    ...tagDifferences(pair),
    ...dashboardDifferences(pair)
  ]
}

const FLAGS = {
  instances_retrievable: {
    withdrawn: 'breaks',
    without: 'GET of an instance is answered 404: platforms can no longer show its parameters, and what polls it fails',
    with: 'Instances that live can be fetched'
  },
  bindings_retrievable: {
    withdrawn: 'breaks',
    without:
      'GET of a binding is answered 404: its credentials cannot be fetched again. Binds run synchronously, and one that ' +
      'takes longer than a request may wait is undone and answered 504',
    with: 'Bindings that exist can be fetched, and binds may run asynchronously'
  },
  allow_context_updates: {
    withdrawn: 'changes',
    without: 'Platforms no longer tell when the context of an instance changes, its name for example',
    with: 'Platforms tell when the context of an instance changes, its name for example'
  }
} as const

function flagDifferences({ before, after }: OfferingPair): Difference[] {
  return (['instances_retrievable', 'bindings_retrievable', 'allow_context_updates'] as const).flatMap(
    (kind): Difference[] => {
      const is = after.source[kind] === true
      if ((before.source[kind] === true) === is) return []
      const { withdrawn, with: offered, without } = FLAGS[kind]
      const at = [...after.at, kind]
      return is
        ? [{ severity: 'adds' as const, kind, at, message: 'is true, and was false', consequence: offered }]
        : [{ severity: withdrawn, kind, at, message: 'is false, and was true', consequence: without }]
    }
  )
}

/** What a permission lets the answer to a bind hold (spec: Binding, Body). */
const PERMITTED: Record<string, string> = {
  syslog_drain: 'syslog_drain_url',
  route_forwarding: 'route_service_url',
  volume_mount: 'volume_mounts'
}

function requiresDifferences({ before, after }: OfferingPair): Difference[] {
  const [old, next] = [textsAt(before.source, 'requires'), textsAt(after.source, 'requires')]
  const at = [...after.at, 'requires']
  const withdrawn = old.filter((permission) => !next.includes(permission))
  const added = next.filter((permission) => !old.includes(permission))
  return [
    ...withdrawn.map((permission) => ({
      severity: 'breaks' as const,
      kind: 'requires' as const,
      at,
      message: `no longer has ${quoted(permission)}`,
      consequence: `A bind whose provider answers ${PERMITTED[permission]} fails (500); platforms would refuse the answer`
    })),
    ...added.map((permission) => ({
      severity: 'changes' as const,
      kind: 'requires' as const,
      at,
      message: `has ${quoted(permission)} now`,
      consequence: 'Users have to grant it; a platform that does not know it, or does not allow it, refuses the service'
    }))
  ]
}

function tagDifferences({ before, after }: OfferingPair): Difference[] {
  const next = textsAt(after.source, 'tags')
  const withdrawn = textsAt(before.source, 'tags').filter((tag) => !next.includes(tag))
  if (withdrawn.length === 0) return []
  const message = `no longer have ${withdrawn.map(quoted).join(', ')}`
  const consequence = 'Applications and buildpacks that look for their binding by tag stop finding it'
  return [{ severity: 'changes', kind: 'tags', at: [...after.at, 'tags'], message, consequence }]
}

/** profile: Dashboard Client Object. Its secret may change at any time, and is not repeated. */
function dashboardDifferences({ before, after }: OfferingPair): Difference[] {
  const [old, next] = [before, after].map(({ source }) => textAt(objectAt(source, 'dashboard_client'), 'id'))
  if (old === undefined || old === next) return []
  const at = [...after.at, 'dashboard_client']
  const kind = 'dashboard_client' as const
  return next === undefined
    ? [
        {
          severity: 'changes',
          kind,
          at,
          message: 'was removed',
          consequence: 'Users no longer sign in to dashboards with the account that they have on the platform'
        }
      ]
    : [
        {
          severity: 'changes',
          kind,
          at,
          message: `is ${quoted(next)}, and was ${quoted(old)}`,
          consequence:
            'Platforms register another OAuth client: dashboards that use the old one can no longer sign users in'
        }
      ]
}
