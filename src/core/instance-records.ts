import type { ProvisionRequest, UpdateRequest } from '../../schemas/service-instance.ts'
import type { Call } from './call.ts'
import type { CatalogPlan } from './catalog/index.ts'
import type { DashboardRequest } from './provider.ts'
import { requireDashboardUrl } from './results.ts'
import { sameJson } from './same.ts'
import type { InstanceRecord, UpdateTarget } from './store.ts'

/** The instance that a provision asks for. */
export function newInstance(
  call: Call,
  { instanceId, body, entry }: { instanceId: string; body: ProvisionRequest; entry: CatalogPlan }
): InstanceRecord {
  const now = new Date()
  const known = { instanceId, platform: call.platform, context: body.context ?? {}, parameters: body.parameters ?? {} }
  return {
    ...dashboardOf(entry, known),
    instanceId,
    platform: call.platform,
    provider: entry.provider.name,
    serviceId: body.service_id,
    planId: body.plan_id,
    organizationGuid: body.organization_guid,
    spaceGuid: body.space_guid,
    context: body.context ?? {},
    parameters: body.parameters ?? {},
    ...(entry.maintenanceVersion === undefined ? {} : { maintenanceVersion: entry.maintenanceVersion }),
    status: 'creating',
    createdAt: now,
    updatedAt: now
  }
}

/** What the instance is to become. Parameters are merged over those there are; `{}` and absent change nothing. */
export function updateTarget(instance: InstanceRecord, entry: CatalogPlan, body: UpdateRequest): UpdateTarget {
  const planId = body.plan_id ?? instance.planId
  const parameters = { ...instance.parameters, ...body.parameters }
  const maintenanceVersion =
    body.maintenance_info?.version ??
    (planId === instance.planId ? instance.maintenanceVersion : entry.maintenanceVersion)
  const { instanceId, platform } = instance
  const context = body.context ?? instance.context
  const target = {
    ...dashboardOf(entry, { instanceId, platform, context, parameters }),
    planId,
    parameters,
    ...(maintenanceVersion === undefined ? {} : { maintenanceVersion })
  }
  // The context goes along with a change; alone it counts only where the offering says so (spec: Updating).
  const takesContext = entry.allowContextUpdates || !sameTarget(instance, target)
  return { ...target, context: takesContext ? context : instance.context }
}

/** What the provider can tell before the work is done (spec: Provisioning, Updating, `dashboard_url`). */
function dashboardOf(
  { provider, service, plan, options }: CatalogPlan,
  known: Pick<DashboardRequest, 'instanceId' | 'platform' | 'context' | 'parameters'>
): { dashboardUrl?: string } {
  const dashboardUrl = provider.dashboardUrl?.({ ...known, service, plan, options })
  if (dashboardUrl === undefined) return {}
  requireDashboardUrl(dashboardUrl)
  return { dashboardUrl }
}

/** Whether both come to the same but for the context, which retries differ in. */
export function sameTarget(a: Omit<UpdateTarget, 'context'>, b: Omit<UpdateTarget, 'context'>): boolean {
  return a.planId === b.planId && a.maintenanceVersion === b.maintenanceVersion && sameJson(a.parameters, b.parameters)
}
